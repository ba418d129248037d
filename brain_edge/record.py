"""The record of a run: what was made of what, by which package, and what is suspicious about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from brain_edge import __version__
from brain_edge.package import WeightsStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from brain_edge.io.dicom import SeriesInfo
    from brain_edge.package import ModelPackage
    from brain_edge.plausibility import Flag


class FlagRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A flag as JSON."""

    kind: str
    message: str
    value: float
    low: float
    high: float
    label: int | None


class SeriesRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The DICOM series that was read, without a word of its free texts.

    Attributes:
        name: its number and the last digits of its UID.
        sequence: type as the header tells it.
        notes: what a careful reader should know.
    """

    name: str
    sequence: str
    notes: list[str]


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to one case.

    Attributes:
        model, digest, weights_status: of the package; `precision` and `number_format` as it was run.
        inputs: what the user named, per sequence.
        series: the one that was read, where the input is DICOM.
        mask: file that was written; `brain`, `probabilities` and `picture` where they were asked for.
        border_mm: added around the mask; the flags are those of the mask without it.
        volumes_ml: per label name.
        flags: what is not plausible.
        threads: of the inference; the last digits of INT8 with instance norm depend on them.
        elapsed_ms: per stage; `read`, `write` and `total` are of this case, without program start.
        peak_rss_bytes: of this process so far.
    """

    model: str
    digest: str
    weights_status: str
    number_format: str
    precision: str
    intended_use: str
    inputs: dict[str, str]
    series: dict[str, SeriesRecord]
    mask: str
    brain: str | None
    probabilities: str | None
    picture: str | None
    border_mm: float
    volumes_ml: dict[str, float]
    flags: list[FlagRecord]
    threads: int
    elapsed_ms: dict[str, float]
    peak_rss_bytes: int | None
    brain_edge: str = __version__


def flag_records(flags: Iterable[Flag]) -> list[FlagRecord]:
    """Flags as they are written."""
    return [
        FlagRecord(
            kind=flag.kind, message=flag.message, value=flag.value, low=flag.low, high=flag.high, label=flag.label
        )
        for flag in flags
    ]


def series_records(series: Mapping[str, SeriesInfo]) -> dict[str, SeriesRecord]:
    """Series as they are written."""
    return {
        name: SeriesRecord(name=info.name, sequence=info.sequence, notes=list(info.notes))
        for name, info in series.items()
    }


def provenance(package: ModelPackage) -> str:
    """What a mask says of its maker; the name of the model is last, because writers cut what has no room."""
    untrained = "UNTRAINED " if package.manifest.weights_status is WeightsStatus.RANDOM else ""
    return f"RESEARCH ONLY {untrained}brain-edge {__version__} {package.digest[:16]} {package.spec.name}"
