"""Windows of a package one at a time on all threads, and several at a time on fewer threads each.

    python -m benchmarks bench_streams PACKAGE [--side 64 --side 96] [--threads 2] [--rounds 5]

One line of JSON per graph and window: medians of interleaved rounds, in milliseconds per window.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

import click
import numpy as np

from benchmarks.harness.in_turn import timed_calls
from brain_edge.machine.description import this_machine
from brain_edge.machine.options import RuntimeOptions
from brain_edge.package import NumberFormat, open_package
from brain_edge.runtime.session import GraphCompiler, GraphSession, SessionPool, runtime_version

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from brain_edge.image.volume import FloatArray
    from brain_edge.package import ModelPackage


@click.command()
@click.argument("package")
@click.option("--side", "sides", multiple=True, type=int, default=(64, 96), show_default=True)
@click.option("--threads", default=2, show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--windows", default=12, show_default=True)
def main(package: str, sides: tuple[int, ...], threads: int, rounds: int, windows: int) -> None:
    """Measure every graph of PACKAGE."""
    opened, machine = open_package(package), this_machine()
    for graph in opened.spec.graphs:
        for side in sides:
            line = {
                "package": opened.spec.name,
                "graph": graph,
                "window": side,
                "ms_per_window": measured(opened, graph, side, threads, rounds, windows),
                "threads": threads,
                "number_format": opened.manifest.number_format,
                "precision": opened.manifest.precision,
                "openvino": runtime_version(),
                "machine": machine.name,
                "isa": machine.isa,
            }
            sys.stdout.write(json.dumps(line) + "\n")


def test_windows_are_measured_one_and_two_at_a_time(
    package: Callable[[str, NumberFormat], ModelPackage], threads: int
) -> None:
    """Two small windows, once; not part of the timed suite."""
    times = measured(package("deepbet", NumberFormat.FP32), "box", 32, threads, rounds=1, count=2)
    assert set(times) == {"1", "2"}
    assert min(times.values()) > 0


def measured(package: ModelPackage, graph: str, side: int, threads: int, rounds: int, count: int) -> dict[str, float]:
    """Milliseconds per window by number of streams."""
    channels = next(stage.network.channels_in for stage in package.spec.stages if graph in stage.network.graphs)
    random = np.random.default_rng(0)
    windows = [random.random((1, channels, side, side, side), dtype=np.float32) for _ in range(count)]
    calls: dict[str, Callable[[], object]] = {}
    for streams in (1, 2):
        compiler = GraphCompiler(package, RuntimeOptions(threads=threads), streams={graph: streams})
        session = GraphSession(SessionPool(compiler, resident_graphs=1), graph)
        calls[str(streams)] = partial(_greatest, session, windows)
    taken_ms = timed_calls(calls, rounds)  # the first round allocates
    return {streams: round(median(each) / count, 2) for streams, each in taken_ms.items()}


def _greatest(session: GraphSession, windows: Sequence[FloatArray]) -> float:
    """Of all answers: they are looked at, as whoever adds them up does."""
    return max(float(output.max()) for output in session.run_many(windows))
