"""One network that is kept ready in a process of its own and runs once for each line on stdin.

python -m benchmarks network_server brainmage input.npy output.npy --engine "OpenVINO INT8" --graphs FOLDER --threads 2

So engines are measured in turn, and none shares memory, threads or caches with another. Each line of stdout is JSON:
the first when the network is warm and its answer lies in the output file, then one for each run.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from benchmarks.harness.engines import ENGINES, Engine, Library
from benchmarks.harness.sample import milliseconds
from benchmarks.harness.zoo import ARCHITECTURES, compiled
from brain_edge.machine.process import peak_rss_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from brain_edge.image.volume import FloatArray


@click.command()
@click.argument("network", type=click.Choice(list(ARCHITECTURES)))
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--engine", "engine_name", type=click.Choice(list(ENGINES)), required=True)
@click.option("--threads", type=int, required=True)
@click.option("--graphs", type=click.Path(path_type=Path), help="Folder of the network's graphs; PyTorch needs none.")
def main(network: str, source: Path, target: Path, engine_name: str, threads: int, graphs: Path | None) -> None:
    """Open NETWORK, write its answer to SOURCE into TARGET, then run once for each line on stdin."""
    batch = np.load(source, allow_pickle=False)
    engine = ENGINES[engine_name]
    graph = graphs / engine.graph if graphs is not None and engine.graph is not None else None
    call = _open(engine, network, graph, batch, threads)
    np.save(target, call())
    print(json.dumps({"ready": True}), flush=True)
    for _line in sys.stdin:
        used = time.process_time()
        latency_ms = milliseconds(call)
        cpu_ms = (time.process_time() - used) * 1000
        print(json.dumps({"latency_ms": latency_ms, "cpu_ms": cpu_ms, "peak_rss_bytes": peak_rss_bytes()}), flush=True)


def _open(
    engine: Engine, network: str, graph: Path | None, batch: FloatArray, threads: int
) -> Callable[[], FloatArray]:
    """One call computes `engine.streams` inputs and returns the last answer."""
    if engine.library in (Library.PYTORCH, Library.TORCH_COMPILE):
        return _pytorch(engine, network, batch, threads)
    assert graph is not None, "this engine needs --graphs"
    if engine.library is Library.ONNX_RUNTIME:
        return _onnxruntime(graph, batch, threads)
    return _openvino(engine, graph, batch, threads)


def _pytorch(engine: Engine, network: str, batch: FloatArray, threads: int) -> Callable[[], FloatArray]:
    import torch

    torch.set_num_threads(threads)
    module: Any = ARCHITECTURES[network].build()
    if engine.library is Library.TORCH_COMPILE:
        module = torch.compile(module)
    tensor = torch.from_numpy(np.ascontiguousarray(batch))
    halved = engine.precision == "bf16"

    def call() -> FloatArray:
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=halved):
            return np.asarray(module(tensor).float().numpy())

    return call


def _onnxruntime(graph: Path, batch: FloatArray, threads: int) -> Callable[[], FloatArray]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    given = {session.get_inputs()[0].name: batch}
    return lambda: np.asarray(session.run(None, given)[0])


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
