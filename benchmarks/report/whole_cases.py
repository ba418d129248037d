"""Whole processes in turn outside the matrix, one file a run; and their table.

The programs `recipe_case`, `tuned` and `interleaved` write these files.
"""

from __future__ import annotations

import statistics
from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec

from benchmarks.harness.cell_record import Commit, read_as
from benchmarks.harness.ratios import ratio_of_starts
from benchmarks.harness.sample import RunSample, quiet_rounds
from brain_edge.errors import InputError
from brain_edge.evaluation.markdown import markdown_table
from brain_edge.machine.description import Machine

from .formatting import mib, seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from .recipe_age import Ages

KINDS: Final = frozenset({"case", "tuned", "interleaved"})
"""What stands behind the time in the name of a file."""
MOST_DISTURBANCE: Final = 0.1
"""What others may take of the machine in a round that counts, as the matrix declares it for its cells."""
COLUMNS: Final = ("model", "contender", "rounds", "latency", "faster (95 %)", "a repetition", "peak memory")


class WholeCaseEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One contender: name, precision in words, and a sample of each round that it took part in, the first of all."""

    name: str
    precision: str = ""
    samples: tuple[RunSample, ...]

    @property
    def title(self) -> str:
        """The name, and the precision of what is not INT8 where that is bf16."""
        return f"{self.name}, rest in bf16" if self.precision.endswith("rest in bf16") else self.name


class WholeCaseRun(msgspec.Struct, frozen=True, kw_only=True):
    """Contenders that ran in turn, each as a whole cold process; the first is what the others are compared with.

    Attributes:
        benchmark: what was compared, in words.
        recipe, model: of what; a file says one of them.
    """

    benchmark: str
    recipe: str = ""
    model: str = ""
    started: datetime
    commit: Commit
    machine: Machine
    versions: dict[str, str] = {}
    entries: tuple[WholeCaseEntry, ...]

    @property
    def subject(self) -> str:
        """The model."""
        return self.recipe or self.model


def read_whole_cases(where: Path) -> tuple[WholeCaseRun, ...]:
    """All such runs in a folder and the folders below it, oldest first; () where there are none.

    Raises:
        InputError: a file cannot be read, or is none.
    """
    if not where.is_dir():
        return ()
    found = [path for path in where.rglob("*-*.json") if path.stem.split("-")[1] in KINDS]
    return tuple(_read(path) for path in sorted(found, key=lambda path: (path.name, path.parent)))


def _read(path: Path) -> WholeCaseRun:
    found = read_as(WholeCaseRun, path, "whole processes in turn")
    if not found.entries or not all(entry.samples for entry in found.entries):
        raise InputError(f"{path}: expected whole processes in turn, a contender has no samples; remove the file")
    return found


def whole_case_tables(runs: Iterable[WholeCaseRun], ages: Ages) -> Iterator[str]:
    """The last run of each comparison and model; nothing where there is none.

    Args:
        runs: of one machine, oldest first.
        ages: marks what is older than its recipe.
    """
    ours = {(run.subject, run.benchmark): run for run in runs}
    if not ours:
        return
    yield "### Whole cases, file to file"
    rows = [_row(run, entry, ages) for _, run in sorted(ours.items()) for entry in run.entries]
    yield markdown_table(COLUMNS, rows)
    yield (
        "Cold processes in turn, from image files to a mask file; ratios to the first contender of a model, over "
        "the rounds that both took part in and in which other programs took at most "
        f"{MOST_DISTURBANCE:.0%} of the machine. `brainmage` and the tumour networks have random weights, the same on "
        "both sides; INT8 of those is quantised for speed. Recorded by `python -m benchmarks` `recipe_case`, `tuned` "
        "and `interleaved`, which compare the masks first and record nothing where they differ; of INT8 with random "
        "weights that would mean nothing."
    )


def _row(run: WholeCaseRun, entry: WholeCaseEntry, ages: Ages) -> list[str]:
    first = run.entries[0]
    processors = run.machine.processors
    own = [entry.samples[number].latency_ms for number in quiet_rounds([entry.samples], MOST_DISTURBANCE, processors)]
    both = quiet_rounds([first.samples, entry.samples], MOST_DISTURBANCE, processors)
    peaks = [float(sample.peak_rss_bytes) for sample in entry.samples if sample.peak_rss_bytes is not None]
    return [
        ages.marked(run.subject, run.started),
        entry.title,
        str(len(own)),
        seconds(statistics.geometric_mean(own)) if own else "not quiet",
        *(("", "") if entry is first or not both else _faster(first, entry, both)),
        mib(statistics.median(peaks) if peaks else None),
    ]


def _faster(first: WholeCaseEntry, entry: WholeCaseEntry, both: Sequence[int]) -> tuple[str, str]:
    faster = ratio_of_starts(*([each.samples[number].latency_ms for number in both] for each in (first, entry)))
    return f"{faster}x", str(faster.repetition or "unknown")
