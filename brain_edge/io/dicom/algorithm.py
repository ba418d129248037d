"""Who made a result: what a DICOM object says of the package, and which packages may not speak at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from brain_edge import __version__
from brain_edge.errors import UsageError, WeightsError
from brain_edge.io.dicom.codes import coded
from brain_edge.package.manifest import WeightsStatus

if TYPE_CHECKING:
    from brain_edge.io.dicom.codes import Coded
    from brain_edge.package import ModelPackage
    from brain_edge.spec.plausibility import Flag

RESEARCH_ONLY: Final = "RESEARCH ONLY"
"""What every description begins with."""

MANUFACTURER: Final = "brain-edge"
LONG_STRING: Final = 64
"""Characters of DICOM's LO."""


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One label as a segment.

    Attributes:
        number: of the segment, from 1 without gaps, as DICOM wants it.
        label: value in the label map.
        name: of the label.
        coded: its standard codes.
    """

    number: int
    label: int
    name: str
    coded: Coded


@dataclass(frozen=True, kw_only=True)
class Algorithm:
    """The facts of a package that go into every DICOM object made with it.

    Attributes:
        name: of the model.
        digest: SHA-256 of the package.
        precision: what the package computes in, such as "int8, f32 where not integer".
        segments: one per label of its table, by label value.
        channels: label -> channels of the probabilities that make it up; see `brain_edge.spec.Stage`.
    """

    name: str
    digest: str
    precision: str
    segments: tuple[Segment, ...]
    channels: dict[int, tuple[int, ...]]
    version: str = __version__

    @property
    def parameters(self) -> dict[str, str]:
        """What identifies the computation beyond name and version."""
        return {"package_sha256": self.digest, "precision": self.precision}

    @property
    def series_description(self) -> str:
        """For SeriesDescription."""
        return f"{RESEARCH_ONLY} {self.name} {self.precision}"[:LONG_STRING]


def algorithm_of(package: ModelPackage) -> Algorithm:
    """The facts of a package whose results may be written as DICOM.

    Raises:
        WeightsError: its weights are not trained.
        UsageError: it was made to demonstrate.
        PackageError: a label has no standard code.
    """
    manifest = package.manifest
    if manifest.weights_status is not WeightsStatus.TRAINED:
        raise WeightsError(_refusal(package, f"the weights of this package are {manifest.weights_status}, not trained"))
    if manifest.found is not None and any(each.demonstration for each in manifest.found.chain):
        raise UsageError(_refusal(package, "this package is a demonstration, its accuracy was measured on one head"))
    labels = sorted(package.spec.labels, key=lambda label: label.value)
    return Algorithm(
        name=package.spec.name,
        digest=package.digest,
        precision=f"{manifest.number_format}/{manifest.precision}",
        segments=tuple(
            Segment(number=number, label=label.value, name=label.name, coded=coded(label, package.spec.task))
            for number, label in enumerate(labels, start=1)
        ),
        channels=package.spec.stages[-1].label_channels(),
    )


def content_description(flags: tuple[Flag, ...]) -> str:
    """For ContentDescription, which has room for the kinds of flag; `remarks` has the sentences."""
    kinds = ", ".join(sorted({str(flag.kind) for flag in flags}))
    return f"{RESEARCH_ONLY}; {f'flags: {kinds}' if kinds else 'no flags'}"[:LONG_STRING]


def remarks(flags: tuple[Flag, ...], label: int | None = None) -> str:
    """The flags in full sentences; with a label, those of that label and of the image."""
    fitting = [flag.message for flag in flags if label is None or flag.label in (None, label)]
    return "; ".join([RESEARCH_ONLY + ", not for diagnosis or treatment", *fitting])


def _refusal(package: ModelPackage, why: str) -> str:
    return (
        f"{package.folder}: {why}; no DICOM is written with it, because it could reach a patient's record "
        "(write NIfTI instead)"
    )
