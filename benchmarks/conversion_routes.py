"""One network by every route into a package: conversion time, agreement of the masks, and INT8 coverage.

    python -m benchmarks conversion_routes

The network is a 3D U-Net by MONAI with random weights; the head is the phantom of the tests' size. Routes are timed in
one process, in turn, after one conversion that is not counted; the parity check, which every conversion has, is part of
it. Prints a Markdown table and writes every sample to `benchmarks/results`.
"""

from __future__ import annotations

import sys
import tempfile
import time
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import numpy as np

from benchmarks.harness.ratios import median_and_range
from benchmarks.harness.record import write_record
from brain_edge.engine.segmenter import Segmenter
from brain_edge.evaluation.markdown import markdown_table
from brain_edge.image.phantom import Phantom, make_study
from brain_edge.machine.cpu import default_threads
from brain_edge.package import graph_path
from brain_edge.spec import canonical_json
from brain_edge_conversion.specification import spec_from_json

if TYPE_CHECKING:
    from torch import nn

    from brain_edge.image.volume import Study
    from brain_edge.package import ModelPackage

SIDE: Final = 64
ROUNDS: Final = 3
SPEC: Final = """{
  "name": "net", "task": "skull-stripping", "inputs": [{"name": "T1"}],
  "stages": [{"name": "brain",
    "before": [{"op": "orient", "axes": "RAS"}, {"op": "z_score"}],
    "network": {"graphs": ["net"], "channels_in": 1, "channels_out": 2, "activation": "softmax",
      "execution": {"kind": "sliding_window", "shape": [64, 64, 64], "overlap": 0.25}},
    "after": [{"op": "argmax"}, {"op": "restore", "interpolation": "nearest"}]}],
  "labels": [{"value": 1, "name": "brain"}]
}"""
MODULE: Final = """
import torch
from monai.networks.nets import UNet


def build():
    return UNet(spatial_dims=3, in_channels=1, out_channels=2, channels=(16, 32, 64, 128), strides=(2, 2, 2))
"""


def export_all(folder: Path) -> None:
    """Write the same network as module and state dict, TorchScript, `torch.export` and ONNX."""
    import torch

    (folder / "routes_network.py").write_text(MODULE, encoding="utf-8")
    (folder / "spec.json").write_bytes(canonical_json(spec_from_json(SPEC, "the benchmark")))
    sys.path.insert(0, str(folder))
    from routes_network import build  # type: ignore[import-not-found]

    torch.manual_seed(0)
    network: nn.Module = build().eval()
    example = torch.rand(1, 1, SIDE, SIDE, SIDE)
    torch.save(network.state_dict(), folder / "weights.pt")
    traced = torch.jit.trace(network, example)  # type: ignore[no-untyped-call]  # ships without annotations
    torch.jit.save(traced, folder / "net.ts")
    torch.export.save(torch.export.export(network, (example,)), folder / "net.pt2")
    torch.onnx.export(network, (example,), folder / "net.onnx", dynamo=False)


def converted(source: str, folder: Path, study: Study, target: Path) -> tuple[float, ModelPackage]:
    """Seconds and package of one conversion, comparison included."""
    from brain_edge_conversion.convert.convert import ConvertOptions, convert
    from brain_edge_conversion.sources import Request, resolve

    weights = {"": folder / "weights.pt"} if ":" in source else {}
    begun = time.perf_counter()
    resolved = resolve(Request(source=source, spec_file=folder / "spec.json", weights=weights, trust=True))
    package = convert(resolved.model, resolved.weights, study, target, ConvertOptions())
    return time.perf_counter() - begun, package


def int8_share_of(package: ModelPackage) -> float:
    """Share of the multiply-adds that are quantised after NNCF's post-training quantisation on noise, 0 to 1."""
    import nncf
    import openvino as ov

    from brain_edge_conversion.budget.coverage import int8_share, layer_costs

    model = ov.Core().read_model(package.folder / graph_path("net"))
    shape = (1, 1, SIDE, SIDE, SIDE)
    noise = np.random.default_rng(0).standard_normal(shape, np.float32)
    model.reshape(list(shape))
    quantised = nncf.quantize(model, nncf.Dataset([noise]), subset_size=1)
    return int8_share(layer_costs(quantised, shape))


def measure(folder: Path) -> list[tuple[str, Any]]:
    """Per route: seconds of each round, share of equal labels with the first route, INT8 share, nodes."""
    study = make_study(Phantom(shape=(72, 80, 72), spacing_mm=2.5), ["T1"])
    routes = {
        "module and state dict": "routes_network:build",
        "TorchScript": str(folder / "net.ts"),
        "`torch.export` (.pt2)": str(folder / "net.pt2"),
        "ONNX": str(folder / "net.onnx"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in routes}
    packages: dict[str, ModelPackage] = {}
    converted(routes["TorchScript"], folder, study, folder / "warm-up")
    for turn in range(ROUNDS):
        for number, (name, source) in enumerate(routes.items()):
            took, packages[name] = converted(source, folder, study, folder / f"package-{turn}-{number}")
            seconds[name].append(took)
    masks = {name: Segmenter.open(package.folder)(study).mask.labels for name, package in packages.items()}
    first = next(iter(masks.values()))
    return [
        (name, (seconds[name], float(np.mean(masks[name] == first)), int8_share_of(packages[name]))) for name in routes
    ]


@click.command()
def main() -> None:
    """Convert one network by every route and print a table."""
    warnings.simplefilter("ignore")
    started = datetime.now(UTC)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export_all(folder)
        rows = measure(folder)
    names = ("seconds", "same_label_share", "int8_share")
    path = write_record(
        "routes of one network into a package",
        "conversion-routes",
        started,
        threads=default_threads(),
        window=[SIDE] * 3,
        routes=[{"name": name, **dict(zip(names, values, strict=True))} for name, values in rows],
    )
    of_module = rows[0][1][0]
    cells = [
        (
            route,
            str(median_and_range([own / module for own, module in zip(seconds, of_module, strict=True)])),
            *(f"{same:.4%}", f"{share:.1%}"),
        )
        for route, (seconds, same, share) in rows
    ]
    columns = ("route", "conversion time over the module's (median, range)", "same labels", "multiply-adds in INT8")
    click.echo(markdown_table(columns, cells))
    click.echo(f"{default_threads()} threads, {ROUNDS} rounds in turn; written: {path}")
