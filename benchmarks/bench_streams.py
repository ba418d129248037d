"""Windows of a package one at a time on all threads, and several at a time on fewer threads each.

    python -m benchmarks bench_streams PACKAGE [--side 64 96] [--threads 2] [--rounds 5]

One line of JSON per graph and window: medians of interleaved rounds, in milliseconds per window.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from brain_edge.machine.description import this_machine
from brain_edge.machine.options import RuntimeOptions
from brain_edge.package import NumberFormat, open_package
from brain_edge.runtime.session import GraphCompiler, GraphSession, SessionPool, runtime_version

if TYPE_CHECKING:
    from collections.abc import Callable

    from brain_edge.package import ModelPackage


def main() -> None:
    """Measure every graph of the package."""
    arguments = _arguments()
    package, machine = open_package(arguments.package), this_machine()
    for graph in package.spec.graphs:
        for side in arguments.side:
            times = measured(package, graph, side, arguments)
            line = {
                "package": package.spec.name,
                "graph": graph,
                "window": side,
                "ms_per_window": times,
                "threads": arguments.threads,
                "number_format": package.manifest.number_format,
                "precision": package.manifest.precision,
                "openvino": runtime_version(),
                "machine": machine.name,
                "isa": machine.isa,
            }
            sys.stdout.write(json.dumps(line) + "\n")


def test_windows_are_measured_one_and_two_at_a_time(
    package: Callable[[str, NumberFormat], ModelPackage], threads: int
) -> None:
    """Two small windows, once; not part of the timed suite."""
    arguments = argparse.Namespace(threads=threads, rounds=1, windows=2)
    times = measured(package("deepbet", NumberFormat.FP32), "box", 32, arguments)
    assert set(times) == {"1", "2"}
    assert min(times.values()) > 0


def measured(package: ModelPackage, graph: str, side: int, arguments: argparse.Namespace) -> dict[str, float]:
    """Milliseconds per window by number of streams."""
    channels = next(stage.network.channels_in for stage in package.spec.stages if graph in stage.network.graphs)
    random = np.random.default_rng(0)
    windows = [random.random((1, channels, side, side, side), dtype=np.float32) for _ in range(arguments.windows)]
    sessions: dict[int, Any] = {}
    for streams in (1, 2):
        compiler = GraphCompiler(package, RuntimeOptions(threads=arguments.threads), streams={graph: streams})
        sessions[streams] = GraphSession(SessionPool(compiler, resident_graphs=1), graph)
    taken: dict[int, list[float]] = {streams: [] for streams in sessions}
    for turn in range(arguments.rounds + 1):
        for streams, session in sessions.items():
            start = time.perf_counter()
            for output in session.run_many(windows):
                output.max()
            if turn:  # the first round allocates
                taken[streams].append((time.perf_counter() - start) * 1000 / len(windows))
    return {str(streams): round(median(each), 2) for streams, each in taken.items()}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package")
    parser.add_argument("--side", type=int, nargs="+", default=[64, 96])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--windows", type=int, default=12)
    return parser.parse_args()


if __name__ == "__main__":
    main()
