"""What a benchmark of a package keeps: every sample, and all that it depends on; one schema for JSON and tables."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeAlias

import msgspec

from brain_edge.bench.profile import LayerTime
from brain_edge.errors import InputError
from brain_edge.machine.description import Machine
from brain_edge.machine.json import decode_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


Milliseconds: TypeAlias = Annotated[float, msgspec.Meta(ge=1e-6, le=1e12)]
"""What a process can take: its logarithm and mean are numbers, too."""


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One process.

    Attributes:
        cold_ms: from its start to the first mask, as the user of a single case waits.
        first_ms: of that the case itself, with compiling its networks.
        warm_ms: the same case again in the same process.
        peak_rss_bytes: greatest resident memory; None where the system does not say.
    """

    cold_ms: Milliseconds
    first_ms: Milliseconds
    warm_ms: Milliseconds
    peak_rss_bytes: int | None


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """Threads and precision, with one sample a round; sample n of all configurations were taken in the same round."""

    threads: int
    precision: str
    samples: Annotated[tuple[Sample, ...], msgspec.Meta(min_length=1)]

    @property
    def name(self) -> tuple[str, int]:
        """What two records are compared by."""
        return self.precision, self.threads

    def median(self, figure: str) -> float:
        """Of a figure of the samples; 0 where the system does not say."""
        return statistics.median(float(getattr(sample, figure) or 0) for sample in self.samples)

    def spread(self, figure: str) -> float:
        """Largest over smallest value: 1.1 is 10 % between the best and the worst round."""
        values = [float(getattr(sample, figure) or 0) for sample in self.samples]
        return max(values) / min(values) if min(values) > 0 else 1.0

    def against_itself(self, figure: str) -> float:
        """Median of every second round over that of the others: how far apart equal things are here; 1 at best."""
        values = [float(getattr(sample, figure) or 0) for sample in self.samples]
        if len(values) < 2 or not min(values):
            return 1.0
        return statistics.median(values[::2]) / statistics.median(values[1::2])


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """Where the time of the networks goes, for one case.

    Attributes:
        threads, precision: as it was run.
        peaks: multiply-adds per second that convolutions reach on this CPU, by numbers (i8, bf16, f32).
        layers: in the order in which they run.
    """

    threads: int
    precision: str
    peaks: dict[str, float]
    layers: tuple[LayerTime, ...]


class BenchRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A benchmark of a package.

    Attributes:
        schema: another number is another format.
        model, digest, number_format, weights_status: of the package.
        images: SHA-256 of the images, in the order of the sequences; empty for the phantom of the self-test. No file
            is named: a name may be a patient's.
        shape, spacing_mm: of the first image.
        machine, versions: that it was measured on and with.
        configurations: latency and memory.
        profile: where that was asked for.
    """

    schema: Literal[1] = 1
    model: str
    digest: str
    number_format: str
    weights_status: str
    images: tuple[str, ...]
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    machine: Machine
    versions: dict[str, str]
    configurations: tuple[Configuration, ...]
    profile: Profile | None = None


class TypeSum(msgspec.Struct, frozen=True, kw_only=True):
    """All layers that compute with the same numbers.

    Attributes:
        numbers: i8, bf16, f32 and so on.
        multiply_adds, time_ms, moved_bytes: sums.
        peak_share: multiply-adds per second of the layers with weights over the peak; None where none was measured.
    """

    numbers: str
    multiply_adds: int
    time_ms: float
    moved_bytes: int
    peak_share: float | None


def peak_share(layers: Sequence[LayerTime], peaks: dict[str, float]) -> float | None:
    """Share of the measured peak at which layers with weights run; None without such layers, time or peak."""
    weighted = [layer for layer in layers if layer.multiply_adds]
    spent_s = sum(layer.time_ms for layer in weighted) / 1000.0
    peak = peaks.get(weighted[0].numbers) if weighted else None
    return None if not peak or not spent_s else sum(layer.multiply_adds for layer in weighted) / spent_s / peak


def sums(layers: Sequence[LayerTime], peaks: dict[str, float]) -> tuple[TypeSum, ...]:
    """The layers by numbers, those that take most time first; beside the peaks that were measured."""
    kinds = sorted({layer.numbers for layer in layers})
    found = [_sum(kind, [layer for layer in layers if layer.numbers == kind], peaks) for kind in kinds]
    return tuple(sorted(found, key=lambda each: (-each.time_ms, each.numbers)))


def _sum(kind: str, layers: Sequence[LayerTime], peaks: dict[str, float]) -> TypeSum:
    return TypeSum(
        numbers=kind,
        multiply_adds=sum(layer.multiply_adds for layer in layers),
        time_ms=sum(layer.time_ms for layer in layers),
        moved_bytes=sum(layer.moved_bytes for layer in layers),
        peak_share=peak_share(layers, peaks),
    )


MOST_BYTES: Final = 64 * 2**20
"""A record is kilobytes; what is larger is none."""

OF_THE_MATRIX: Final = "folders and files of the benchmark matrix are compared by `python -m benchmarks compare A B`"


def read_record(path: Path) -> BenchRecord:
    """A record that `bench --json` has printed.

    Raises:
        InputError: it is missing or no such record.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path}: expected a record of `brain-edge bench --json`, this file is far too large")
        return decode_json(path.read_bytes(), BenchRecord)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); {OF_THE_MATRIX}") from error
    except msgspec.DecodeError as error:
        raise InputError(f"{path}: expected a record of `brain-edge bench --json`: {error}; {OF_THE_MATRIX}") from error
