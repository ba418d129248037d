"""What a package says of its accuracy after quantisation: per case, per label, and how the search came there.

A manifest holds it as it was written, because a run needs its statement alone; here it has types.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from brain_edge.errors import PackageError
from brain_edge.package.manifest import Sha256
from brain_edge.spec import Value

if TYPE_CHECKING:
    from brain_edge.package.manifest import Manifest

Record = TypeVar("Record", bound=Value)


class AccuracyCase(Value, frozen=True):
    """Accuracy of one label in one case, under a number instead of a name.

    Attributes:
        case: its number in the cohort.
        split: calibration, validation or test.
        label: value of the label.
        dice_fp32, dice_int8: against the reference mask; None where the case has none or the label is nowhere.
        drop: Dice lost to quantisation, negative where it was won; None without a reference.
        agreement: Dice of the INT8 mask against the FP32 mask; None where neither has the label.
        hd95_fp32_mm, hd95_int8_mm: against the reference mask; None where one side is empty.
        subject: a number that cases of one person share.
        volume_fp32_ml, volume_int8_ml: of the label; false-positive as a whole where the reference lacks it.
        reference_volume_ml: None without a reference.
        lesions: components of the reference, of models whose labels are lesions; None without a reference.
        found_fp32, found_int8: how many of them the mask touches.
    """

    case: int
    split: str
    label: int
    dice_fp32: float | None
    dice_int8: float | None
    drop: float | None
    agreement: float | None
    hd95_fp32_mm: float | None
    hd95_int8_mm: float | None
    subject: int = 0
    volume_fp32_ml: float | None = None
    volume_int8_ml: float | None = None
    reference_volume_ml: float | None = None
    lesions: int | None = None
    found_fp32: int | None = None
    found_int8: int | None = None


class LabelRecord(Value, frozen=True):
    """One label over the judged cases.

    Attributes:
        label: its value.
        cases: how many were judged: the label is in the reference or in one of the masks.
        absent: how many were left out, because it is in none of them.
        mean_drop, worst_drop: of the judged cases; None where none has a reference.
        mean_disagreement, worst_disagreement: of 1 - Dice(FP32, INT8).
        mean_hd95_increase_mm: where both sides are defined.
        false_positive_ml: volume that INT8 finds in cases whose reference lacks the label.
        lesions, found_fp32, found_int8: over all judged cases; None for models whose labels are no lesions.
        interval: 95 % bootstrap interval of the mean drop over subjects; None below 10 subjects.
    """

    label: int
    cases: int
    absent: int
    mean_drop: float | None
    worst_drop: float | None
    mean_disagreement: float | None
    worst_disagreement: float | None
    mean_hd95_increase_mm: float | None
    false_positive_ml: float
    interval: tuple[float, float] | None
    lesions: int | None = None
    found_fp32: int | None = None
    found_int8: int | None = None


class IsaRecord(Value, frozen=True):
    """The frozen package measured again with the instructions of another CPU.

    Attributes:
        isa: value of oneDNN's ONEDNN_MAX_CPU_ISA, in a process of its own.
        verified: False where it could not be measured.
        reason: why not, or what was missed.
        met: whether the budget is met with these instructions too.
        excess: the largest figure as a share of its limit.
        worst_mean_drop, worst_case_drop, worst_mean_disagreement: as in the record of this CPU.
        int8_share, kernels: as in the record of this CPU: the proof that other instructions were in force.
    """

    isa: str
    verified: bool
    reason: str = ""
    met: bool = False
    excess: float | None = None
    worst_mean_drop: float | None = None
    worst_case_drop: float | None = None
    worst_mean_disagreement: float | None = None
    int8_share: float | None = None
    kernels: dict[str, float] = msgspec.field(default_factory=dict)


class TrialRecord(Value, frozen=True):
    """One trial of the search, judged on search data.

    Attributes:
        setting: how NNCF was asked to quantise.
        reverted: layers that were kept in floating point because the search found them to blame.
        int8_share: of the multiply-adds.
        worst_mean_drop, worst_case_drop: on the search data.
        excess: the largest figure as a share of its limit.
        met: whether the budget was met on the search data.
    """

    setting: str
    reverted: tuple[str, ...]
    int8_share: float
    worst_mean_drop: float
    worst_case_drop: float
    excess: float
    met: bool


class FloatLayer(Value, frozen=True):
    """A layer with weights that stayed in floating point, and why."""

    graph: str
    layer: str
    kind: str
    multiply_adds: int
    reason: str


class Basis(StrEnum):
    """What a drop was measured against."""

    ACCURACY = "accuracy"
    """Reference masks."""
    AGREEMENT = "agreement"
    """The masks of the FP32 package: nothing is known of accuracy."""


class Accuracy(Value, frozen=True):
    """What quantisation did to the masks, and on what that was measured.

    Attributes:
        statement: one plain sentence with its limits.
        max_dice_drop: the budget.
        worst_mean_drop: largest mean drop of a label that was measured; of the agreement where no case has a
            reference mask.
        int8_share: share of the multiply-adds that are quantised and computed by integer kernels, on this CPU or
            under other instructions, whichever is less.
        cohort_sha256: of the cohort manifest.
        demonstration: True where one head stands in for many.
        cases: per case and label.
        basis: whether drops are against reference masks.
        max_case_drop, max_disagreement, max_hd95_increase_mm, min_int8_share: the rest of the budget.
        worst_case_drop, worst_mean_disagreement, worst_hd95_increase_mm: what was measured against it.
        next_patient: what the figures say about a new subject, in one sentence.
        warnings: what they do not say.
        subjects: how many people were judged.
        searched_on: the split that the search has seen.
        earlier_candidates: how many other packages were judged on the same test images before this one, as far as
            the folder of the package knows.
        labels: per label.
        isas: the same measurement under other instruction sets.
        trials: of the search, in their order.
        float_layers: what stayed in floating point.
        cost_factors: per layer type, time in float / time in INT8, by which the search has ranked layers.
        threads: of the measurements.
        kernels: share of the multiply-adds per kernel of OpenVINO that computed them on this CPU.
        seen_images: SHA-256 of the image files that ranges and settings were chosen on; unset in older packages.
    """

    statement: str
    max_dice_drop: float
    worst_mean_drop: float
    int8_share: float
    cohort_sha256: Sha256
    demonstration: bool
    cases: tuple[AccuracyCase, ...]
    basis: Basis = Basis.ACCURACY
    max_case_drop: float | None = None
    max_disagreement: float | None = None
    max_hd95_increase_mm: float | None = None
    min_int8_share: float = 0.0
    worst_case_drop: float | None = None
    worst_mean_disagreement: float | None = None
    worst_hd95_increase_mm: float | None = None
    next_patient: str = ""
    warnings: tuple[str, ...] = ()
    subjects: int = 0
    searched_on: str = ""
    earlier_candidates: int = 0
    labels: tuple[LabelRecord, ...] = ()
    isas: tuple[IsaRecord, ...] = ()
    trials: tuple[TrialRecord, ...] = ()
    float_layers: tuple[FloatLayer, ...] = ()
    cost_factors: dict[str, float] = msgspec.field(default_factory=dict)
    threads: int | None = None
    kernels: dict[str, float] = msgspec.field(default_factory=dict)
    seen_images: tuple[Sha256, ...] | UnsetType = UNSET


def accuracy_of(manifest: Manifest) -> Accuracy | None:
    """What quantisation did to the masks of a package; None where nothing was measured.

    Raises:
        PackageError: it is not what this version writes.
    """
    return None if manifest.accuracy is None else typed(manifest.accuracy, Accuracy, manifest.spec.name)


def spelt(record: Value) -> dict[str, Any]:
    """A record as a manifest holds it, the same before it was written and after it was read."""
    spelling: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(record))
    return spelling


def typed(found: dict[str, Any], kind: type[Record], name: str) -> Record:
    """A record of a manifest with its types.

    Args:
        found: as the manifest holds it.
        kind: what it should be.
        name: of the model.

    Raises:
        PackageError: it is something else.
    """
    try:
        return msgspec.convert(found, kind)
    except msgspec.ValidationError as error:
        raise PackageError(
            f"{name}: expected a record of {kind.__name__} in the manifest that this version reads, got another one "
            f"({error}); make the package again"
        ) from error
