"""The table of whole processes that ran in turn outside the matrix. Pure."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Final

from brain_edge.bench.matrix.cells import MINIMUM_ROUNDS, quiet_rounds
from brain_edge.bench.matrix.ratios import ratio_of_medians
from brain_edge.bench.matrix.words import interval, mib, seconds
from brain_edge.evaluation.evaluate import format_rows
from brain_edge.machine.description import differences

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from brain_edge.bench.matrix.turns import TurnEntry, Turns
    from brain_edge.machine.description import Machine

MOST_DISTURBANCE: Final = 0.1
"""What others may take of the machine in a round that counts, as the matrix declares it for its cells."""
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
        "Cold processes in turn, from image files to a mask file; ratios to the first contender of a model, over "
        "the rounds that both took part in and in which other programs took at most "
        f"{MOST_DISTURBANCE:.0%} of the machine. `brainmage` and the tumour networks have random weights, the same on "
        "both sides; INT8 of those is quantised for speed. An interval wants "
        f"{MINIMUM_ROUNDS} rounds. Recorded by `benchmarks/recipe_case.py` and `benchmarks/tuned.py`, which compare "
        "the masks first and record nothing where they differ; of INT8 with random weights that would mean nothing."
    )


def _row(run: Turns, entry: TurnEntry) -> list[str]:
    first = run.entries[0]
    processors = run.machine.processors
    own = [entry.samples[number].latency_ms for number in quiet_rounds([entry.samples], MOST_DISTURBANCE, processors)]
    both = quiet_rounds([first.samples, entry.samples], MOST_DISTURBANCE, processors)
    peaks = [float(sample.peak_rss_bytes) for sample in entry.samples if sample.peak_rss_bytes is not None]
    return [
        run.subject,
        entry.name,
        str(len(own)),
        seconds(statistics.median(own)) if own else "not quiet",
        "" if entry is first or not both else _faster(first, entry, both),
        mib(statistics.median(peaks) if peaks else None),
    ]


def _faster(first: TurnEntry, entry: TurnEntry, both: Sequence[int]) -> str:
    times_ms = [[each.samples[number].latency_ms for number in both] for each in (first, entry)]
    faster = ratio_of_medians(*times_ms)
    return interval(faster) if len(both) >= MINIMUM_ROUNDS else f"{faster.value:.2f}x, rounds: {len(both)}"
