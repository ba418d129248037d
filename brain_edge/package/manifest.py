"""The manifest of a package: what is in it, where it came from, and what is known of its accuracy."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from brain_edge.phantom import Phantom
from brain_edge.spec import ModelSpec, Value, canonical_json

FORMAT_VERSION: Final = 1
INTENDED_USE: Final = "Research use only. Not a medical device; not for diagnosis or treatment."

Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
RelativePath = Annotated[str, Meta(pattern=r"^(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9_.+/-]*$")]


class WeightsStatus(StrEnum):
    """Whether a mask of this package means anything."""

    TRAINED = "trained"
    """Published or the user's own trained weights."""
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


class FileRecord(Value, frozen=True):
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
        mask_dice: Dice of the final masks, PyTorch against OpenVINO between the same steps, least label.
    """

    input_sha256: tuple[Sha256, ...]
    graphs: tuple[GraphParity, ...]
    mask_dice: float


class CaseRecord(Value, frozen=True):
    """Accuracy of one label in one case, under a number instead of a name.

    Attributes:
        case: its number in the cohort.
        split: calibration, validation or test.
        label: value of the label.
        dice_fp32, dice_int8: against the reference mask; None where the case has none or the label is nowhere.
        drop: Dice lost to quantisation, negative where it was won; None without a reference.
        agreement: Dice of the INT8 mask against the FP32 mask; None where neither has the label.
        hd95_fp32_mm, hd95_int8_mm: against the reference mask; None where one side is empty.
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


class Accuracy(Value, frozen=True):
    """What quantisation did to the masks, and on what that was measured.

    Attributes:
        statement: one plain sentence with its limits.
        max_dice_drop: the budget.
        worst_mean_drop: largest mean drop of a label that was measured; of the agreement where no case has a
            reference mask.
        int8_share: share of the multiply-adds that became integer.
        cohort_sha256: of the cohort manifest.
        demonstration: True where one head stands in for many.
        cases: per case and label.
    """

    statement: str
    max_dice_drop: float
    worst_mean_drop: float
    int8_share: float
    cohort_sha256: Sha256
    demonstration: bool
    cases: tuple[CaseRecord, ...]


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
    intended_use: str = INTENDED_USE
    files: dict[RelativePath, FileRecord] = msgspec.field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON: changes with any file, step, or record of the package."""
        return hashlib.sha256(canonical_json(self)).hexdigest()


def graph_path(graph: str) -> str:
    """Where the IR of a graph lies in a package; its weights are beside it, ending in `.bin`."""
    return f"graphs/{graph}.xml"
