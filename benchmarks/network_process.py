"""One network alone in a process of its own: from nothing to the first and the second answer, and the peak memory.

python -m benchmarks network_process openvino deepbet-fp32 brain input.npy output.npy --threads 2 --precision f32
python -m benchmarks network_process pytorch  deepbet      brain input.npy output.npy --threads 2
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import click
import numpy as np

from benchmarks.harness.networks import openvino_session, pytorch_session
from benchmarks.harness.sample import milliseconds
from brain_edge.machine.process import peak_rss_bytes


@click.command()
@click.argument("engine", type=click.Choice(["openvino", "pytorch"]))
@click.argument("model")
@click.argument("graph")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--threads", type=int, required=True)
@click.option("--precision", type=click.Choice(["f32", "bf16"]), default="f32")
@click.option("--cache", type=click.Path(path_type=Path), help="Where OpenVINO keeps compiled graphs.")
def main(
    engine: str, model: str, graph: str, source: Path, target: Path, threads: int, precision: str, cache: Path | None
) -> None:
    """Run GRAPH of MODEL (a package, or the name of a recipe) twice on SOURCE; its answer goes to TARGET."""
    batch = np.load(source, allow_pickle=False)
    start = time.perf_counter()
    session = (
        pytorch_session(model, graph, threads)
        if engine == "pytorch"
        else openvino_session(Path(model), graph, threads, precision, cache)
    )
    opened_ms = (time.perf_counter() - start) * 1000
    first_ms = milliseconds(lambda: np.save(target, session(batch)))
    second_ms = milliseconds(lambda: session(batch))
    elapsed_ms = {"open": opened_ms, "first": first_ms, "second": second_ms}
    click.echo(json.dumps({"peak_rss_bytes": peak_rss_bytes(), "elapsed_ms": elapsed_ms}))
