"""Whole cold processes in turn, A B C A B C, and what that says in numbers and words."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

import click

from .measure import run
from .ratios import Ratio, ratio_of_medians

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .measure import Contender, Sample


def take_turns(contenders: Sequence[Contender], rounds: Sequence[int]) -> list[list[Sample]]:
    """The samples of each contender, of the first round first.

    Args:
        contenders: in the order in which they run in each round.
        rounds: how many of the rounds, from the first on, each takes part in: what takes minutes may rest.
    """
    samples: list[list[Sample]] = [[] for _ in contenders]
    for number in range(max(rounds)):
        for contender, most, of_one in zip(contenders, rounds, samples, strict=True):
            if number < most:
                of_one.append(run(contender))
                click.echo(f"round {number + 1}: {contender.name} {of_one[-1].latency_ms / 1000:.1f} s", err=True)
    return samples


def times_as_fast(baseline: Sequence[Sample], samples: Sequence[Sample]) -> Ratio:
    """How many times as fast as the baseline, over the rounds that both took part in."""
    both = min(len(baseline), len(samples))
    return ratio_of_medians([s.latency_ms for s in baseline[:both]], [s.latency_ms for s in samples[:both]])


def in_words(samples: Sequence[Sample]) -> str:
    """Medians of latency, processor time and memory."""
    latency_s = statistics.median(sample.latency_ms for sample in samples) / 1000
    cpu_s = statistics.median(sample.cpu_ms for sample in samples) / 1000
    memory_mib = statistics.median(sample.peak_rss_bytes for sample in samples) / 2**20
    return f"{latency_s:.1f} s, {cpu_s:.1f} s of processors, {memory_mib:.0f} MiB"
