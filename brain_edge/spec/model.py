"""ModelSpec: everything about a model that is not its weights, as one value that serialises.

A spec is an ordered list of stages; a stage is an ordered list of typed steps before its network, the
network and how it is run, and the steps after it. It is written into the manifest of a package and into
the OpenVINO IR as canonical JSON, and read back strictly: an unknown operation, version or field is refused.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from brain_edge.image.contrast import Contrast
from brain_edge.spec.base import Value
from brain_edge.spec.consistency import require_consistent
from brain_edge.spec.execution import (
    Activation,
    NoiseSlices,
    PositiveInt,
    SlicesAlong,
    SpatialAxis,
    WholeStack,
    WholeVolume,
)
from brain_edge.spec.steps import AfterStep, BeforeStep
from brain_edge.spec.windowed import SlidingWindow, StridedWindows

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}$")]
Range: TypeAlias = tuple[float, float]


class Task(StrEnum):
    """What the labels mean to the reader of the mask."""

    SKULL_STRIPPING = "skull-stripping"
    """One label, the brain; never empty for a head."""
    TISSUE = "tissue"
    """Tissues or structures of every brain; never empty for a head."""
    LESION = "lesion"
    """Lesions; a patient may have none."""
    TUMOUR = "tumour"
    """Tumour compartments; a patient may have none."""
    SYNTHESIS = "synthesis"
    """No labels: the model makes images, of other images or of noise."""


class Missing(StrEnum):
    """What stands for a sequence that is not given."""

    ZERO = "zero"
    """Zeros, after the steps: it has no statistics of its own."""


class Network(Value, frozen=True):
    """The graphs of one stage and how they are run.

    Attributes:
        graphs: names of the graphs in the package; several are an ensemble, their probabilities averaged.
        channels_in, channels_out: of every graph.
        activation: from the output of a graph to probabilities.
        execution: whole volume or windows.
        flips: the mirrorings that are averaged, each a list of spatial axes of the network's input;
            `((),)` is the plain run, eight subsets are all mirrorings of a volume.
        member_weights: how much each graph counts in the mean; left out where all count the same.
    """

    graphs: Annotated[tuple[Name, ...], Meta(min_length=1)]
    channels_in: PositiveInt
    channels_out: Annotated[int, Meta(ge=1, le=256)]
    activation: Activation = Activation.NONE
    execution: WholeVolume | SlidingWindow | StridedWindows | SlicesAlong | WholeStack | NoiseSlices = msgspec.field(
        default_factory=WholeVolume
    )
    flips: Annotated[tuple[tuple[SpatialAxis, ...], ...], Meta(min_length=1)] = ((),)
    member_weights: tuple[Annotated[float, Meta(gt=0.0)], ...] | UnsetType = UNSET

    @property
    def passes(self) -> int:
        """How often a network runs for one volume (windows not counted)."""
        return len(self.graphs) * len(self.flips)


class Stage(Value, frozen=True):
    """Steps, a network, steps: one round from an image to a finding."""

    name: Name
    before: tuple[BeforeStep, ...]
    network: Network
    after: tuple[AfterStep, ...]

    def label_channels(self) -> dict[int, tuple[int, ...]]:
        """Label -> channels of the network whose probabilities add up to it; empty where labels have none.

        Only one channel above a threshold, or the most probable of all, gives labels such probabilities. Regions that
        are painted over each other, looked up in a table, voted on or averaged over stages do not: the network says
        how probable a region is, or several networks do, and not how probable a label is.
        """
        sources: tuple[tuple[int, ...], ...] = tuple((channel,) for channel in range(self.network.channels_out))
        for step in self.after:
            found = step.channels_of(sources)
            if not isinstance(found, tuple):
                return dict(found)
            sources = found
        return {}


class Sequence(Value, frozen=True):
    """One input image of the model.

    Attributes:
        name: what the user calls it: `T1=head.nii.gz`.
        contrasts: that the model was made for; left out where nobody has stated them.
        description: what else there is to say of it.
        missing: what stands for it where it is not given; left out where the model cannot do without it.
    """

    name: Name
    contrasts: Annotated[tuple[Contrast, ...], Meta(min_length=1)] | UnsetType = UNSET
    description: str = ""
    missing: Missing | UnsetType = UNSET

    @property
    def stated(self) -> tuple[Contrast, ...]:
        """The contrasts; empty where they are not stated."""
        return self.contrasts or ()

    def __str__(self) -> str:
        """Its name and contrasts, as a listing shows it."""
        return f"{self.name} ({' or '.join(self.stated) or 'contrast not stated'})"


class Code(Value, frozen=True):
    """A standard code for a label, such as SNOMED CT 12738006 "Brain"."""

    scheme: str
    value: str
    meaning: str


class Label(Value, frozen=True):
    """One value of the label map. Background is 0 and is not listed."""

    value: Annotated[int, Meta(ge=1, le=255)]
    name: Name
    code: Code | None = None


class PlausibleLabel(Value, frozen=True):
    """What a label of a believable mask looks like.

    Attributes:
        label: the value of the label.
        volume_ml: least and greatest volume.
        max_components: most connected components (26-connected), or None.
        max_border_share: greatest share of the label's voxels in the outermost voxel layer, or None.
    """

    label: int
    volume_ml: Range
    max_components: PositiveInt | None = None
    max_border_share: Annotated[float, Meta(ge=0.0, le=1.0)] | None = None


class PlausibleInput(Value, frozen=True):
    """What an image that the model was made for looks like.

    Attributes:
        spacing_mm: least and greatest spacing of any axis.
        extent_mm: least and greatest field of view along any axis.
    """

    spacing_mm: Range
    extent_mm: Range


class Plausible(Value, frozen=True):
    """The ranges outside of which a result is flagged (or refused with `--strict`)."""

    inputs: PlausibleInput | None = None
    labels: tuple[PlausibleLabel, ...] = ()


class ModelSpec(Value, frozen=True):
    """Everything that is needed to run a model, but its weights.

    Attributes:
        name: the recipe or the name that the user gave it.
        task: what the labels mean.
        inputs: the sequences in channel order; the first one gives the output grid.
        stages: run in order; the last one ends on the caller's grid.
        labels: the label table; empty where the model makes images.
        plausible: ranges for flags.

    Raises:
        ValueError: the parts do not fit together (in msgspec's decoding: a ValidationError with the path).
    """

    name: Name
    task: Task
    inputs: Annotated[tuple[Sequence, ...], Meta(min_length=1)]
    stages: Annotated[tuple[Stage, ...], Meta(min_length=1)]
    labels: tuple[Label, ...]
    plausible: Plausible = Plausible()

    def __post_init__(self) -> None:
        require_consistent(self)

    @property
    def graphs(self) -> tuple[str, ...]:
        """The names of all graphs, in the order in which they run."""
        return tuple(graph for stage in self.stages for graph in stage.network.graphs)

    @property
    def may_be_empty(self) -> bool:
        """True where a patient may have nothing to segment; an empty mask is an error otherwise."""
        return self.task in (Task.LESION, Task.TUMOUR)

    @property
    def optional(self) -> tuple[str, ...]:
        """The sequences that may be missing."""
        return tuple(sequence.name for sequence in self.inputs if sequence.missing is not UNSET)

    @property
    def contrasts(self) -> dict[str, tuple[Contrast, ...]]:
        """The contrasts that each sequence was made for; none where they are not stated."""
        return {sequence.name: sequence.stated for sequence in self.inputs}

    @property
    def makes_images(self) -> bool:
        """True where the result is an image and not a label map."""
        return self.task is Task.SYNTHESIS

    def label_names(self) -> dict[int, str]:
        """Label value -> name, background left out."""
        return {label.value: label.name for label in self.labels}


def canonical_json(value: Any) -> bytes:
    """The one spelling of a value as JSON: keys sorted, no white space, UTF-8. Digests are taken of this."""
    return msgspec.json.encode(value, order="sorted")
