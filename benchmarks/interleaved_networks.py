"""Networks alone against PyTorch eager in f32, each engine ready in a process of its own, in turn: A B C A B C.

    python benchmarks/interleaved_networks.py brainmage vox2vox --threads 2 --rounds 7

Weights are random and inputs are phantoms, so that anybody can repeat it. Answers are compared before anything is
timed. One JSON file a network is left under `results/`, and a table is printed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click
import msgspec
import numpy as np
from harness.contenders import environment
from harness.load import busy_cpu_ms, load_average
from harness.measure import Sample, wait_until_idle
from harness.network_record import NetworkEntry, NetworkRun, network_table, write_networks
from harness.peers import BENCHMARKS
from harness.record import RESULTS, our_versions, quiet_rounds, this_commit
from harness.zoo import ARCHITECTURES, phantom_input, save_graphs

from brain_edge.errors import BrainEdgeError
from brain_edge.runtime.machine import this_machine

MINIMUM_CORRELATION: Final = {"PyTorch f32": 1.0, "OpenVINO f32": 0.9999}
"""Of an answer with PyTorch's. INT8 of untrained networks is only checked to be an answer."""

PATIENT_ROUNDS: Final = 3
"""Rounds that are run at most, per round that should count."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How to measure; see the options of the program."""

    threads: int
    rounds: int
    max_disturbance: float
    patience_s: float


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
    plan = Plan(threads=threads, rounds=rounds, max_disturbance=max_disturbance, patience_s=patience_s)
    try:
        for network in networks:
            with tempfile.TemporaryDirectory() as scratch:
                engines = make_engines(network, graphs or Path(scratch), plain=plain)
                result = compare(network, engines, plan, Path(scratch))
            click.echo(f"written: {write_networks(result, results)}", err=True)
            click.echo(network_table(result) + "\n")
    except BrainEdgeError as error:
        sys.exit(f"error: {error}")


def make_engines(network: str, folder: Path, *, plain: bool) -> dict[str, Path | None]:
    """Names and graphs of what is compared; PyTorch has none. Graphs that are in the folder are taken as they are."""
    engines: dict[str, Path | None] = {"PyTorch f32": None}
    for rewrites in (True, False) if plain else (True,):
        of_network = folder / f"{network}-{'rewritten' if rewrites else 'plain'}"
        if not (of_network / "int8.xml").exists():
            click.echo(f"converting and quantising {of_network.name}", err=True)
            save_graphs(ARCHITECTURES[network], of_network, rewrites=rewrites)
        suffix = "" if rewrites else " without rewrites"
        engines |= {f"OpenVINO f32{suffix}": of_network / "f32.xml", f"OpenVINO INT8{suffix}": of_network / "int8.xml"}
    return engines


def compare(network: str, engines: dict[str, Path | None], plan: Plan, scratch: Path) -> NetworkRun:
    """Run all engines in turn until enough rounds count.

    Raises:
        BrainEdgeError: an engine failed, or gives another answer than PyTorch.
    """
    started = datetime.now(UTC)
    source = scratch / "input.npy"
    np.save(source, phantom_input(ARCHITECTURES[network]))
    with ExitStack() as stack:
        servers = [
            stack.enter_context(Server(name, network, source, scratch / f"output-{number}.npy", graph, plan.threads))
            for number, (name, graph) in enumerate(engines.items())
        ]
        checks = [_check(server, servers[0]) for server in servers]
        samples = _rounds(servers, plan)
    entries = [
        NetworkEntry(name=server.name, correlation=correlation, largest_error=error, samples=tuple(of_one))
        for server, (correlation, error), of_one in zip(servers, checks, samples, strict=True)
    ]
    return NetworkRun(
        network=network,
        shape=ARCHITECTURES[network].shape,
        target=ARCHITECTURES[network].target,
        started=started,
        commit=this_commit(),
        machine=this_machine(),
        threads=plan.threads,
        max_disturbance=plan.max_disturbance,
        versions=our_versions(),
        entries=tuple(entries),
    )


class Server:
    """A network that waits in a process of its own; see `network_server.py`."""

    def __init__(self, name: str, network: str, source: Path, target: Path, graph: Path | None, threads: int) -> None:
        self.name = name
        self.target = target
        options = ["--threads", str(threads), *(["--graph", str(graph)] if graph else [])]
        program = [sys.executable, str(BENCHMARKS / "network_server.py"), network, str(source), str(target)]
        self._process = subprocess.Popen(
            [*program, *options], env=environment(threads), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Server:
        """Wait until the network is warm, so that no two of them start at the same time."""
        try:
            self._read()
        except BrainEdgeError:
            self._process.kill()
            self._process.wait()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        self._process.communicate()

    def run(self) -> Sample:
        """Run the network once."""
        load, busy = load_average(), busy_cpu_ms()
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        seen = msgspec.json.decode(self._read())
        after = busy_cpu_ms()
        others = None if busy is None or after is None else max(0.0, after - busy - seen["cpu_ms"])
        return Sample(**seen, load_average=load, others_cpu_ms=others)

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise BrainEdgeError(f"{self.name}: the process ended with exit code {self._process.wait()}")
        return line


def _check(server: Server, reference: Server) -> tuple[float, float]:
    """Correlation with PyTorch's answer and the largest difference from it."""
    got, expected = np.load(server.target), np.load(reference.target)
    correlation = float(np.corrcoef(got.ravel(), expected.ravel())[0, 1])
    if got.shape != expected.shape or not correlation >= MINIMUM_CORRELATION.get(server.name, 0.0) - 1e-9:
        raise BrainEdgeError(
            f"{server.name}: its answer correlates with PyTorch's at {correlation:.6f}; a wrong answer is not timed"
        )
    return correlation, float(np.abs(got - expected).max())


def _rounds(servers: list[Server], plan: Plan) -> list[list[Sample]]:
    """Samples per server, per round; every round is kept."""
    samples: list[list[Sample]] = [[] for _ in servers]
    for number in range(1, plan.rounds * PATIENT_ROUNDS + 1):
        wait_until_idle(plan.max_disturbance, plan.patience_s)
        for server, of_one in zip(servers, samples, strict=True):
            of_one.append(server.run())
        counted = len(quiet_rounds(samples, plan.max_disturbance, this_machine().processors))
        click.echo(f"round {number}: {counted} of {plan.rounds} count", err=True)
        if counted == plan.rounds:
            break
    return samples


if __name__ == "__main__":
    main()
