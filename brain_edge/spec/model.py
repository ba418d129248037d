"""ModelSpec: everything about a model except its weights, as one value that serialises.

A spec is an ordered list of stages. A stage is an ordered list of typed steps before its network, the network and its
execution, and the steps after it. A spec is written as canonical JSON into the manifest of a package and into the
OpenVINO IR. It is read strictly: an unknown operation, version or field is refused.
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
from brain_edge.spec.preparation import Preparation
from brain_edge.spec.steps import AfterStep, BeforeStep
from brain_edge.spec.windowed import SlidingWindow, StridedWindows

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}$")]
Range: TypeAlias = tuple[float, float]


class Task(StrEnum):
    """Task of the model, which gives the labels their meaning."""

    SKULL_STRIPPING = "skull-stripping"
    """One label, the brain; never empty for a head."""
    TISSUE = "tissue"
    """Tissues or structures of every brain; never empty for a head."""
    LESION = "lesion"
    """Lesions; a patient may have none."""
    TUMOUR = "tumour"
    """Tumour compartments; a patient may have none."""
    SYNTHESIS = "synthesis"
    """No labels: the model makes images from other images or from noise."""


class Missing(StrEnum):
    """Replacement for a sequence that is not given."""

    ZERO = "zero"
    """Zeros after the steps, because a missing sequence has no statistics."""


class Network(Value, frozen=True):
    """The graphs of one stage and their execution.

    Attributes:
        graphs: names of the graphs in the package; the probabilities of several (an ensemble) are averaged.
        channels_in, channels_out: number of input and output channels of every graph.
        activation: function from the output of a graph to probabilities.
        execution: whole volume, windows, slices or noise.
        flips: mirrorings that are averaged, each a list of spatial axes of the network's input; `((),)` is the plain
            run, eight subsets are all mirrorings of a volume.
        member_weights: weight of each graph in the mean; omitted for equal weights.
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
        """Number of runs of the network for one volume, without counting windows."""
        return len(self.graphs) * len(self.flips)


class Stage(Value, frozen=True):
    """Steps, a network, steps: one pass from an image to a finding."""

    name: Name
    before: tuple[BeforeStep, ...]
    network: Network
    after: tuple[AfterStep, ...]

    def label_channels(self) -> dict[int, tuple[int, ...]]:
        """Return the network's channels whose probabilities add up to each label; empty if labels have none.

        Labels have probabilities only if one channel is above a threshold, or the most probable channel is taken.
        Regions that are painted over each other, looked up in a table, voted on or averaged over stages have none: a
        network then gives the probability of a region, not of a label.
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
        name: name of the sequence on the command line: `T1=head.nii.gz`.
        contrasts: contrasts that the model was made for; omitted if not stated.
        description: further remarks about the sequence.
        missing: replacement if the sequence is not given; omitted if the model requires it.
    """

    name: Name
    contrasts: Annotated[tuple[Contrast, ...], Meta(min_length=1)] | UnsetType = UNSET
    description: str = ""
    missing: Missing | UnsetType = UNSET

    @property
    def stated(self) -> tuple[Contrast, ...]:
        """Contrasts of the sequence; empty if not stated."""
        return self.contrasts or ()

    def __str__(self) -> str:
        """Return name and contrasts as a listing shows them."""
        return f"{self.name} ({' or '.join(self.stated) or 'contrast not stated'})"


class Code(Value, frozen=True):
    """A standard code for a label, such as SNOMED CT 12738006 "Brain"."""

    scheme: str
    value: str
    meaning: str


class Label(Value, frozen=True):
    """One value of the label map. Background is 0 and has no Label."""

    value: Annotated[int, Meta(ge=1, le=255)]
    name: Name
    code: Code | None = None


class PlausibleLabel(Value, frozen=True):
    """Plausible ranges of one label of a mask.

    Attributes:
        label: value of the label.
        volume_ml: smallest and largest volume in ml.
        max_components: largest number of connected components (26-connected), or None.
        max_border_share: largest share of the label's voxels in the outermost voxel layer, or None.
    """

    label: int
    volume_ml: Range
    max_components: PositiveInt | None = None
    max_border_share: Annotated[float, Meta(ge=0.0, le=1.0)] | None = None


class PlausibleInput(Value, frozen=True):
    """Plausible ranges of an input image.

    Attributes:
        spacing_mm: smallest and largest spacing of any axis in mm.
        extent_mm: smallest and largest field of view along any axis in mm.
    """

    spacing_mm: Range
    extent_mm: Range


class Plausible(Value, frozen=True):
    """Ranges outside of which a result is flagged (or refused with `--strict`)."""

    inputs: PlausibleInput | None = None
    labels: tuple[PlausibleLabel, ...] = ()


class ModelSpec(Value, frozen=True):
    """Everything that is needed to run a model, except its weights.

    Attributes:
        name: name of the recipe, or the name that the user gave.
        task: task of the model.
        inputs: sequences in channel order; the first gives the output grid.
        stages: stages in the order in which they run; the last ends on the caller's grid.
        labels: label table; empty if the model makes images.
        plausible: ranges for flags.
        preparation: preparation of a study as it was scanned; omitted if the model takes images as they are.

    Raises:
        ValueError: the parts do not fit together (in msgspec's decoding: a ValidationError with the path).
    """

    name: Name
    task: Task
    inputs: Annotated[tuple[Sequence, ...], Meta(min_length=1)]
    stages: Annotated[tuple[Stage, ...], Meta(min_length=1)]
    labels: tuple[Label, ...]
    plausible: Plausible = Plausible()
    preparation: Preparation | UnsetType = UNSET

    def __post_init__(self) -> None:
        require_consistent(self)

    @property
    def graphs(self) -> tuple[str, ...]:
        """Names of all graphs, in the order in which they run."""
        return tuple(graph for stage in self.stages for graph in stage.network.graphs)

    @property
    def may_be_empty(self) -> bool:
        """True if a patient may have nothing to segment; otherwise an empty mask is an error."""
        return self.task in (Task.LESION, Task.TUMOUR)

    @property
    def takes_stripped(self) -> bool:
        """True if the model finds lesions or tumours in heads that are already skull-stripped."""
        steps = (step for stage in self.stages for step in stage.before)
        return self.may_be_empty and any(step.takes_stripped for step in steps)

    @property
    def removes_skull(self) -> bool:
        """True if the preparation of a study leaves a brain alone."""
        return self.preparation is not UNSET and self.preparation.removes_skull

    @property
    def optional(self) -> tuple[str, ...]:
        """Names of the sequences that may be missing."""
        return tuple(sequence.name for sequence in self.inputs if sequence.missing is not UNSET)

    @property
    def contrasts(self) -> dict[str, tuple[Contrast, ...]]:
        """Contrasts that the model was made for, by sequence; empty if not stated."""
        return {sequence.name: sequence.stated for sequence in self.inputs}

    @property
    def makes_images(self) -> bool:
        """True if the result is an image instead of a label map."""
        return self.task is Task.SYNTHESIS

    def label_names(self) -> dict[int, str]:
        """Name of each label by value, without background."""
        return {label.value: label.name for label in self.labels}


def canonical_json(value: Any) -> bytes:
    """Return the canonical JSON of a value: sorted keys, no white space, UTF-8. Digests are computed from it."""
    return msgspec.json.encode(value, order="sorted")
