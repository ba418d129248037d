"""The manifest of a package: what is in it, where it came from, and what is known of its accuracy."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from brain_edge.image.phantom import Phantom
from brain_edge.package.tuning import Tuning
from brain_edge.spec import ModelSpec, Name, Value, canonical_json

FORMAT_VERSION: Final = 1
INTENDED_USE: Final = "Research use only. Not a medical device; not for diagnosis or treatment."

Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
RelativePath = Annotated[str, Meta(pattern=r"^(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9_.+/-]*$")]


class WeightsStatus(StrEnum):
    """Whether a mask of this package means anything."""

    TRAINED = "trained"
    """Published or the user's own trained weights."""
    FIT_FOR_TESTING = "fit-for-testing"
    """Fit to a few cases to test this program: a Dice may be shown with that mark, and a mask is not for use."""
    RANDOM = "random"
    """Random weights: for speed and plumbing; never evaluated, run only with `--allow-untrained`."""


class NumberFormat(StrEnum):
    """How the weights and activations of the graphs are stored."""

    FP32 = "fp32"
    """As trained; the baseline of every comparison."""
    INT8 = "int8"
    """Quantised after training, within a budget."""


class Precision(StrEnum):
    """In what precision OpenVINO computes what is not integer: pinned, since its default is bf16 on many CPUs."""

    F32 = "f32"
    """32-bit floating point."""
    BF16 = "bf16"
    """16-bit brain floating point, on CPUs that have it natively."""


class PackageFile(Value, frozen=True):
    """Size and hash of one file of the package."""

    sha256: Sha256
    size_bytes: int


class WeightsRecord(Value, frozen=True):
    """Where the weights of one graph came from."""

    graph: str
    source: str
    sha256: Sha256


class Licence(Value, frozen=True):
    """The licence of the weights: other people's, and theirs to keep."""

    name: str
    holder: str
    notes: str = ""


class Card(Value, frozen=True):
    """What a reader should know of the model before using it."""

    summary: str
    citation: str
    published_figures: str
    limits: str


class GraphParity(Value, frozen=True):
    """How far a converted graph is from PyTorch on a real volume, in f32.

    Attributes:
        graph: its name.
        max_error: largest absolute difference of the outputs.
        relative_error: largest absolute difference / largest absolute output of PyTorch.
        same_label_share: share of voxels with the same most probable channel.
    """

    graph: str
    max_error: float
    relative_error: float
    same_label_share: float


class Parity(Value, frozen=True):
    """The comparison with PyTorch that conversion could not pass without.

    Attributes:
        input_sha256: of the image that was used; the image itself is not named and not shipped.
        graphs: per graph.
        mask_dice: Dice of the final masks, PyTorch against OpenVINO between the same steps, least label; None where
            both were empty, which tests nothing.
    """

    input_sha256: tuple[Sha256, ...]
    graphs: tuple[GraphParity, ...]
    mask_dice: float | None

    @property
    def masks_in_words(self) -> str:
        """What the comparison of the final masks has shown."""
        if self.mask_dice is None:
            return "both masks were empty on the volume that was compared, which tests nothing"
        return f"Dice {self.mask_dice:.5f}"


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


class StageZero(Value, frozen=True):
    """The package that runs before this one, a skull-stripper: what lies outside of its mask is 0 here.

    Attributes:
        name: of its model.
        digest: of the package; no other one will do.
        sequence: of this model, which it is shown.
    """

    name: Name
    digest: Sha256
    sequence: Name


class SelfTest(Value, frozen=True):
    """A phantom and the mask that this package made of it where it was built.

    Attributes:
        phantom: parameters of the generator.
        mask: file of the package with the expected labels.
        minimum_dice: what a healthy machine reaches; INT8 kernels differ between CPUs.
    """

    phantom: Phantom
    mask: RelativePath
    minimum_dice: float


class Manifest(Value, frozen=True, kw_only=True):
    """Everything about a package; its canonical JSON is what the digest is taken of."""

    format_version: Literal[1] = 1
    spec: ModelSpec
    weights_status: WeightsStatus
    number_format: NumberFormat
    precision: Precision
    weights: tuple[WeightsRecord, ...]
    rewrites: tuple[str, ...]
    made_with: dict[str, str]
    licence: Licence
    card: Card
    self_test: SelfTest
    parity: Parity | None = None
    accuracy: Accuracy | None = None
    converted_from: Sha256 | None = None
    tuning: Tuning | UnsetType = UNSET
    fitted_on: int | UnsetType = UNSET
    """Cases that weights were fit to for testing."""
    stage_zero: StageZero | UnsetType = UNSET
    intended_use: str = INTENDED_USE
    files: dict[RelativePath, PackageFile] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse weights that were fit for testing and do not say on how much, and a number without such weights."""
        if (self.weights_status is WeightsStatus.FIT_FOR_TESTING) != (self.fitted_on is not UNSET):
            raise ValueError(
                f"expected `fitted_on` with weights that are {WeightsStatus.FIT_FOR_TESTING} and with no others, "
                f"they are {self.weights_status}"
            )

    @property
    def mark(self) -> str:
        """What stands beside every figure of weights that were fit for testing; empty for all others."""
        if self.weights_status is not WeightsStatus.FIT_FOR_TESTING:
            return ""
        return f"fit for testing on {self.fitted_on} case{'' if self.fitted_on == 1 else 's'}, not for use"

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON: changes with any file, step, or record of the package."""
        return hashlib.sha256(canonical_json(self)).hexdigest()


def graph_path(graph: str) -> str:
    """Where the IR of a graph lies in a package; its weights are beside it, ending in `.bin`."""
    return f"graphs/{graph}.xml"
