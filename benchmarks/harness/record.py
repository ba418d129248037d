"""What is kept of an interleaved comparison: raw samples and all that they depend on; one file a run, never changed.

No path and no name of a head is kept: a file name may hold a patient's.
"""

from __future__ import annotations

import platform
import statistics
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from benchmarks import BENCHMARKS
from brain_edge.bench.starts import MINIMUM_STARTS
from brain_edge.errors import BrainEdgeError
from brain_edge.evaluation.markdown import markdown_table
from brain_edge.machine.description import Machine, this_machine

from .cell_record import Commit
from .ratios import ratio_of_starts
from .sample import RunSample, median, quiet_rounds

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

RESULTS: Final = BENCHMARKS / "results"
LIBRARIES: Final = ("brain-edge", "openvino", "numpy", "scipy", "nibabel", "isal", "torch", "nncf", "onnxruntime")


class HeadContent(msgspec.Struct, frozen=True):
    """The image, by content: SHA-256 of the file, voxels and spacing."""

    sha256: str
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]


class InterleavedEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One contender.

    Attributes:
        name, precision, package_digest: see `harness.measure.Contender`.
        dice_published: against the mask of the published program; 1 for that program itself.
        dice_reference: against the reference mask; None where none was given.
        samples: one per repeat, in the order of time; sample n of all contenders were taken in the same round.
    """

    name: str
    precision: str
    package_digest: str | None
    dice_published: float
    dice_reference: float | None
    samples: tuple[RunSample, ...]


class Turns(msgspec.Struct, frozen=True, kw_only=True):
    """What every comparison in turn depends on.

    Attributes:
        max_disturbance: a round counts if other programs took at most this share of the machine during each of its
            processes; decided before the run, kept for every reader after it. None: every round counts.
    """

    started: datetime
    commit: Commit
    machine: Machine
    threads: int
    max_disturbance: float | None = None
    versions: dict[str, str]

    def counted(self, samples: Sequence[Sequence[RunSample]]) -> tuple[int, ...]:
        """The rounds that count, of the samples of each entry.

        Raises:
            BrainEdgeError: they are so few that an interval would mean nothing.
        """
        found = quiet_rounds(samples, self.max_disturbance, self.machine.processors)
        if len(found) < MINIMUM_STARTS:
            raise BrainEdgeError(
                f"{len(found)} of {len(samples[0])} rounds count, at least {MINIMUM_STARTS} are needed: other programs "
                f"took more than {self.max_disturbance:.0%} of the machine during the others; repeat when it is idle"
            )
        return found


class InterleavedRun(Turns, frozen=True, kw_only=True):
    """One interleaved comparison. The first entry is what the others are compared with."""

    schema: Literal[1] = 1
    benchmark: Literal["interleaved whole processes"] = "interleaved whole processes"
    model: str
    peer_versions: dict[str, str]
    head: HeadContent
    reference_sha256: str | None
    entries: tuple[InterleavedEntry, ...]


def this_commit(checkout: Path = BENCHMARKS) -> Commit:
    """The commit of a checkout: this one, unless it is another."""
    said = [
        subprocess.run(["git", "-C", str(checkout), *words], capture_output=True, text=True, check=True).stdout.strip()
        for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
    ]
    return Commit(said[0], bool(said[1]))


def our_versions() -> dict[str, str]:
    """Of Python and of what our side runs on."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}


def file_stem(kind: str, started: datetime) -> str:
    """Name of a result: the time in UTC, so that names sort by age and never collide, and what it is.

    >>> file_stem("interleaved-deepbet", datetime(2026, 11, 21, 6, 30, tzinfo=UTC))
    '20261121T063000Z-interleaved-deepbet'
    """
    return f"{started.astimezone(UTC):%Y%m%dT%H%M%SZ}-{kind}"


def write_result(result: object, kind: str, started: datetime, machine: Machine, results: Path = RESULTS) -> Path:
    """Write what was measured on a machine to a file of its own; an existing file is never opened for writing."""
    path = results / machine.name / f"{file_stem(kind, started)}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    return path


def write_record(benchmark: str, kind: str, started: datetime, **facts: object) -> Path:
    """Write what was measured now on this machine, with all that it depends on; the path of the file.

    Args:
        benchmark: what was measured, in words.
        kind: the same as a part of the file's name.
        started: when it began.
        facts: the results.
    """
    machine = this_machine()
    about = {"started": started, "commit": this_commit(), "machine": machine, "versions": our_versions()}
    return write_result({"schema": 1, "benchmark": benchmark, **about, **facts}, kind, started, machine)


def write(run: InterleavedRun, results: Path = RESULTS) -> Path:
    """Write a run to a file of its own."""
    return write_result(run, f"interleaved-{run.model}", run.started, run.machine, results)


def read(path: Path) -> InterleavedRun:
    """A run that was written before."""
    return msgspec.json.decode(path.read_bytes(), type=InterleavedRun)


def table(run: InterleavedRun) -> str:
    """A run as Markdown: means over the rounds that count, each of processes of its own, and ratios to the first entry.

    Raises:
        BrainEdgeError: as `Turns.counted` says.
    """
    counted = run.counted([entry.samples for entry in run.entries])
    total = len(run.entries[0].samples)
    lines = [
        f"{run.model}, whole cold processes, {run.threads} threads, {run.machine.cpu} ({run.machine.isa}), head of "
        f"{' x '.join(map(str, run.head.shape))} voxels; {len(counted)} of {total} rounds count, "
        f"load average {_loads(run)}",
        "",
        markdown_table(
            (
                *("contender", "latency", "spread", "faster (95 %)", "a repetition", "CPU time", "peak memory"),
                *("of the published", "Dice published", "Dice reference"),
            ),
            [_row(entry, run.entries[0], counted) for entry in run.entries],
        ),
    ]
    return "\n".join(lines)


def _row(entry: InterleavedEntry, first: InterleavedEntry, counted: Sequence[int]) -> list[str]:
    samples, base = ([each.samples[number] for number in counted] for each in (entry, first))
    latency_s, first_s = ([sample.latency_ms / 1000 for sample in each] for each in (samples, base))
    memory = median(samples, "peak_rss_bytes")
    compared = entry is not first
    faster = ratio_of_starts(first_s, latency_s)
    return [
        entry.name,
        f"{statistics.geometric_mean(latency_s):.2f} s",
        f"{min(latency_s):.2f}-{max(latency_s):.2f} s",
        *([f"{faster}x", str(faster.repetition or "unknown")] if compared else ["", ""]),
        f"{median(samples, 'cpu_ms') / 1000:.2f} s",
        f"{memory / 2**20:.0f} MiB",
        f"{memory / median(base, 'peak_rss_bytes'):.2f}" if compared else "",
        f"{entry.dice_published:.4f}" if compared else "",
        "" if entry.dice_reference is None else f"{entry.dice_reference:.4f}",
    ]


def _loads(run: InterleavedRun) -> str:
    loads = [sample.load_average for entry in run.entries for sample in entry.samples]
    known = [load for load in loads if load is not None]
    return f"{min(known):.1f} to {max(known):.1f}" if known else "unknown"
