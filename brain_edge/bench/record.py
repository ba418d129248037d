"""Record of a benchmark of a package: every sample and all conditions, in one schema for JSON and tables."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeAlias

import msgspec

from brain_edge.bench.profile import LayerTime
from brain_edge.bench.written import StepBytes
from brain_edge.errors import InputError
from brain_edge.machine.description import Machine
from brain_edge.machine.json import decode_json
from brain_edge.machine.paths import read_small

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


Milliseconds: TypeAlias = Annotated[float, msgspec.Meta(ge=1e-6, le=1e12)]
"""What a process can take: its logarithm and mean are numbers, too."""


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """Measurement of one process.

    Attributes:
        cold_ms: time from process start to the first mask, which is the wait for a single case.
        first_ms: part of `cold_ms` for the case itself, including the compilation of its networks.
        warm_ms: time of the same case again in the same process.
        peak_rss_bytes: peak resident memory; None if the system does not report it.
    """

    cold_ms: Milliseconds
    first_ms: Milliseconds
    warm_ms: Milliseconds
    peak_rss_bytes: int | None


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """Threads and precision with one sample per round; sample n of every configuration comes from round n."""

    threads: int
    precision: str
    samples: Annotated[tuple[Sample, ...], msgspec.Meta(min_length=1)]

    @property
    def name(self) -> tuple[str, int]:
        """Key by which two records are compared."""
        return self.precision, self.threads

    def median(self, figure: str) -> float:
        """Return the median of a figure of the samples; an unknown figure counts as 0."""
        return statistics.median(float(getattr(sample, figure) or 0) for sample in self.samples)

    def spread(self, figure: str) -> float:
        """Return the largest over the smallest value: 1.1 means 10 % between the best and the worst round."""
        values = [float(getattr(sample, figure) or 0) for sample in self.samples]
        return max(values) / min(values) if min(values) > 0 else 1.0

    def against_itself(self, figure: str) -> float:
        """Return the median of every second round over that of the others: the noise of the machine, ideally 1."""
        values = [float(getattr(sample, figure) or 0) for sample in self.samples]
        if len(values) < 2 or not min(values):
            return 1.0
        return statistics.median(values[::2]) / statistics.median(values[1::2])


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """Profile of the networks for one case.

    Attributes:
        threads, precision: threads and precision of the run.
        peaks: multiply-accumulates per second that convolutions reach on this CPU, by number format (i8, bf16, f32).
        layers: layers in order of execution.
        written: bytes that each step around the networks writes at full size; empty in records before this figure.
    """

    threads: int
    precision: str
    peaks: dict[str, float]
    layers: tuple[LayerTime, ...]
    written: tuple[StepBytes, ...] = ()


class BenchRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Benchmark of a package.

    Attributes:
        schema: version of the format.
        model, digest, number_format, weights_status: facts about the package.
        images: SHA-256 of the images, in the order of the sequences; empty for the phantom of the self-test. File
            names are not recorded, because they may contain a patient's name.
        shape, spacing_mm: shape and spacing of the first image.
        machine, versions: machine of the measurement, and versions of the software.
        configurations: latency and memory per configuration.
        profile: profile of the layers, if requested.
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
    """Sums over all layers of one number format.

    Attributes:
        numbers: number format: i8, bf16, f32 and so on.
        multiply_adds, time_ms, moved_bytes: sums over the layers.
        peak_share: multiply-accumulates per second of the layers with weights over the peak; None without a peak.
    """

    numbers: str
    multiply_adds: int
    time_ms: float
    moved_bytes: int
    peak_share: float | None


def peak_share(layers: Sequence[LayerTime], peaks: dict[str, float]) -> float | None:
    """Return the fraction of the peak that layers with weights reach; None without such layers, time or peak."""
    weighted = [layer for layer in layers if layer.multiply_adds]
    spent_s = sum(layer.time_ms for layer in weighted) / 1000.0
    peak = peaks.get(weighted[0].numbers) if weighted else None
    return None if not peak or not spent_s else sum(layer.multiply_adds for layer in weighted) / spent_s / peak


def sums(layers: Sequence[LayerTime], peaks: dict[str, float]) -> tuple[TypeSum, ...]:
    """Return the sums of the layers by number format, sorted by time, with fractions of the measured peaks."""
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


OF_THE_MATRIX: Final = "to compare results of the benchmark matrix, run `python -m benchmarks compare A B`"


def read_record(path: Path) -> BenchRecord:
    """Read a record that `bench --json` has printed.

    Raises:
        InputError: the file is missing or is not such a record.
    """
    try:
        return decode_json(read_small(path), BenchRecord)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); {OF_THE_MATRIX}") from error
    except msgspec.DecodeError as error:
        raise InputError(f"{path}: expected a record of `brain-edge bench --json`: {error}; {OF_THE_MATRIX}") from error
