"""What the bookkeeping of a batch costs with 1,000, 10,000 and 100,000 cases that are finished.

    python -m benchmarks bookkeeping PKG --sizes 1000,10000,100000 --rounds 3

Makes images and masks of one byte and records whose hashes are wrong on purpose: a case whose image or mask was read
would not count as finished, and the program would end. Measures a shard of about 100 cases from its start to its end
(list of cases, locks, resume, part of the summary), the resume of all cases, and `brain-edge summarize` with the parts
of the shards and from the records alone. The sizes take turns. Prints a table, the time that a shard takes more at the
largest size than at the smallest, and for the others the exponent of the size to which the time is proportional. Time
on the clock and of the processor: other programs make the first longer, and hardly the second.
"""

from __future__ import annotations

import math
import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import click
import msgspec

from benchmarks.harness.sample import milliseconds
from brain_edge.errors import BrainEdgeError
from brain_edge.evaluation.markdown import markdown_table
from brain_edge.jobs.batch import Batch, CaseOutcome, Shard, plan_batch, run_batch
from brain_edge.jobs.batch.books import Books
from brain_edge.jobs.batch.summary import write_summary
from brain_edge.jobs.layout import Layout
from brain_edge.jobs.outputs import Outputs
from brain_edge.jobs.record import CaseRecord, CaseStatus, FileRecord, RunRecord, record_path
from brain_edge.machine.process import peak_rss_bytes
from brain_edge.machine.stamp import stamp_of
from brain_edge.package import open_package

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from brain_edge.package import ModelPackage

PER_SHARD: Final = 100
NO_HASH: Final = "0" * 64
SHARD, RESUME = "a shard of 100 cases", "resume of all cases"
MERGE, READ = "summarize, from parts", "summarize, from records"


class Taken(NamedTuple):
    """Time on the clock and of the processor, in seconds."""

    clock_s: float
    processor_s: float


@dataclass(frozen=True)
class Finished:
    """A batch of cases that are finished.

    Attributes:
        package: that every record names.
        folder: of the list, the images and the results.
        count: number of cases.
    """

    package: ModelPackage
    folder: Path
    count: int

    @property
    def out(self) -> Path:
        """The output folder."""
        return self.folder / "out"

    @property
    def shard(self) -> Shard:
        """The first of as many shards as make about `PER_SHARD` cases each."""
        return Shard(1, max(1, self.count // PER_SHARD))

    def make(self, *, shard_only: bool = False) -> None:
        """Make the list, the images, the masks and the records; of the first shard only, if asked for."""
        lines, made = ["case\timage"], set[Path]()
        for number in range(self.count):
            case = f"sub-{number // 4:06}_ses-{number % 4}" if number % 2 else f"head{number:06}"
            place, image = Layout.FOLDERS.place(self.out, case), self.folder / "in" / f"{number // 1000}" / case
            image = image.with_name(f"{case}.nii.gz")
            lines.append(f"{case}\t{image.relative_to(self.folder)}")
            if shard_only and not self.shard.holds(case):
                continue
            for path in (image, place / f"{case}_mask.nii.gz"):
                if path.parent not in made:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    made.add(path.parent)
                path.write_bytes(b"x")
            record = self._record(case, image, place / f"{case}_mask.nii.gz")
            record_path(place, case).write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=2))
        (self.folder / "list.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def run(self, shard: Shard) -> None:
        """Plan and run a shard, all of whose cases are finished.

        Raises:
            BrainEdgeError: a case was not kept.
        """
        batch = Batch(records=self.out, layout=Layout.FOLDERS, shard=shard)
        cases = plan_batch(self.folder / "list.tsv", self.package.spec, Outputs(mask=self.out), batch)
        kept = sum(result.outcome is CaseOutcome.KEPT for result in run_batch(self.package, cases, batch))
        if kept != len(cases) or not cases:
            raise BrainEdgeError(f"expected {len(cases)} finished cases, got {kept}")

    def summarize(self, *, with_parts: bool) -> None:
        """Merge the summary.

        Raises:
            BrainEdgeError: a case is missing.
        """
        if not with_parts:
            shutil.rmtree(Books(self.out).parts)
        if (found := write_summary(self.out).done) != self.count:
            raise BrainEdgeError(f"expected {self.count} cases in the summary, got {found}")

    def _record(self, case: str, image: Path, mask: Path) -> CaseRecord:
        (sequence, *_), now = self.package.spec.inputs, datetime.now(UTC)
        labels = dict.fromkeys(self.package.spec.label_names().values(), 1000.0)
        run = RunRecord(
            model=self.package.spec.name,
            digest=self.package.digest,
            weights_status=self.package.manifest.weights_status,
            number_format=self.package.manifest.number_format,
            precision=self.package.manifest.precision,
            intended_use=self.package.manifest.intended_use,
            inputs={sequence.name: str(image)},
            series={},
            mask=str(mask),
            brain=None,
            probabilities=None,
            picture=None,
            border_mm=0.0,
            volumes_ml=labels,
            member_agreement={},
            flags=(),
            threads=2,
            elapsed_ms={"read": 1.0, "network": 1.0, "write": 1.0, "total": 3.0},
            peak_rss_bytes=1,
        )
        return CaseRecord(
            case=case,
            status=CaseStatus.DONE,
            inputs={sequence.name: _unread(image, str(image))},
            series={},
            digest=self.package.digest,
            border_mm=0.0,
            strict=False,
            outputs={"mask": _unread(mask, mask.name)},
            run=run,
            measures={},
            error=None,
            started=now,
            finished=now,
            rss_bytes=1,
            versions={"brain_edge": "0", "openvino": "0", "python": "0"},
        )


@click.command()
@click.argument("package", type=click.Path(path_type=Path, exists=True))
@click.option("--sizes", default="1000,10000,100000", show_default=True, help="Numbers of cases, smallest first.")
@click.option("--rounds", default=3, show_default=True, help="Measurements of each, in turn.")
@click.option("--folder", type=click.Path(path_type=Path), help="Folder for the cases [a temporary one].")
@click.option("--shard-only", is_flag=True, help="Make the cases of one shard of the list, and measure only it.")
def main(package: Path, sizes: str, rounds: int, folder: Path | None, shard_only: bool) -> None:
    """Make the cases, measure, and print."""
    opened = open_package(package)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        batches = [Finished(opened, Path(place, size), int(size)) for size in sizes.split(",")]
        for batch in batches:
            batch.make(shard_only=shard_only)
        taken = measured(batches, rounds, shard_only=shard_only)
    click.echo(report([batch.count for batch in batches], taken))
    click.echo(f"\nPeak memory of the process: {peak_rss_bytes() / 2**20:.0f} MiB.")


def measured(batches: Sequence[Finished], rounds: int, *, shard_only: bool) -> dict[str, dict[int, list[Taken]]]:
    """What was taken, by what is measured and by size; the first round of the shards warms up."""
    taken: dict[str, dict[int, list[Taken]]] = defaultdict(lambda: defaultdict(list))

    def take(what: str, batch: Finished, function: Callable[[], None]) -> None:
        start_s = time.process_time()
        clock_s = milliseconds(function) / 1000
        taken[what][batch.count].append(Taken(clock_s, time.process_time() - start_s))

    for _ in range(5 * rounds + 1):
        for batch in batches:
            take(SHARD, batch, partial(batch.run, batch.shard))
    for samples in taken[SHARD].values():
        del samples[0]
    for _ in range(0 if shard_only else rounds):
        for batch in batches:
            take(RESUME, batch, partial(batch.run, Shard()))
            take(MERGE, batch, partial(batch.summarize, with_parts=True))
            take(READ, batch, partial(batch.summarize, with_parts=False))
    return taken


def report(sizes: Sequence[int], taken: dict[str, dict[int, list[Taken]]]) -> str:
    """The medians as a table, the growth of a shard, and the exponents of the others."""
    rows, more = [], []
    for what, by_size in taken.items():
        for name, field in (("clock", 0), ("processor", 1)):
            values = [statistics.median(sample[field] for sample in by_size[size]) for size in sizes]
            slope = "" if what == SHARD else f"{exponent(sizes, values):.2f}"
            rows.append([f"{what} ({name})", *(f"{value:.3f}" for value in values), slope])
            if what == SHARD:
                more.append(f"{values[-1] - values[0]:.3f} s ({name})")
    header = ["seconds (median)", *(f"{size:,} cases" for size in sizes), "exponent"]
    grown = f"{SHARD}: {' and '.join(more)} more at {sizes[-1]:,} cases than at {sizes[0]:,}"
    return f"{markdown_table(header, rows)}\n\n{grown}"


def exponent(sizes: Sequence[int], values: Sequence[float]) -> float:
    """The slope of the line through the logarithms, by least squares; 1 is linear."""
    return statistics.linear_regression([math.log(size) for size in sizes], [math.log(value) for value in values])[0]


def _unread(path: Path, name: str) -> FileRecord:
    stamp = stamp_of(path)
    return FileRecord(
        path=name, size_bytes=stamp.size_bytes, sha256=NO_HASH, mtime_ns=stamp.mtime_ns, inode=stamp.inode
    )
