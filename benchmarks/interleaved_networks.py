"""Networks alone against PyTorch eager in f32, each engine ready in a process of its own, in turn: A B C A B C.

    python -m benchmarks interleaved_networks brainmage vox2vox --threads 2 --rounds 7

Weights are random and inputs are phantoms, so that anybody can repeat it. Answers are compared before anything is
timed. One JSON file a network is left under `results/`, and a table is printed.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

import click
import numpy as np

from benchmarks.harness.contenders import environment
from benchmarks.harness.in_turn import Rounds, quiet_turns
from benchmarks.harness.network_record import NetworkEntry, NetworkRun, network_table, write_networks
from benchmarks.harness.record import RESULTS, our_versions, this_commit
from benchmarks.harness.server import Server
from benchmarks.harness.zoo import ARCHITECTURES, phantom_input, save_graphs
from brain_edge.errors import BrainEdgeError
from brain_edge.machine.description import this_machine

MINIMUM_CORRELATION: Final = {"PyTorch f32": 1.0, "OpenVINO f32": 0.9999}
"""Of an answer with PyTorch's. INT8 of untrained networks is only checked to be an answer."""


@click.command()
@click.argument("networks", nargs=-1, required=True, type=click.Choice(list(ARCHITECTURES)))
@click.option("--threads", default=2, show_default=True, help="Of every engine.")
@click.option("--rounds", default=7, show_default=True, help="That count.")
@click.option("--max-disturbance", default=0.1, show_default=True, help="Of the machine, by others, in a round.")
@click.option("--patience", "patience_s", default=60.0, show_default=True, help="Seconds to wait for an idle machine.")
@click.option("--graphs", type=click.Path(path_type=Path), help="Folder to keep converted graphs in [none is kept].")
@click.option(
    "--results", default=RESULTS, type=click.Path(path_type=Path), help="Folder to keep the samples in [results]."
)
@click.option("--plain", is_flag=True, help="Also the graphs without rewrites.")
def main(
    networks: tuple[str, ...],
    threads: int,
    rounds: int,
    max_disturbance: float,
    patience_s: float,
    graphs: Path | None,
    results: Path,
    plain: bool,
) -> None:
    """Compare NETWORKS in OpenVINO, f32 and INT8, with PyTorch eager."""
    wanted = Rounds(counting=rounds, most=3, max_disturbance=max_disturbance, patience_s=patience_s)
    for network in networks:
        with tempfile.TemporaryDirectory() as scratch:
            engines = make_engines(network, graphs or Path(scratch), plain=plain)
            result = compare(network, engines, threads, wanted, Path(scratch))
        click.echo(f"written: {write_networks(result, results)}", err=True)
        click.echo(network_table(result) + "\n")


def make_engines(network: str, folder: Path, *, plain: bool) -> dict[str, tuple[str, Path | None]]:
    """Names, engines and folders of graphs of what is compared. Graphs that are there are taken as they are."""
    engines: dict[str, tuple[str, Path | None]] = {"PyTorch f32": ("PyTorch f32", None)}
    for rewrites in (True, False) if plain else (True,):
        of_network = folder / f"{network}-{'rewritten' if rewrites else 'plain'}"
        if not (of_network / "int8.xml").exists():
            click.echo(f"converting and quantising {of_network.name}", err=True)
            save_graphs(ARCHITECTURES[network], of_network, rewrites=rewrites)
        suffix = "" if rewrites else " without rewrites"
        engines |= {f"{name}{suffix}": (name, of_network) for name in ("OpenVINO f32", "OpenVINO INT8")}
    return engines


def compare(
    network: str, engines: dict[str, tuple[str, Path | None]], threads: int, rounds: Rounds, scratch: Path
) -> NetworkRun:
    """Run all engines in turn until enough rounds count.

    Raises:
        BrainEdgeError: an engine failed, or gives another answer than PyTorch.
    """
    started = datetime.now(UTC)
    source = scratch / "input.npy"
    np.save(source, phantom_input(ARCHITECTURES[network]))
    with ExitStack() as stack:
        servers = [
            stack.enter_context(
                Server(
                    engine,
                    network,
                    source,
                    scratch / f"output-{number}.npy",
                    graphs=graphs,
                    threads=threads,
                    environment=environment(threads),
                )
            )
            for number, (engine, graphs) in enumerate(engines.values())
        ]
        checks = [_check(server, servers[0]) for server in servers]
        samples = quiet_turns([server.run for server in servers], rounds, partial(click.echo, err=True))
    entries = [
        NetworkEntry(name=name, correlation=correlation, largest_error=error, samples=tuple(of_one))
        for name, (correlation, error), of_one in zip(engines, checks, samples, strict=True)
    ]
    return NetworkRun(
        network=network,
        shape=ARCHITECTURES[network].shape,
        target=ARCHITECTURES[network].target,
        started=started,
        commit=this_commit(),
        machine=this_machine(),
        threads=threads,
        max_disturbance=rounds.max_disturbance,
        versions=our_versions(),
        entries=tuple(entries),
    )


def _check(server: Server, reference: Server) -> tuple[float, float]:
    """Correlation with PyTorch's answer and the largest difference from it."""
    got, expected = np.load(server.target), np.load(reference.target)
    correlation = float(np.corrcoef(got.ravel(), expected.ravel())[0, 1])
    if got.shape != expected.shape or not correlation >= MINIMUM_CORRELATION.get(server.name, 0.0) - 1e-9:
        raise BrainEdgeError(
            f"{server.name}: its answer correlates with PyTorch's at {correlation:.6f}; a wrong answer is not timed"
        )
    return correlation, float(np.abs(got - expected).max())
