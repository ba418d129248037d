"""A folder against its images one by one, in one process with the same loaded package; and memory over many cases.

    python -m benchmarks folder PKG HEAD... --threads 2 --rounds 5 --cases 100

Single runs (`run_case`, one after the other) and the batch (`run_batch`) take turns, so that other programs on the
machine hit both alike; both load the package once in each round, and that counts. The masks of both are compared byte
by byte before anything is timed. Then one batch of `--cases` images, which are the heads again and again, shows what
memory does. What was measured goes to a file of its own under `results/`.
"""

from __future__ import annotations

import statistics
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from benchmarks.harness.record import write_record
from benchmarks.harness.sample import milliseconds
from brain_edge.engine.segmenter import Segmenter
from brain_edge.errors import BrainEdgeError
from brain_edge.jobs.batch import Batch, run_batch
from brain_edge.jobs.case import Job, run_case
from brain_edge.jobs.outputs import Outputs
from brain_edge.machine.options import RuntimeOptions
from brain_edge.package import open_package

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brain_edge.package import ModelPackage

RESIDENT: Final = 2
"""Compiled graphs that stay in memory, as `brain-edge run` has it for a batch."""


@dataclass(frozen=True)
class FolderComparison:
    """What both sides share.

    Attributes:
        package: that is run.
        heads: images.
        options: of the runtime.
        at_once: cases of the batch on their way at once; None is its default.
        folder: for outputs.
        pictures: write a picture of each case, as a batch with a page has them.
    """

    package: ModelPackage
    heads: tuple[Path, ...]
    options: RuntimeOptions
    at_once: int | None
    folder: Path
    pictures: bool

    def jobs(self, what: str, count: int) -> tuple[Job, ...]:
        """`count` cases, the heads in turn, with masks in a folder of their own."""
        place = self.folder / what
        place.mkdir()
        (sequence,) = self.package.spec.inputs
        return tuple(
            Job(
                {sequence.name: self.heads[number % len(self.heads)]},
                Outputs(
                    mask=place / f"{number}_mask.nii.gz", picture=place / f"{number}.png" if self.pictures else None
                ),
                case=f"{number}",
            )
            for number in range(count)
        )


@click.command()
@click.argument("package", type=click.Path(path_type=Path, exists=True))
@click.argument("heads", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--threads", default=2, show_default=True, help="Of both sides.")
@click.option("--at-once", type=int, help="Cases of the batch on their way at once [its default].")
@click.option("--rounds", default=5, show_default=True, help="Single runs and batch, in turn.")
@click.option("--per-round", default=8, show_default=True, help="Cases in a round, of each side.")
@click.option("--pictures", is_flag=True, help="Both sides draw a picture of each case.")
@click.option("--cases", default=100, show_default=True, help="Of the batch whose memory is watched; 0 for none.")
def main(
    package: Path,
    heads: tuple[Path, ...],
    threads: int,
    at_once: int | None,
    rounds: int,
    per_round: int,
    pictures: bool,
    cases: int,
) -> None:
    """Compare, watch, and write the result."""
    started = datetime.now(UTC)
    with tempfile.TemporaryDirectory() as folder:
        options = RuntimeOptions(threads=threads, resident_graphs=RESIDENT)
        sides = FolderComparison(open_package(package), heads, options, at_once, Path(folder), pictures)
        figures = _compare(sides, rounds, per_round) | (_watch(sides, cases) if cases else {})
    kind = f"folder-{sides.package.spec.name}{'-with-pictures' if pictures else ''}"
    path = write_record(
        "a folder against its images one by one",
        kind,
        started,
        package_digest=sides.package.digest,
        threads=threads,
        at_once=at_once,
        pictures=pictures,
        **figures,
    )
    click.echo(f"{path}: {figures['throughput_ratio_median']:.2f} times the rate of single runs", err=True)


def _compare(sides: FolderComparison, rounds: int, count: int) -> dict[str, Any]:
    """Seconds per case of both sides, round by round."""
    single_s, batch_s = [], []
    for number in range(rounds + 1):
        single, batch = sides.jobs(f"single-{number}", count), sides.jobs(f"batch-{number}", count)
        single_s.append(milliseconds(partial(_run_single, sides, single)) / 1000 / count)
        batch_s.append(milliseconds(partial(_run_batch, sides, batch)) / 1000 / count)
        _require_same(single, batch)
    single_s, batch_s = single_s[1:], batch_s[1:]  # the first round warms up, and its masks are checked before any time
    ratios = [one / many for one, many in zip(single_s, batch_s, strict=True)]
    return {
        "single_s_per_case": single_s,
        "batch_s_per_case": batch_s,
        "throughput_ratio_median": statistics.median(ratios),
        "throughput_ratios": ratios,
    }


def _run_single(sides: FolderComparison, jobs: Sequence[Job]) -> None:
    segmenter = Segmenter.open(sides.package, sides.options)
    for job in jobs:
        run_case(segmenter, job)


def _run_batch(sides: FolderComparison, jobs: Sequence[Job]) -> None:
    for result in run_batch(sides.package, jobs, _batch(sides, jobs), sides.options):
        if result.error is not None:
            raise result.error


def _watch(sides: FolderComparison, count: int) -> dict[str, Any]:
    """Resident memory after each case, and how much the last tenth holds more than the second."""
    jobs = sides.jobs("watched", count)
    results = run_batch(sides.package, jobs, _batch(sides, jobs), sides.options)
    rss = [result.record.rss_bytes or 0 for result in results]
    tenth = max(1, count // 10)
    early, late = statistics.median(rss[tenth : 2 * tenth]), statistics.median(rss[-tenth:])
    return {"rss_bytes": rss, "rss_growth_percent": 100 * (late - early) / early}


def _batch(sides: FolderComparison, jobs: Sequence[Job]) -> Batch:
    return Batch(records=jobs[0].outputs.mask.parent, at_once=sides.at_once)


def _require_same(single: Sequence[Job], batch: Sequence[Job]) -> None:
    for one, other in zip(single, batch, strict=True):
        if one.outputs.mask.read_bytes() != other.outputs.mask.read_bytes():
            raise BrainEdgeError(f"case {one.case}: a batch gave another mask than a single run; nothing was timed")
