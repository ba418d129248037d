"""The table of whole processes that ran in turn outside the matrix. Pure."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Final

from brain_edge.bench.cells import MINIMUM_ROUNDS
from brain_edge.bench.ratios import ratio_of_medians
from brain_edge.evaluate import format_rows
from brain_edge.report.benchmark_words import interval, mib, seconds
from brain_edge.runtime.machine import differences

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from brain_edge.bench.turns import TurnEntry, Turns
    from brain_edge.runtime.machine import Machine

COLUMNS: Final = ("model", "contender", "rounds", "latency", "faster (95 % interval)", "peak memory")


def whole_cases(machine: Machine, turns: Iterable[Turns]) -> Iterator[str]:
    """The last run of each comparison and model on a machine; nothing where there is none.

    Args:
        machine: whose runs are shown.
        turns: of any machine, oldest first.
    """
    ours = {(run.subject, run.benchmark): run for run in turns if not differences(run.machine, machine)}
    if not ours:
        return
    yield "### Whole cases, file to file"
    rows = [_row(run, entry) for _, run in sorted(ours.items()) for entry in run.entries]
    yield format_rows(COLUMNS, rows)
    yield (
        "Cold processes in turn, from image files to a mask file; ratios to the first contender of each model, over "
        "the rounds that both took part in. `brainmage` and the tumour networks have random weights, the same on both "
        "sides; INT8 of those is quantised for speed. An interval wants "
        f"{MINIMUM_ROUNDS} rounds. Recorded by `benchmarks/recipe_case.py` and `benchmarks/tuned.py`, which compare "
        "the masks first and record nothing where they differ; of INT8 with random weights that would mean nothing."
    )


def _row(run: Turns, entry: TurnEntry) -> list[str]:
    first = run.entries[0]
    both = min(len(first.samples), len(entry.samples))
    latencies_ms = [sample.latency_ms for sample in entry.samples]
    faster = ratio_of_medians([sample.latency_ms for sample in first.samples[:both]], latencies_ms[:both])
    in_words = interval(faster) if both >= MINIMUM_ROUNDS else f"{faster.value:.2f}x, rounds: {both}"
    peaks = [float(sample.peak_rss_bytes) for sample in entry.samples if sample.peak_rss_bytes is not None]
    return [
        run.subject,
        entry.name,
        str(len(latencies_ms)),
        seconds(statistics.median(latencies_ms)),
        "" if entry is first else in_words,
        mib(statistics.median(peaks) if peaks else None),
    ]
