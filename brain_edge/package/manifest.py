"""Manifest of a package: its content, its origin and its known accuracy."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from brain_edge.image.phantom import Phantom
from brain_edge.machine.json import convert_plain
from brain_edge.package.digest import Sha256
from brain_edge.spec import ModelSpec, Name, Value, canonical_json

FORMAT_VERSION: Final = 2

RelativePath = Annotated[str, Meta(pattern=r"^(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9_.+/-]*\Z")]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]
"""Fraction, a Dice, or 1 - Dice."""
Count = Annotated[int, Meta(ge=0)]
Amount = Annotated[float, Meta(ge=0.0)]
"""Finite figure that is not negative; JSON has no infinite figures."""


class IntendedUse(StrEnum):
    """Intended use of a package; a manifest with any other text is refused."""

    RESEARCH = "Research use only. Not a medical device; not for diagnosis or treatment."
    """The only intended use."""


class WeightsStatus(StrEnum):
    """Origin of the weights, which decides whether a mask is meaningful."""

    TRAINED = "trained"
    """Trained weights, published or the user's own."""
    FIT_FOR_TESTING = "fit-for-testing"
    """Weights fit to a few cases to test this program; their Dice has this mark, and their masks are not for use."""
    RANDOM = "random"
    """Random weights: for speed and plumbing; never evaluated, run only with `--allow-untrained`."""


class NumberFormat(StrEnum):
    """Number format of the weights and activations of the graphs."""

    FP32 = "fp32"
    """As trained; the baseline of every comparison."""
    INT8 = "int8"
    """Quantised after training, within a budget."""


class Precision(StrEnum):
    """Precision in which OpenVINO computes non-integer layers; pinned, because its default is bf16 on many CPUs.

    A CPU without native bf16 computes in f32.
    """

    F32 = "f32"
    """32-bit floating point."""
    BF16 = "bf16"
    """16-bit brain floating point, on CPUs that have it natively."""


class PackageFile(Value, frozen=True):
    """Size and hash of one file of the package."""

    sha256: Sha256
    size_bytes: Count


class WeightsRecord(Value, frozen=True):
    """Origin of the weights of one graph."""

    graph: Name
    source: str
    sha256: Sha256


class Licence(Value, frozen=True):
    """Licence of the weights, which belong to their holder."""

    name: str
    holder: str
    notes: str = ""


class Card(Value, frozen=True):
    """Facts that a reader should know before using the model."""

    summary: str
    citation: str
    published_figures: str
    limits: str


class GraphParity(Value, frozen=True):
    """Distance of a converted graph from PyTorch on a real volume, in f32.

    Attributes:
        graph: name of the graph.
        max_error: largest absolute difference of the outputs.
        relative_error: largest absolute difference / largest absolute output of PyTorch.
        same_label_share: fraction of voxels with the same most probable channel.
    """

    graph: Name
    max_error: Amount
    relative_error: Amount
    same_label_share: Share


class Parity(Value, frozen=True):
    """Comparison with PyTorch that every conversion must pass.

    Attributes:
        input_sha256: SHA-256 of the compared image; the image itself is not named and not shipped.
        graphs: distance per graph.
        mask_dice: Dice of the final masks of PyTorch and OpenVINO with the same steps, minimum over the labels; None
            if both masks were empty, which tests nothing.
    """

    input_sha256: tuple[Sha256, ...]
    graphs: tuple[GraphParity, ...]
    mask_dice: Share | None

    @property
    def masks_in_words(self) -> str:
        """Result of the comparison of the final masks, in words."""
        if self.mask_dice is None:
            return "both masks were empty on the compared volume, so no mask was tested"
        return f"Dice {self.mask_dice:.5f}"


class ExpectedMask(Value, frozen=True):
    """Agreement with the mask that another program makes of a head.

    Attributes:
        input_sha256: SHA-256 of the images of the head; they are not named and not shipped.
        mask_sha256: SHA-256 of the expected labels.
        minimum_dice: smallest accepted Dice of a label.
        dice: Dice by name of the label.
        differences: places of the differences and their likely cause, in words; empty if the masks are the same.
    """

    input_sha256: tuple[Sha256, ...]
    mask_sha256: Sha256
    minimum_dice: Share
    dice: dict[str, Share]
    differences: tuple[str, ...] = ()

    @property
    def in_words(self) -> str:
        """Dice of each label, and the minimum."""
        return f"Dice {', '.join(f'{n} {d:.4f}' for n, d in self.dice.items())} (at least {self.minimum_dice:g})"


class EvidenceWords(msgspec.Struct, frozen=True):
    """Part of the evidence in a package that a run reads; `brain_edge.evaluation.evidence` defines the whole.

    Attributes:
        change: kind of change by which the package was made from its baseline.
        changes: differences from the baseline, in words.
        bounds: every limit that was kept, in words.
        statement: one plain sentence about the measurement.
        demonstration: True if one head replaces many.
        before: evidence of the baseline, if it has any.
    """

    change: Literal["quantized", "tuned"]
    changes: tuple[str, ...]
    bounds: str
    statement: str
    demonstration: bool = False
    before: EvidenceWords | None = None

    @property
    def chain(self) -> tuple[EvidenceWords, ...]:
        """This evidence, the evidence of its baseline, and so on back to a package without evidence."""
        return (self, *(() if self.before is None else self.before.chain))


class StageZero(Value, frozen=True):
    """Package that runs before this one, a skull-stripper; voxels outside its mask are 0 in this model.

    Attributes:
        name: name of its model.
        digest: digest of the package; no other package is accepted.
        sequence: sequence of this model on which the skull-stripper runs.
    """

    name: Name
    digest: Sha256
    sequence: Name


class SelfTest(Value, frozen=True):
    """Phantom, and the mask that this package made of it at build time.

    Attributes:
        phantom: parameters of the phantom.
        mask: file of the package with the expected labels.
        minimum_dice: minimum Dice with `mask` on any machine; INT8 kernels differ between CPUs.
        baseline: file with the labels of the baseline package; unset without a baseline.
        baseline_dice: Dice of `mask` with `baseline`.
        minimum_baseline_dice: minimum Dice with `baseline` on any machine, so that INT8 costs no more than its budget.
    """

    phantom: Phantom
    mask: RelativePath
    minimum_dice: Share
    baseline: RelativePath | UnsetType = UNSET
    baseline_dice: Share = 1.0
    minimum_baseline_dice: Share = 0.0


class Manifest(Value, frozen=True, kw_only=True):
    """All facts about a package; its canonical JSON is the file `manifest.json`, whose hash is the digest."""

    format_version: Literal[2] = 2
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
    evidence: dict[str, Any] | None = None
    """Changes that made the package cheaper than its baseline, and their effect on the masks; an
    `brain_edge.evaluation.evidence.Evidence`."""
    converted_from: Sha256 | None = None
    fitted_on: Annotated[int, Meta(ge=1)] | UnsetType = UNSET
    """Number of cases to which the weights were fit for testing."""
    stage_zero: StageZero | UnsetType = UNSET
    expected: ExpectedMask | UnsetType = UNSET
    intended_use: IntendedUse = IntendedUse.RESEARCH
    files: dict[RelativePath, PackageFile] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse `fitted_on` without weights fit for testing, such weights without it, and unreadable evidence."""
        if (self.weights_status is WeightsStatus.FIT_FOR_TESTING) != (self.fitted_on is not UNSET):
            raise ValueError(
                f"expected `fitted_on` with weights that are {WeightsStatus.FIT_FOR_TESTING} and with no others, "
                f"got weights that are {self.weights_status}"
            )
        _ = self.found

    @property
    def found(self) -> EvidenceWords | None:
        """Short form of `evidence`; None if the package was not made from another package."""
        return None if self.evidence is None else convert_plain(self.evidence, EvidenceWords)

    @property
    def mark(self) -> str:
        """Mark beside every figure of weights that were fit for testing; empty for other weights."""
        if self.weights_status is not WeightsStatus.FIT_FOR_TESTING:
            return ""
        return f"fit for testing on {self.fitted_on} case{'' if self.fitted_on == 1 else 's'}, not for use"

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON, which changes with any file, step or record of the package."""
        return hashlib.sha256(canonical_json(self)).hexdigest()


def graph_path(graph: str) -> str:
    """Return the path of the IR of a graph in a package; its weights have the same name with `.bin`."""
    return f"graphs/{graph}.xml"
