"""Contenders in turn, A B C A B C, so that other programs on the machine hit all of them alike."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from brain_edge.machine.description import this_machine

from .measure import run, wait_until_idle
from .ratios import ratio_of_starts
from .sample import RunSample, median, milliseconds, quiet_rounds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from brain_edge.bench.starts import Estimate
    from brain_edge.image.volume import FloatArray

    from .measure import Contender


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """How many rounds should count, and what is done for them.

    Attributes:
        counting: that should count.
        most: that are run at most, per round that should count.
        max_disturbance: what others may take of the machine in a round that counts, 0 to 1; None: every round counts,
            and nothing is waited for.
        patience_s: longest wait for an idle machine before a round.
    """

    counting: int
    most: int
    max_disturbance: float | None
    patience_s: float


def quiet_turns(
    runs: Sequence[Callable[[], RunSample]], rounds: Rounds, report: Callable[[str], None]
) -> list[list[RunSample]]:
    """Samples per contender, per round, until enough rounds count or patience ends; every round is kept."""
    samples: list[list[RunSample]] = [[] for _ in runs]
    processors = this_machine().processors
    for number in range(1, rounds.counting * rounds.most + 1):
        if rounds.max_disturbance is not None:
            wait_until_idle(rounds.max_disturbance, rounds.patience_s)
        for run_once, of_one in zip(runs, samples, strict=True):
            of_one.append(run_once())
        counted = len(quiet_rounds(samples, rounds.max_disturbance, processors))
        report(f"round {number}: {counted} of {rounds.counting} count")
        if counted == rounds.counting:
            break
    return samples


def take_turns(contenders: Sequence[Contender], rounds: Sequence[int]) -> list[list[RunSample]]:
    """The samples of each contender, a whole cold process, of the first round first.

    Args:
        contenders: in the order in which they run in each round.
        rounds: how many of the rounds, from the first on, each takes part in: what takes minutes may rest.
    """
    samples: list[list[RunSample]] = [[] for _ in contenders]
    for number in range(max(rounds)):
        for contender, most, of_one in zip(contenders, rounds, samples, strict=True):
            if number < most:
                of_one.append(run(contender))
                click.echo(f"round {number + 1}: {contender.name} {of_one[-1].latency_ms / 1000:.1f} s", err=True)
    return samples


def times_as_fast(baseline: Sequence[RunSample], samples: Sequence[RunSample]) -> Estimate:
    """How many times as fast as the baseline, over the rounds that both took part in."""
    both = min(len(baseline), len(samples))
    return ratio_of_starts([s.latency_ms for s in baseline[:both]], [s.latency_ms for s in samples[:both]])


def in_words(samples: Sequence[RunSample]) -> str:
    """Means of latency over starts, medians of processor time and memory."""
    latency_s = statistics.geometric_mean([sample.latency_ms for sample in samples]) / 1000
    cpu_s = median(samples, "cpu_ms") / 1000
    return f"{latency_s:.1f} s, {cpu_s:.1f} s of processors, {median(samples, 'peak_rss_bytes') / 2**20:.0f} MiB"


def timed_calls(calls: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 1) -> dict[str, list[float]]:
    """Latency in ms of each call, round by round, in one process; the rounds of the warm-up are left out."""
    samples_ms: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(warm_up + rounds):
        for name, call in calls.items():
            samples_ms[name].append(milliseconds(call))
    return {name: of_one[warm_up:] for name, of_one in samples_ms.items()}


def time_ratios(changed: Any, plain: Any, data: FloatArray, rounds: int) -> list[float]:
    """Time of one request of OpenVINO over that of another, round by round; which begins changes with the round.

    Args:
        changed: warm infer request whose time is divided.
        plain: that of the other graph.
        data: the only input of both.
        rounds: in which both run once.
    """
    calls = [partial(request.infer, {0: data}, share_inputs=True, share_outputs=True) for request in (changed, plain)]
    ratios = []
    for number in range(rounds):
        order = (0, 1) if number % 2 == 0 else (1, 0)
        taken_ms = {which: milliseconds(calls[which]) for which in order}
        ratios.append(taken_ms[0] / taken_ms[1])
    return ratios
