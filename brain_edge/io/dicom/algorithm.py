"""Facts about the package in a DICOM object, and the packages with which no DICOM may be written."""

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
"""First words of every description."""

MANUFACTURER: Final = "brain-edge"
LONG_STRING: Final = 64
"""Maximum number of characters of DICOM's LO."""


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One label as a segment.

    Attributes:
        number: segment number, from 1 without gaps, as DICOM requires.
        label: value in the label map.
        name: name of the label.
        coded: standard codes of the label.
    """

    number: int
    label: int
    name: str
    coded: Coded


@dataclass(frozen=True, kw_only=True)
class Algorithm:
    """The facts of a package that go into every DICOM object made with it.

    Attributes:
        name: name of the model.
        digest: SHA-256 of the package.
        precision: number formats of the package's computation, such as "int8, f32 where not integer".
        segments: one segment per label of the package, by label value.
        channels: channels of the probabilities that add up to each label; see `brain_edge.spec.Stage`.
    """

    name: str
    digest: str
    precision: str
    segments: tuple[Segment, ...]
    channels: dict[int, tuple[int, ...]]
    version: str = __version__

    @property
    def parameters(self) -> dict[str, str]:
        """Parameters that identify the computation beyond name and version."""
        return {"package_sha256": self.digest, "precision": self.precision}

    @property
    def series_description(self) -> str:
        """Text of SeriesDescription."""
        return f"{RESEARCH_ONLY} {self.name} {self.precision}"[:LONG_STRING]


def algorithm_of(package: ModelPackage) -> Algorithm:
    """Return the facts of a package whose results may be written as DICOM.

    Raises:
        WeightsError: the weights of the package are not trained.
        UsageError: the package is a demonstration.
        PackageError: a label has no standard code.
    """
    manifest = package.manifest
    if manifest.weights_status is not WeightsStatus.TRAINED:
        raise WeightsError(_refusal(package, f"the weights of this package are {manifest.weights_status}, not trained"))
    if manifest.found is not None and any(each.demonstration for each in manifest.found.chain):
        raise UsageError(
            _refusal(package, "this package is a demonstration, measured on one head")
            + ", or make the package again with heads of at least three people (--calibration)"
        )
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
    """Return the text of ContentDescription, which has room for the kinds of flag only; `remarks` has the sentences."""
    kinds = ", ".join(sorted({str(flag.kind) for flag in flags}))
    return f"{RESEARCH_ONLY}; {f'flags: {kinds}' if kinds else 'no flags'}"[:LONG_STRING]


def remarks(flags: tuple[Flag, ...], label: int | None = None) -> str:
    """Return the flags in full sentences; with a label, only its flags and those of the image."""
    fitting = [flag.message for flag in flags if label is None or flag.label in (None, label)]
    return "; ".join([RESEARCH_ONLY + ", not for diagnosis or treatment", *fitting])


def _refusal(package: ModelPackage, why: str) -> str:
    return f"{package.folder}: {why}, and a DICOM result could reach a patient's record; write NIfTI instead"
