"""What a U-Net saves when its skip connections are sums and not concatenations, in f32: memory, time, rounding.

    brain-edge convert hardnet-bts --random-weights -o hardnet-bts
    python -m benchmarks skip_sums hardnet-bts hd-bet-v1 --rounds 5

The first network of each package is compiled as the runtime compiles it, once with and once without
`brain_edge.runtime.rewrites.skip_sums`; both take turns on the same noise, a cube of `--side` voxels. The memory is
that of intermediate results, read off the compiled graph. Prints the table of docs/decisions/0024.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import numpy as np

from benchmarks.harness.in_turn import time_ratios
from benchmarks.harness.ratios import median_and_range
from brain_edge.evaluation.markdown import markdown_table
from brain_edge.machine.options import RuntimeOptions
from brain_edge.package import Precision, open_package
from brain_edge.runtime.graph_file import read_graph
from brain_edge.runtime.graph_memory import intermediate_bytes
from brain_edge.runtime.rewrites.norm_sums import sum_by_axis
from brain_edge.runtime.rewrites.skip_sums import sum_skips
from brain_edge.runtime.session import compile_properties

if TYPE_CHECKING:
    from brain_edge.package import ModelPackage

MIB: Final = 2**20


@dataclass(frozen=True)
class SkipComparison:
    """One network.

    Attributes:
        network: model and graph.
        skips: convolutions that are sums now.
        joined_mib, summed_mib: intermediate results at their peak, without and with the rewrite.
        difference: largest, relative to the largest output.
        time_ratios: time with over time without the rewrite, round by round.
    """

    network: str
    skips: int
    joined_mib: float
    summed_mib: float
    difference: float
    time_ratios: list[float]


@dataclass(frozen=True)
class Compiled:
    """A graph that is ready to run, and what became of it."""

    request: Any
    skips: int
    peak_mib: float


@click.command()
@click.argument("packages", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--side", default=64, show_default=True, help="Of the cube, in voxels.")
@click.option("--threads", default=2, show_default=True, help="Of OpenVINO.")
@click.option("--rounds", default=5, show_default=True, help="In which both run once; 0: no times.")
def main(packages: tuple[Path, ...], side: int, threads: int, rounds: int) -> None:
    """Compare on each of PACKAGES, and print Markdown."""
    rows = [compare(open_package(path), side, threads, rounds) for path in packages]
    cells = [
        (
            *(row.network, str(row.skips), f"{row.joined_mib:.0f}", f"{row.summed_mib:.0f}"),
            *(f"{row.difference:.1e}", *([str(median_and_range(row.time_ratios))] if rounds else [])),
        )
        for row in rows
    ]
    columns = ("network", "sums", "joined (MiB)", "summed (MiB)", "difference", "time summed / joined")
    click.echo(markdown_table(columns if rounds else columns[:-1], cells))


def compare(package: ModelPackage, side: int, threads: int, rounds: int) -> SkipComparison:
    """The first network of a package."""
    stage = package.spec.stages[0]
    graph = stage.network.graphs[0]
    noise = np.random.default_rng(0).standard_normal((1, stage.network.channels_in, side, side, side), dtype=np.float32)
    joined, summed = (_compiled(package, graph, noise.shape, threads, rewrite=rewrite) for rewrite in (False, True))
    outputs = [np.array(each.request.infer({0: noise})[0]) for each in (joined, summed)]
    ratios = time_ratios(summed.request, joined.request, noise, rounds)
    difference = float(np.abs(outputs[0] - outputs[1]).max() / np.abs(outputs[0]).max())
    name = f"{package.spec.name} {graph}"
    return SkipComparison(name, summed.skips, joined.peak_mib, summed.peak_mib, difference, ratios)


def _compiled(package: ModelPackage, graph: str, shape: tuple[int, ...], threads: int, *, rewrite: bool) -> Compiled:
    import openvino as ov

    model = read_graph(package.graph_file(graph), package.spec)
    model.reshape(list(shape))
    skips = sum_skips(model, ov.opset13) if rewrite else 0
    sum_by_axis(model, ov.opset13)
    properties = compile_properties(Precision.F32, RuntimeOptions(threads=threads))
    compiled = ov.Core().compile_model(model, "CPU", properties)
    return Compiled(compiled.create_infer_request(), skips, intermediate_bytes(compiled.get_runtime_model()) / MIB)
