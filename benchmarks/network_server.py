"""One network that is kept ready in a process of its own and runs once for each line on stdin.

python benchmarks/network_server.py brainmage input.npy output.npy --threads 2 [--graph int8.xml]

So two engines are measured in turn, and neither shares memory, threads or caches with the other. Each line of stdout
is JSON: the first when the network is warm and its answer lies in the output file, then one for each run.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
from harness.zoo import ARCHITECTURES, compiled

from brain_edge.process import peak_rss_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from brain_edge.volume import FloatArray


@click.command()
@click.argument("network", type=click.Choice(list(ARCHITECTURES)))
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--threads", type=int, required=True)
@click.option("--graph", type=click.Path(path_type=Path), help="OpenVINO graph; PyTorch eager without it.")
def main(network: str, source: Path, target: Path, threads: int, graph: Path | None) -> None:
    """Open NETWORK, write its answer to SOURCE into TARGET, then run once for each line on stdin."""
    batch = np.load(source, allow_pickle=False)
    call = _pytorch(network, batch, threads) if graph is None else _openvino(graph, batch, threads)
    np.save(target, call())
    click.echo(json.dumps({"ready": True}))
    for _line in sys.stdin:
        used, start = _cpu_ms(), time.perf_counter()
        call()
        latency_ms = (time.perf_counter() - start) * 1000
        sample = {"latency_ms": latency_ms, "cpu_ms": _cpu_ms() - used, "peak_rss_bytes": peak_rss_bytes()}
        click.echo(json.dumps(sample))


def _pytorch(network: str, batch: FloatArray, threads: int) -> Callable[[], FloatArray]:
    import torch

    from brain_edge_conversion.parity import TorchSession

    torch.set_num_threads(threads)
    session = TorchSession(ARCHITECTURES[network].build())
    return lambda: session(batch)


def _openvino(graph: Path, batch: FloatArray, threads: int) -> Callable[[], FloatArray]:
    request = compiled(graph, batch.shape, threads).create_infer_request()
    return lambda: np.asarray(request.infer({0: batch}, share_inputs=True, share_outputs=True)[0])


def _cpu_ms() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return (used.ru_utime + used.ru_stime) * 1000


if __name__ == "__main__":
    main()
