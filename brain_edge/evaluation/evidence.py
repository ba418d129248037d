"""What made a package cheaper did to its masks: a candidate against its baseline, and on what that was measured.

A manifest holds it as it was written, because a run needs its words alone; here it has types. One record for every
way of making a package cheaper. No time is in it: the same measurement gives the same package on
every machine.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from brain_edge.errors import PackageError
from brain_edge.evaluation.cohort.manifest import Split
from brain_edge.package.digest import Sha256
from brain_edge.package.manifest import Amount, Count, Share
from brain_edge.spec import Name, Value

if TYPE_CHECKING:
    from brain_edge.package.manifest import Manifest


Number = Annotated[int, Meta(ge=1)]
"""Of a case, a person, or what is counted from 1."""
LabelValue = Annotated[int, Meta(ge=1, le=255)]
Drop = Annotated[float, Meta(ge=-1.0, le=1.0)]
"""A difference of two Dice."""
Open = Annotated[float, Meta(gt=0.0, lt=1.0)]
"""Between 0 and 1, without them: what a limit on a drop or a confidence can be."""


class Isa(StrEnum):
    """Instructions that a candidate is measured again with, as oneDNN's ONEDNN_MAX_CPU_ISA spells them."""

    AVX2 = "AVX2"
    """What every x86 workstation of the last ten years has."""


class Basis(StrEnum):
    """What a drop was measured against."""

    ACCURACY = "accuracy"
    """Reference masks."""
    AGREEMENT = "agreement"
    """The masks of the baseline: nothing is known of accuracy."""


class Change(StrEnum):
    """How a candidate was made of its baseline."""

    QUANTIZED = "quantized"
    """The graphs compute in INT8."""
    TUNED = "tuned"
    """The same model in cheaper settings."""

    @property
    def noun(self) -> str:
        """The making, in words."""
        return "quantisation" if self is Change.QUANTIZED else "tuning"

    @property
    def baseline(self) -> str:
        """The baseline, in words."""
        return "FP32" if self is Change.QUANTIZED else "the package as it was"

    @property
    def candidate(self) -> str:
        """The candidate, in words."""
        return "INT8" if self is Change.QUANTIZED else "the tuned package"


class ComparedLabel(Value, frozen=True, kw_only=True):
    """One label of two masks of the same image, and of its reference mask where there is one.

    Attributes:
        label: its value.
        dice_baseline, dice_candidate: against the reference; None without one, or where the label is neither
            in it nor in the mask.
        drop: Dice of the baseline minus Dice of the candidate, positive where the candidate is worse. A mask that
            rightly lacks a label counts as 1 here, so that a lesion which only the candidate invents is a
            drop of 1. One that only the baseline invents is a drop of 0: as a gain of 1 a single stray voxel would
            pay, in a mean, for losses in dozens of other cases. None without a reference, or where the label is in
            none of the three masks.
        agreement: Dice of the candidate's mask against the baseline's; None where neither has the label.
        hd95_baseline_mm, hd95_candidate_mm: against the reference; None where one side is empty.
        volume_baseline_ml, volume_candidate_ml: false-positive as a whole where the reference lacks the label.
        reference_volume_ml: None without a reference.
        lesions: components of the reference, of models whose labels are lesions; None without a reference.
        found_baseline, found_candidate: how many of them the mask touches.
    """

    label: LabelValue
    dice_baseline: Share | None
    dice_candidate: Share | None
    drop: Drop | None
    agreement: Share | None
    hd95_baseline_mm: Amount | None
    hd95_candidate_mm: Amount | None
    volume_baseline_ml: Amount
    volume_candidate_ml: Amount
    reference_volume_ml: Amount | None
    lesions: Count | None = None
    found_baseline: Count | None = None
    found_candidate: Count | None = None

    @property
    def hd95_increase_mm(self) -> float | None:
        """HD95 of the candidate minus that of the baseline; infinite where the candidate alone lost the label.

        None where the baseline has none.
        """
        if self.hd95_baseline_mm is None:
            return None
        return math.inf if self.hd95_candidate_mm is None else self.hd95_candidate_mm - self.hd95_baseline_mm


class AccuracyCase(ComparedLabel, frozen=True, kw_only=True):
    """One label in one case, under a number instead of a name.

    Attributes:
        case: its number in the cohort.
        voxel_diagonal_mm: of its grid.
        split: that it belongs to.
        subject: a number that cases of one person share.
    """

    case: Number
    split: Split
    subject: Number
    voxel_diagonal_mm: Amount


class LabelRecord(Value, frozen=True, kw_only=True):
    """One label over the judged cases.

    Attributes:
        label: its value.
        cases: how many were judged: the label is in the reference or in one of the masks.
        absent: how many were left out, because it is in none of them.
        little_to_lose: in how many the baseline has too little of it right to lose what a limit would see: they lower
            no mean and witness nothing.
        lowest_dice_baseline: of the baseline in any case; None where none has a reference.
        mean_drop, worst_drop: of the judged cases; None where none has a reference.
        mean_disagreement, worst_disagreement: of 1 - Dice(baseline, candidate).
        mean_hd95_increase_mm: where both sides are defined.
        false_positive_ml: volume that the candidate finds in cases whose reference lacks the label.
        lesions, found_baseline, found_candidate: over all judged cases; None for models whose labels are no lesions.
        interval: 95 % bootstrap interval of the mean drop over subjects; None below 10 subjects.
    """

    label: LabelValue
    cases: Count
    absent: Count
    little_to_lose: Count = 0
    lowest_dice_baseline: Share | None = None
    mean_drop: Drop | None
    worst_drop: Drop | None
    mean_disagreement: Share | None
    worst_disagreement: Share | None
    mean_hd95_increase_mm: float | None
    false_positive_ml: Amount
    interval: tuple[Drop, Drop] | None
    lesions: Count | None = None
    found_baseline: Count | None = None
    found_candidate: Count | None = None


class NodeKernel(Value, frozen=True):
    """Executed nodes of one kind that one kernel computes, over all graphs of a package.

    Attributes:
        kind: what OpenVINO calls them, such as MVN or Interpolate.
        kernel: such as `jit_avx512_i8`; most name their instructions.
        nodes: how many.
    """

    kind: str
    kernel: str
    nodes: Number


class FloatLayer(Value, frozen=True):
    """A layer with weights that stayed in floating point, and why."""

    graph: Name
    layer: str
    kind: str
    multiply_adds: Count
    reason: str


class IsaRecord(Value, frozen=True):
    """The frozen candidate measured again with the instructions of another CPU, as far as they can be imitated.

    Attributes:
        isa: the instructions that oneDNN was held to, in a process of its own.
        verified: whether all layers with weights ran under them; `ran` says it of the others.
        reason: why not, or what was missed.
        met: whether the budget is met with these instructions too.
        excess: the largest figure as a share of its limit.
        worst_mean_drop, worst_case_drop, worst_mean_disagreement: as in the record of this CPU.
        int8_share: of the multiply-adds that such a CPU computes in integers: `float_layers` are not among them.
        kernels: share of the multiply-adds per kernel that ran in that process.
        nodes: all that was executed, by kind and kernel.
        ran: which kinds of nodes ran under which instructions, in words.
        float_layers: quantised layers that OpenVINO refuses to compute in integers on such a CPU; in float here, too.
    """

    isa: Isa
    verified: bool
    reason: str = ""
    met: bool = False
    excess: float | None = None
    worst_mean_drop: Drop | None = None
    worst_case_drop: Drop | None = None
    worst_mean_disagreement: Share | None = None
    int8_share: Share | None = None
    kernels: dict[str, Share] = msgspec.field(default_factory=dict)
    nodes: tuple[NodeKernel, ...] = ()
    ran: str = ""
    float_layers: tuple[FloatLayer, ...] = ()


class TrialRecord(Value, frozen=True, kw_only=True):
    """One trial of the search, judged on search data; figures are None where it could not be run.

    Attributes:
        changes: what was changed, in words.
        reverted: layers that were kept in floating point because the search found them to blame.
        operations: of the networks over all cases that were searched, in multiply-adds of f32; None where the search
            does not count them.
        int8_share: of the multiply-adds; None where the search does not count them.
        worst_mean_drop, worst_case_drop: on the search data.
        excess: the largest figure as a share of its limit.
        met: whether the budget was met on the search data.
        problem: why it could not be run.
    """

    changes: tuple[str, ...]
    reverted: tuple[str, ...] = ()
    operations: Amount | None = None
    int8_share: Share | None = None
    worst_mean_drop: Drop | None
    worst_case_drop: Drop | None
    excess: float | None
    met: bool
    problem: str = ""


class Limits(Value, frozen=True, kw_only=True):
    """The budget as it was asked for; None where nothing was asked.

    Attributes:
        max_dice_drop: greatest mean drop of any label.
        max_case_drop: greatest drop of any single case.
        max_disagreement: greatest mean of 1 - Dice(baseline, candidate) of any label.
        max_hd95_increase_mm: greatest increase of HD95 of any single case.
        min_int8_share: least share of the multiply-adds that is integer.
        confidence, max_exceedance: with which at most which share of all subjects was to exceed `max_case_drop`.
        unbound: labels of which nothing is promised.
    """

    max_dice_drop: Open
    max_case_drop: Open
    max_disagreement: Open | None = None
    max_hd95_increase_mm: Amount | None = None
    min_int8_share: Share = 0.0
    confidence: Open | None = None
    max_exceedance: Open | None = None
    unbound: tuple[LabelValue, ...] = ()


class Look(Value, frozen=True, kw_only=True):
    """A candidate that was judged on test images.

    Attributes:
        candidate: SHA-256 over its graphs.
        limits: the budget that it was judged under.
        met: whether it met every limit.
    """

    candidate: Sha256
    limits: Limits
    met: bool


class Evidence(Value, frozen=True, kw_only=True):
    """A candidate against its baseline, the limits it had to keep, and on what it was measured.

    Attributes:
        change: how the candidate was made.
        changes: what differs from the baseline, in words.
        baseline: digest of the package whose masks are the baseline.
        before: what made the baseline itself, where it was made cheaper too: that comes on top of these figures.
        graphs_from: digest of another package whose graphs were taken; None where they were made of the baseline's.
        statement: one plain sentence with its limits.
        limits: the budget.
        bounds: every limit, share and exclusion, in words.
        basis: whether drops are against reference masks.
        worst_mean_drop: largest mean drop of a label; of the disagreement where no case has a reference mask.
        worst_case_drop, worst_mean_disagreement, worst_hd95_increase_mm: the other figures that were judged.
        int8_share: share of the multiply-adds that are quantised and computed by integer kernels, on this CPU or
            under other instructions, whichever is less.
        operations_baseline, operations_candidate: of the networks over all cases that were searched, in multiply-adds
            of f32; None where the search does not count them.
        cohort_sha256: of the cohort manifest.
        demonstration: True where one head stands in for many.
        searched_on: the split that the search has seen.
        seen_images: hashes (`image_sha256`) of the images that ranges and settings were chosen on.
        subjects: how many people were judged.
        next_patient: what the figures say about a new subject, in one sentence.
        earlier_looks: every judgement of this model on any of these test images that came before, as far as the log
            of the user who made the package knows: of other candidates, or of this one under another budget.
        warnings: what the figures do not say.
        cases: per case and label.
        labels: per label.
        isas: the same measurement under other instruction sets.
        trials: of the search, in their order.
        float_layers: what stayed in floating point.
        cost_factors: per layer type, time in float / time in INT8, by which the search has ranked layers.
        kernels: share of the multiply-adds per kernel of OpenVINO that computed them on this CPU.
        threads: of the measurements.
    """

    change: Change
    changes: tuple[str, ...]
    baseline: Sha256
    before: Evidence | None = None
    graphs_from: Sha256 | None = None
    statement: str
    limits: Limits
    bounds: str
    basis: Basis
    worst_mean_drop: Drop
    worst_case_drop: Drop
    worst_mean_disagreement: Share | None
    worst_hd95_increase_mm: float | None = None
    int8_share: Share
    operations_baseline: Amount | None = None
    operations_candidate: Amount | None = None
    cohort_sha256: Sha256
    demonstration: bool
    searched_on: Split
    seen_images: tuple[Sha256, ...]
    subjects: Number
    next_patient: str
    earlier_looks: tuple[Look, ...]
    warnings: tuple[str, ...]
    cases: tuple[AccuracyCase, ...]
    labels: tuple[LabelRecord, ...]
    isas: tuple[IsaRecord, ...] = ()
    trials: tuple[TrialRecord, ...] = ()
    float_layers: tuple[FloatLayer, ...] = ()
    cost_factors: dict[str, Amount] = msgspec.field(default_factory=dict)
    kernels: dict[str, Share] = msgspec.field(default_factory=dict)
    threads: Number

    @property
    def chain(self) -> tuple[Evidence, ...]:
        """This evidence, and that of its baseline, and so on back to a package that nothing made cheaper."""
        return (self, *(() if self.before is None else self.before.chain))


def evidence_in(manifest: Manifest) -> Evidence | None:
    """The evidence of a package with its types; None where it has none.

    Raises:
        PackageError: it is not what this version writes.
    """
    if manifest.evidence is None:
        return None
    try:
        return msgspec.convert(manifest.evidence, Evidence)
    except msgspec.ValidationError as error:
        raise PackageError(
            f"{manifest.spec.name}: expected evidence in the manifest that this version reads, got another one "
            f"({error}); make the package again"
        ) from error


def spelt(evidence: Evidence) -> dict[str, Any]:
    """Evidence as a manifest holds it, the same before it was written and after it was read."""
    spelling: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(evidence))
    return spelling
