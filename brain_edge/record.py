"""The record of a run: what was made of what, by which package, and what is suspicious about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from brain_edge import __version__
from brain_edge.package import WeightsStatus

if TYPE_CHECKING:
    from collections.abc import Iterable

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


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to one case.

    Attributes:
        model, digest, weights_status: of the package; `precision` and `number_format` as it was run.
        inputs: file per sequence.
        mask: file that was written; `brain` and `probabilities` where they were asked for.
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
    mask: str
    brain: str | None
    probabilities: str | None
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


def provenance(package: ModelPackage) -> str:
    """What a mask says of its maker; the name of the model is last, because writers cut what has no room."""
    untrained = "UNTRAINED " if package.manifest.weights_status is WeightsStatus.RANDOM else ""
    return f"RESEARCH ONLY {untrained}brain-edge {__version__} {package.digest[:16]} {package.spec.name}"
