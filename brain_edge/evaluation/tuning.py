"""What a package says of having been tuned: which settings were changed, for what, and on what that was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from brain_edge.evaluation.evidence import typed
from brain_edge.spec.base import Value

if TYPE_CHECKING:
    from brain_edge.package.manifest import Manifest


class TunedCase(Value, frozen=True):
    """One label in one case, under a number instead of a name.

    Attributes:
        case: its number in the cohort.
        split: validation or test.
        subject: a number that cases of one person share.
        label: value of the label.
        dice_full, dice_tuned: against the reference mask, of the package before and after; None without one.
        drop: Dice lost, negative where it was won; None without a reference.
        agreement: Dice of the masks before and after; None where neither has the label.
        volume_full_ml, volume_tuned_ml: of the label.
    """

    case: int
    split: str
    subject: int
    label: int
    dice_full: float | None
    dice_tuned: float | None
    drop: float | None
    agreement: float | None
    volume_full_ml: float | None
    volume_tuned_ml: float | None


class TunedTrial(Value, frozen=True):
    """One setting that was tried, judged on search data.

    Attributes:
        changes: what differs from the package as it was.
        operations: of the networks over all cases that were searched, in multiply-adds of f32; None where it could
            not be run.
        worst_mean_drop, worst_case_drop: None where it could not be run.
        met: whether the budget was met on the search data.
        problem: why it could not be run.
    """

    changes: tuple[str, ...]
    operations: float | None
    worst_mean_drop: float | None
    worst_case_drop: float | None
    met: bool
    problem: str = ""


class Tuning(Value, frozen=True, kw_only=True):
    """What tuning did to the masks, and on what that was measured.

    No time is in it: the same measurement gives the same package on every machine. Times are in the report.

    Attributes:
        statement: one plain sentence with its limits.
        changes: what differs from the package that was tuned, in words.
        tuned_from: digest of that package.
        int8_from: digest of the INT8 package whose graphs were taken; None where the graphs are the package's own.
        by_reference: whether drops are against reference masks; else they are disagreement with the package before.
        max_dice_drop, max_case_drop: the budget.
        worst_mean_drop, worst_case_drop, worst_mean_disagreement: measured against it.
        worst_mean_drop_by_isa: the same, with the instructions of older CPUs.
        operations_full, operations_tuned: of the networks over all cases that were searched, in multiply-adds of f32.
        cohort_sha256: of the cohort manifest.
        searched_on: the split that the search has seen.
        subjects: how many people were judged.
        next_patient: what the figures say about a new subject, in one sentence.
        earlier_candidates: how many other packages were judged on the same test images before, as far as the folder of
            the package knows.
        warnings: what the figures do not say.
        cases: per case and label.
        trials: of the search, in their order.
        threads: of the measurements.
        demonstration: True where one head stands in for many; unset where it is not one, and in older packages.
    """

    statement: str
    changes: tuple[str, ...]
    tuned_from: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
    int8_from: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")] | None
    by_reference: bool
    max_dice_drop: float
    max_case_drop: float
    worst_mean_drop: float
    worst_case_drop: float
    worst_mean_disagreement: float | None
    worst_mean_drop_by_isa: dict[str, float] = msgspec.field(default_factory=dict)
    operations_full: float
    operations_tuned: float
    cohort_sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
    searched_on: str
    subjects: int
    next_patient: str
    earlier_candidates: int
    warnings: tuple[str, ...]
    cases: tuple[TunedCase, ...]
    trials: tuple[TunedTrial, ...]
    threads: int
    demonstration: bool | UnsetType = UNSET


def tuning_of(manifest: Manifest) -> Tuning | None:
    """What tuning did to the masks of a package; None where it was not tuned.

    Raises:
        PackageError: it is not what this version writes.
    """
    return None if manifest.tuning is UNSET else typed(manifest.tuning, Tuning, manifest.spec.name)
