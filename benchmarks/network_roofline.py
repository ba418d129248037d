"""Operations, bytes and time of one network, layer by layer, summed by numbers; and what this machine reaches at best.

    python -m benchmarks network_roofline brainmage --graphs FOLDER --threads 2 --engine "OpenVINO INT8" ...

Prints JSON: `sums` by engine, `peaks` (multiply-adds per second of small convolutions, by numbers) and `bytes_per_s`
(of a copy of an array that no cache holds).
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Final

import click
import msgspec
import numpy as np

from benchmarks.harness.engines import ENGINES
from benchmarks.harness.zoo import ARCHITECTURES, ready_model
from brain_edge.bench.profile import executed_layers, measured_peaks
from brain_edge.bench.record import TypeSum, sums
from brain_edge.machine.options import RuntimeOptions
from brain_edge.package import Precision
from brain_edge.runtime.session import compile_properties

COPIED_BYTES: Final = 512 * 2**20
COPIES: Final = 7


@click.command()
@click.argument("network", type=click.Choice(list(ARCHITECTURES)))
@click.option("--graphs", type=click.Path(path_type=Path), required=True)
@click.option("--threads", type=int, required=True)
@click.option("--engine", "engines", multiple=True, type=click.Choice(list(ENGINES)), required=True)
def main(network: str, graphs: Path, threads: int, engines: tuple[str, ...]) -> None:
    """Profile NETWORK."""
    options, shape = RuntimeOptions(threads=threads), ARCHITECTURES[network].shape
    found: dict[str, tuple[TypeSum, ...]] = {}
    for name in engines:
        engine = ENGINES[name]
        assert engine.graph is not None, "only graphs have layers to look at"
        properties = compile_properties(Precision(engine.precision), options)
        model = ready_model(graphs / engine.graph, shape, engine.precision)
        found[name] = sums(executed_layers(network, model, properties, shape), {})
    kinds = sorted({each.numbers for of_one in found.values() for each in of_one if each.multiply_adds})
    peaks = measured_peaks(options, kinds)
    printed = {"sums": found, "peaks": peaks, "bytes_per_s": copied_bytes_per_s(threads)}
    sys.stdout.buffer.write(msgspec.json.encode(printed))


def copied_bytes_per_s(threads: int) -> float:
    """Bytes read and written per second by the fastest of a few copies, each thread its own part."""
    from concurrent.futures import ThreadPoolExecutor

    source = np.ones(COPIED_BYTES // 8)
    target = np.empty_like(source)
    parts = list(zip(np.array_split(source, threads), np.array_split(target, threads), strict=True))
    fastest_s = float("inf")
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(COPIES):
            start = time.perf_counter()
            list(pool.map(lambda pair: np.copyto(pair[1], pair[0]), parts))  # NumPy lets the others run meanwhile
            fastest_s = min(fastest_s, time.perf_counter() - start)
    return 2 * COPIED_BYTES / fastest_s
