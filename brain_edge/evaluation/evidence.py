"""Evidence about a cheaper package: the masks of the candidate against its baseline, and the data behind the figures.

A manifest holds the evidence as plain JSON, because a run needs only its words; this module gives it types. Every way
of making a package cheaper has the same record. It contains no time, so that the same measurement gives the same
package on every machine.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from brain_edge.errors import PackageError
from brain_edge.evaluation.cohort.manifest import Split
from brain_edge.machine.json import convert_plain
from brain_edge.package.digest import Sha256
from brain_edge.package.manifest import Amount, Count, Share
from brain_edge.spec import Name, Value

if TYPE_CHECKING:
    from brain_edge.package.manifest import Manifest


Number = Annotated[int, Meta(ge=1)]
"""Number of a case, a person or another thing, counted from 1."""
LabelValue = Annotated[int, Meta(ge=1, le=255)]
Drop = Annotated[float, Meta(ge=-1.0, le=1.0)]
"""Difference of two Dice coefficients."""
Open = Annotated[float, Meta(gt=0.0, lt=1.0)]
"""Limit on a drop, or confidence: between 0 and 1, both excluded."""


class Isa(StrEnum):
    """Instruction set with which a candidate is measured again, spelt as in oneDNN's ONEDNN_MAX_CPU_ISA."""

    AVX2 = "AVX2"
    """Instruction set of every x86 workstation of the last ten years."""


class Basis(StrEnum):
    """Basis against which a drop was measured."""

    ACCURACY = "accuracy"
    """Reference masks."""
    AGREEMENT = "agreement"
    """The masks of the baseline; the accuracy is unknown."""


class Change(StrEnum):
    """Change that made a candidate from its baseline."""

    QUANTIZED = "quantized"
    """The graphs compute in INT8."""
    TUNED = "tuned"
    """The same model with cheaper settings."""

    @property
    def noun(self) -> str:
        """Name of the change in words."""
        return "quantisation" if self is Change.QUANTIZED else "tuning"

    @property
    def baseline(self) -> str:
        """Name of the baseline in words."""
        return "FP32" if self is Change.QUANTIZED else "the package as it was"

    @property
    def candidate(self) -> str:
        """Name of the candidate in words."""
        return "INT8" if self is Change.QUANTIZED else "the tuned package"


class ComparedLabel(Value, frozen=True, kw_only=True):
    """One label of two masks of the same image, and of its reference mask if there is one.

    Attributes:
        label: value of the label.
        dice_baseline, dice_candidate: Dice against the reference; None without a reference, or if neither reference nor
            mask has the label.
        drop: Dice of the baseline minus Dice of the candidate, positive if the candidate is worse. A mask that
            correctly lacks a label counts as 1 here, so that a lesion which only the candidate invents is a drop of 1.
            A lesion that only the baseline invents is a drop of 0: counted as a gain of 1, a single stray voxel would
            offset losses in dozens of other cases in a mean. None without a reference, or if no mask has the label.
        agreement: Dice of the candidate's mask against the baseline's; None if neither has the label.
        hd95_baseline_mm, hd95_candidate_mm: HD95 against the reference in mm; None if one side is empty.
        volume_baseline_ml, volume_candidate_ml: volume in ml, all false-positive if the reference lacks the label.
        reference_volume_ml: volume of the reference in ml; None without a reference.
        lesions: number of lesions (components) of the reference if labels are lesions; None without a reference.
        found_baseline, found_candidate: number of these lesions that the mask touches.
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
        """HD95 of the candidate minus HD95 of the baseline; infinite if only the candidate lost the label.

        It is None if the baseline has no HD95.
        """
        if self.hd95_baseline_mm is None:
            return None
        return math.inf if self.hd95_candidate_mm is None else self.hd95_candidate_mm - self.hd95_baseline_mm


class AccuracyCase(ComparedLabel, frozen=True, kw_only=True):
    """One label in one case, under a number instead of a name.

    Attributes:
        case: number of the case in the cohort.
        voxel_diagonal_mm: diagonal of a voxel of the grid in mm.
        split: split of the case.
        subject: number that all cases of one person share.
    """

    case: Number
    split: Split
    subject: Number
    voxel_diagonal_mm: Amount


class LabelRecord(Value, frozen=True, kw_only=True):
    """One label over the judged cases.

    Attributes:
        label: value of the label.
        cases: number of judged cases: the label is in the reference or in one of the masks.
        absent: number of cases left out because no mask has the label.
        little_to_lose: number of cases in which the baseline's Dice is too low for a drop that a limit would detect;
            they are in no mean and count as no evidence.
        lowest_dice_baseline: lowest Dice of the baseline in any case; None without any reference.
        mean_drop, worst_drop: drop over the judged cases; None without any reference.
        mean_disagreement, worst_disagreement: 1 - Dice(baseline, candidate) over the judged cases.
        mean_hd95_increase_mm: mean increase of HD95 in mm over cases in which both are defined.
        false_positive_ml: volume in ml that the candidate finds in cases whose reference lacks the label.
        lesions, found_baseline, found_candidate: lesion counts over all judged cases; None if labels are not lesions.
        interval: 95 % bootstrap interval of the mean drop over subjects; None below 10 subjects.
        max_dice_drop: limit of the mean drop; None if Dice does not bind the label, or in older evidence.
        least_volume_ml: least volume in ml in a head that has the label; None in older evidence.
        mean_apart_ml, worst_apart_ml: volume in ml on which both masks differ.
        allowed_ml: limit of the mean of that volume in ml; None unless the label was too small for Dice.
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
    max_dice_drop: Open | None = None
    least_volume_ml: Amount | None = None
    mean_apart_ml: Amount | None = None
    worst_apart_ml: Amount | None = None
    allowed_ml: Amount | None = None


class NodeKernel(Value, frozen=True):
    """Executed nodes of one kind that one kernel computes, over all graphs of a package.

    Attributes:
        kind: kind of node in OpenVINO, such as MVN or Interpolate.
        kernel: name of the kernel, such as `jit_avx512_i8`; most names contain the instruction set.
        nodes: number of nodes.
    """

    kind: str
    kernel: str
    nodes: Number


class FloatLayer(Value, frozen=True):
    """A layer with weights that stayed in floating point, with the reason."""

    graph: Name
    layer: str
    kind: str
    multiply_adds: Count
    reason: str


class IsaRecord(Value, frozen=True):
    """Repeated measurement of the frozen candidate with another CPU's instruction set, as far as it can be imitated.

    Attributes:
        isa: instruction set to which oneDNN was limited, in a separate process.
        verified: True if all layers with weights ran under this instruction set; `ran` describes the other nodes.
        reason: reason for a failed verification, or the limit that was missed.
        met: True if the budget is also met with this instruction set.
        excess: largest figure as a share of its limit.
        worst_mean_drop, worst_case_drop, worst_mean_disagreement: figures as in the record of this CPU.
        int8_share: share of multiply-accumulates that such a CPU computes in integers, without `float_layers`.
        kernels: share of multiply-accumulates per kernel in that process.
        nodes: executed nodes by kind and kernel.
        ran: kinds of nodes per instruction set, in words.
        float_layers: quantised layers that OpenVINO computes in float on such a CPU, and in this measurement too.
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
    """One trial of the search, judged on search data; figures are None if the trial could not be run.

    Attributes:
        changes: changes of this trial, in words.
        reverted: layers kept in floating point because the search found that they cause the loss.
        operations: multiply-accumulates (f32) of the networks over all searched cases; None if the search does not
            count them.
        int8_share: share of multiply-accumulates in INT8; None if the search does not count them.
        worst_mean_drop, worst_case_drop: drops on the search data.
        excess: largest figure as a share of its limit.
        met: True if the budget was met on the search data.
        problem: reason why the trial could not be run.
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


class LabelLimit(Value, frozen=True, kw_only=True):
    """Limit of one label, in place of the limit for all labels.

    Attributes:
        label: value of the label.
        max_dice_drop: largest mean drop of the label.
    """

    label: LabelValue
    max_dice_drop: Open


class Limits(Value, frozen=True, kw_only=True):
    """The budget that was requested; a limit that was not requested is None.

    Attributes:
        max_dice_drop: largest mean drop of any label.
        max_case_drop: largest drop of any single case.
        max_disagreement: largest mean of 1 - Dice(baseline, candidate) of any label.
        max_hd95_increase_mm: largest increase of HD95 of any single case in mm.
        min_int8_share: smallest share of multiply-accumulates in INT8.
        confidence, max_exceedance: confidence that at most the share `max_exceedance` of all subjects exceeds
            `max_case_drop`.
        unbound: labels without a limit.
        label_drops: labels with a limit of their own.
        small_label_ml: volume in ml below which a label was bound by agreement in ml; None if there was no such rule.
    """

    max_dice_drop: Open
    max_case_drop: Open
    max_disagreement: Open | None = None
    max_hd95_increase_mm: Amount | None = None
    min_int8_share: Share = 0.0
    confidence: Open | None = None
    max_exceedance: Open | None = None
    unbound: tuple[LabelValue, ...] = ()
    label_drops: tuple[LabelLimit, ...] = ()
    small_label_ml: Amount | None = None


class Look(Value, frozen=True, kw_only=True):
    """A candidate that was judged on test images.

    Attributes:
        candidate: SHA-256 over the candidate's graphs.
        limits: budget of the judgement.
        met: True if the candidate met every limit.
    """

    candidate: Sha256
    limits: Limits
    met: bool


class Evidence(Value, frozen=True, kw_only=True):
    """A candidate against its baseline, with the limits that it had to meet and the data behind the figures.

    Attributes:
        change: change that made the candidate.
        changes: differences from the baseline, in words.
        baseline: digest of the package whose masks are the baseline.
        before: evidence of the baseline if it was made cheaper too; its losses add to these figures.
        graphs_from: digest of another package whose graphs were taken; None if they were made from the baseline's.
        statement: one plain sentence with its limits.
        limits: budget of the search.
        bounds: every limit, share and exclusion, in words.
        basis: basis of the drops: reference masks or masks of the baseline.
        worst_mean_drop: largest mean drop of a label; the largest mean disagreement if no case has a reference mask.
        worst_case_drop, worst_mean_disagreement, worst_hd95_increase_mm: the other judged figures.
        int8_share: share of multiply-accumulates that are quantised and computed by integer kernels; the lower value of
            this CPU and of the other instruction sets.
        operations_baseline, operations_candidate: multiply-accumulates (f32) of the networks over all searched cases;
            None if the search does not count them.
        cohort_sha256: SHA-256 of the cohort manifest.
        demonstration: True if one head stands in for many.
        searched_on: split that the search has used.
        seen_images: hashes (`image_sha256`) of the images on which ranges and settings were chosen.
        subjects: number of judged subjects.
        next_patient: conclusion for a new subject, in one sentence.
        earlier_looks: earlier judgements of this model on any of these test images, as far as the log of the user who
            made the package shows: of other candidates, or of this one under another budget.
        warnings: limits of the figures, in sentences.
        cases: figures per case and label.
        labels: figures per label.
        isas: repeated measurements with other instruction sets.
        trials: trials of the search, in order.
        float_layers: layers that stayed in floating point.
        cost_factors: time in float / time in INT8 per layer type, by which the search has ranked layers.
        kernels: share of multiply-accumulates per kernel of OpenVINO on this CPU.
        threads: number of threads of the measurements.
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
        """Return this evidence, that of its baseline, and so on, back to the first package that was made cheaper."""
        return (self, *(() if self.before is None else self.before.chain))


def evidence_in(manifest: Manifest) -> Evidence | None:
    """Read the evidence of a package into its types; None if the package has no evidence.

    Raises:
        PackageError: the evidence is not in the format of this version.
    """
    if manifest.evidence is None:
        return None
    try:
        return convert_plain(manifest.evidence, Evidence)
    except msgspec.ValidationError as error:
        raise PackageError(
            f"{manifest.spec.name}: expected evidence in the format of this version, got another format ({error}); "
            "make the package again"
        ) from error


def spelt(evidence: Evidence) -> dict[str, Any]:
    """Return evidence as a manifest holds it, equal before writing and after reading."""
    spelling: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(evidence))
    return spelling
