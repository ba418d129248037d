"""Peak memory of a sliding-window run over a large volume with many labels, in a process of its own.

    python -m benchmarks bench_memory [--shape 512 512 400] [--labels 20] [--threads 2]

The network is small and its weights are random (the package says so); quantised to INT8 on noise, since no accuracy is
claimed. The volume is float32, the windows are 64^3 with half of them overlapping, weighted by a Gaussian. What is
measured is what it is about: the resident memory of `brain-edge run`, from its start to the end of the mask file.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import click
import numpy as np

from brain_edge.engine.segmenter import Segmenter
from brain_edge.image.geometry import Geometry
from brain_edge.image.phantom import Phantom, make_study
from brain_edge.image.resample import Interpolation
from brain_edge.image.volume import Volume
from brain_edge.io.nifti import write_image, write_mask
from brain_edge.machine.description import this_machine
from brain_edge.package import Manifest, ModelPackage, NumberFormat, Precision, WeightsStatus, graph_path
from brain_edge.package.manifest import Card, Licence, SelfTest, WeightsRecord
from brain_edge.runtime.session import runtime_version
from brain_edge.spec import Label, ModelSpec, Network, Sequence, SlidingWindow, Stage, Task
from brain_edge.spec.steps import Argmax, Orient, Restore, ZScore
from brain_edge_conversion.sealing.writer import seal

TARGET_BYTES: Final = int(1.5 * 2**30)
WINDOW: Final = 64
PHANTOM: Final = Phantom(shape=(70, 80, 66), spacing_mm=3.0)


@click.command()
@click.option("--shape", type=(int, int, int), default=(512, 512, 400), show_default=True)
@click.option("--labels", default=20, show_default=True)
@click.option("--threads", default=2, show_default=True)
@click.option("--max-memory", help="As of `brain-edge run`.")
def main(shape: tuple[int, int, int], labels: int, threads: int, max_memory: str | None) -> None:
    """Build, run, print one line of JSON; exit 1 where the target is missed."""
    with tempfile.TemporaryDirectory() as folder:
        package = make_package(Path(folder, "package"), labels)
        head = make_head(Path(folder, "head.nii"), shape)
        limit = ["--max-memory", max_memory] if max_memory else []
        record = _run(package, head, "--threads", str(threads), *limit)
    peak = int(record["peak_rss_bytes"])
    machine = this_machine()
    report = {
        "shape": shape,
        "labels": labels,
        "window": WINDOW,
        "peak_rss_mib": round(peak / 2**20),
        "target_mib": TARGET_BYTES // 2**20,
        "total_s": round(record["elapsed_ms"]["total"] / 1000, 1),
        "elapsed_ms": {name: round(value) for name, value in record["elapsed_ms"].items()},
        "threads": threads,
        "precision": f"{record['number_format']}, rest in {record['precision']}",
        "openvino": runtime_version(),
        "machine": machine.name,
        "isa": machine.isa,
    }
    sys.stdout.write(json.dumps(report) + "\n")
    sys.exit(int(peak > TARGET_BYTES))


def make_package(folder: Path, labels: int) -> ModelPackage:
    """An INT8 package with random weights: 1 -> 16 -> 16 -> `labels` channels in windows."""
    import nncf
    import openvino

    from brain_edge_conversion.sealing.graph import save_graph

    spec = _spec(labels)
    noise = [np.random.default_rng(seed).normal(size=(1, 1, 32, 32, 32)).astype(np.float32) for seed in range(3)]
    graph = nncf.quantize(_graph(labels), nncf.Dataset(noise), subset_size=len(noise))
    save_graph(graph, folder / graph_path("random"), spec)
    assert isinstance(graph, openvino.Model)
    manifest = Manifest(
        spec=spec,
        weights_status=WeightsStatus.RANDOM,
        number_format=NumberFormat.INT8,
        precision=Precision.F32,
        weights=(WeightsRecord(graph="random", source="random numbers", sha256="0" * 64),),
        rewrites=(),
        made_with={"brain-edge": "0"},
        licence=Licence(name="Apache-2.0", holder="the authors of brain_edge", notes="nothing was trained"),
        card=Card(summary="Random.", citation="none", published_figures="none", limits="its masks mean nothing"),
        self_test=SelfTest(phantom=PHANTOM, mask="selftest/mask.nii.gz", minimum_dice=0.9),
    )
    study = make_study(PHANTOM, ["T1"])
    mask = Segmenter.open(ModelPackage(folder, manifest))(study).mask
    (folder / "selftest").mkdir()
    write_mask(mask, study.volumes["T1"], folder / manifest.self_test.mask)
    return seal(folder, manifest)


def make_head(path: Path, shape: tuple[int, int, int]) -> Path:
    """Noise in float32: nothing in it is constant, so that no window can be spared."""
    voxels = np.random.default_rng(0).normal(100, 30, shape).astype(np.float32)
    write_image(Volume(voxels, Geometry(shape, np.diag([0.5, 0.5, 0.5, 1.0]))), path)
    return path


def _spec(labels: int) -> ModelSpec:
    network = Network(
        graphs=("random",), channels_in=1, channels_out=labels, execution=SlidingWindow(shape=(WINDOW,) * 3)
    )
    stage = Stage(
        name="labels",
        before=(Orient(axes="RAS"), ZScore()),
        network=network,
        after=(Argmax(), Restore(interpolation=Interpolation.NEAREST)),
    )
    table = tuple(Label(value=value, name=f"label-{value}") for value in range(1, labels))
    return ModelSpec(name="random", task=Task.TISSUE, inputs=(Sequence(name="T1"),), stages=(stage,), labels=table)


def _graph(labels: int) -> Any:
    """Three convolutions of 3 x 3 x 3 voxels."""
    from openvino import Model, PartialShape, Type
    from openvino import opset13 as ops

    random = np.random.default_rng(0)
    image = ops.parameter(PartialShape([1, 1, -1, -1, -1]), Type.f32, name="image")
    ones, node, channels = [1, 1, 1], image, 1
    for position, wide in enumerate((16, 16, labels)):
        weights = random.normal(0, (2 / (27 * channels)) ** 0.5, (wide, channels, 3, 3, 3)).astype(np.float32)
        node = ops.convolution(node, ops.constant(weights), ones, ones, ones, ones)
        node = node if position == 2 else ops.relu(node)
        channels = wide
    return Model([node], [image], "random")


def _run(package: ModelPackage, head: Path, *options: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "brain_edge", "run", str(package.folder), str(head)]
    output = ["-o", str(head.with_name("mask.nii.gz")), "--allow-untrained", "--quiet", "--json"]
    done = subprocess.run([*command, *output, *options], check=True, stdout=subprocess.PIPE)
    record: dict[str, Any] = json.loads(done.stdout)
    return record
