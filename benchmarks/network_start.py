"""One start of a process: it opens a network in an engine, keeps its first answer, and times a few warm passes.

    python -m benchmarks network_start brainmage FOLDER output.npy --engine "OpenVINO INT8" --threads 2 --passes 3

Engines start in turn, so none shares memory, threads or caches with another, and each round has a process of its own.
Prints JSON, a `harness.sample.RunSample`: the geometric mean of the passes, and each of them.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec
import numpy as np

from benchmarks.harness.engines import ENGINES, Engine, Library
from benchmarks.harness.load import busy_cpu_ms, load_average
from benchmarks.harness.rivals import open_onnxruntime, open_pytorch
from benchmarks.harness.sample import RunSample, milliseconds
from benchmarks.harness.trained import TRAINED
from benchmarks.harness.zoo import ARCHITECTURES, compiled, module_of
from benchmarks.network_graphs import INPUT
from brain_edge.machine.process import peak_rss_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from brain_edge.image.volume import FloatArray


@click.command()
@click.argument("subject", type=click.Choice([*ARCHITECTURES, *TRAINED]))
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--engine", "name", type=click.Choice(list(ENGINES)), required=True)
@click.option("--threads", type=int, required=True)
@click.option("--passes", type=click.IntRange(min=1), required=True, help="Timed, after the first answer.")
def main(subject: str, folder: Path, target: Path, name: str, threads: int, passes: int) -> None:
    """Open SUBJECT with what lies in FOLDER, write its answer into TARGET, then time warm passes."""
    call = _open(ENGINES[name], subject, folder, threads)
    np.save(target, call())
    load, busy, used = load_average(), busy_cpu_ms(), time.process_time()
    taken_ms = [milliseconds(call) for _ in range(passes)]
    cpu_ms, after = (time.process_time() - used) * 1000, busy_cpu_ms()
    others_ms = None if busy is None or after is None else max(0.0, after - busy - cpu_ms)
    sample = RunSample(
        latency_ms=statistics.geometric_mean(taken_ms),
        cpu_ms=cpu_ms / passes,
        peak_rss_bytes=peak_rss_bytes(),
        others_cpu_ms=None if others_ms is None else others_ms / passes,
        load_average=load,
        passes_ms=tuple(taken_ms),
    )
    sys.stdout.buffer.write(msgspec.json.encode(sample))


def _open(engine: Engine, subject: str, folder: Path, threads: int) -> Callable[[], FloatArray]:
    """One call computes `engine.streams` inputs and returns the last answer."""
    batch = np.load(folder / INPUT, allow_pickle=False)
    graph = folder / engine.graph if engine.graph is not None else None
    if engine.library in (Library.PYTORCH, Library.TORCH_COMPILE):
        return open_pytorch(engine, module_of(subject), graph, batch, threads)
    assert graph is not None, "only PyTorch computes without a graph"
    if engine.library is Library.ONNX_RUNTIME:
        return open_onnxruntime(graph, batch, threads)
    return _openvino(engine, graph, batch, threads)


def _openvino(engine: Engine, graph: Path, batch: FloatArray, threads: int) -> Callable[[], FloatArray]:
    network = compiled(graph, batch.shape, threads, engine.precision, engine.streams)
    requests = [network.create_infer_request() for _ in range(engine.streams)]

    def call() -> FloatArray:
        if engine.streams == 1:
            return np.asarray(requests[0].infer({0: batch}, share_inputs=True, share_outputs=True)[0])
        for request in requests:
            request.start_async({0: batch}, share_inputs=True)
        for request in requests:
            request.wait()
        return np.asarray(requests[-1].get_output_tensor(0).data)

    return call
