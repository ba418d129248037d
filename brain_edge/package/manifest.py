"""The manifest of a package: what is in it, where it came from, and what is known of its accuracy."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from brain_edge.image.phantom import Phantom
from brain_edge.package.digest import Sha256
from brain_edge.spec import ModelSpec, Name, Value, canonical_json

FORMAT_VERSION: Final = 2

RelativePath = Annotated[str, Meta(pattern=r"^(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9_.+/-]*\Z")]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]
"""A part of a whole, a Dice, or 1 - Dice."""
Count = Annotated[int, Meta(ge=0)]
Amount = Annotated[float, Meta(ge=0.0)]
"""A figure that cannot be negative; a finite one, since JSON has no others."""


class IntendedUse(StrEnum):
    """What a package is for; a manifest that says anything else is refused."""

    RESEARCH = "Research use only. Not a medical device; not for diagnosis or treatment."
    """The only use there is."""


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
    size_bytes: Count


class WeightsRecord(Value, frozen=True):
    """Where the weights of one graph came from."""

    graph: Name
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

    graph: Name
    max_error: Amount
    relative_error: Amount
    same_label_share: Share


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
    mask_dice: Share | None

    @property
    def masks_in_words(self) -> str:
        """What the comparison of the final masks has shown."""
        if self.mask_dice is None:
            return "both masks were empty on the volume that was compared, which tests nothing"
        return f"Dice {self.mask_dice:.5f}"


class EvidenceWords(msgspec.Struct, frozen=True):
    """What a run reads of the evidence in a package; `brain_edge.evaluation.evidence` knows the rest.

    Attributes:
        change: how the package was made of another one.
        changes: what differs from that, in words.
        bounds: every limit that was kept, in words.
        statement: one plain sentence on what was measured.
        demonstration: True where one head stands in for many.
        before: the same of that other package, where it has evidence of its own.
    """

    change: Literal["quantized", "tuned"]
    changes: tuple[str, ...]
    bounds: str
    statement: str
    demonstration: bool = False
    before: EvidenceWords | None = None

    @property
    def chain(self) -> tuple[EvidenceWords, ...]:
        """This evidence, and that of its baseline, and so on back to a package that nothing made cheaper."""
        return (self, *(() if self.before is None else self.before.chain))


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
        baseline: file with the labels that the package gives of which this one was made; unset where there is none.
        baseline_dice: of `mask` with them.
        minimum_baseline_dice: what a machine must reach with them, where INT8 may cost no more than its budget allows.
    """

    phantom: Phantom
    mask: RelativePath
    minimum_dice: Share
    baseline: RelativePath | UnsetType = UNSET
    baseline_dice: Share = 1.0
    minimum_baseline_dice: Share = 0.0


class Manifest(Value, frozen=True, kw_only=True):
    """Everything about a package; its canonical JSON is the file `manifest.json`, and what the digest is taken of."""

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
    """What made the package cheaper than the one it came from, and what that did to its masks: an
    `brain_edge.evaluation.evidence.Evidence`."""
    converted_from: Sha256 | None = None
    fitted_on: Annotated[int, Meta(ge=1)] | UnsetType = UNSET
    """Cases that weights were fit to for testing."""
    stage_zero: StageZero | UnsetType = UNSET
    intended_use: IntendedUse = IntendedUse.RESEARCH
    files: dict[RelativePath, PackageFile] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse weights that were fit for testing and do not say on how much, the reverse, findings without words."""
        if (self.weights_status is WeightsStatus.FIT_FOR_TESTING) != (self.fitted_on is not UNSET):
            raise ValueError(
                f"expected `fitted_on` with weights that are {WeightsStatus.FIT_FOR_TESTING} and with no others, "
                f"they are {self.weights_status}"
            )
        _ = self.found

    @property
    def found(self) -> EvidenceWords | None:
        """What `evidence` says in short; None where the package was not made of another one."""
        return None if self.evidence is None else msgspec.convert(self.evidence, EvidenceWords)

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
