"""ModelSpec: everything about a model that is not its weights, as one value that serialises.

A spec is an ordered list of stages; a stage is an ordered list of typed steps before its network, the
network and how it is run, and the steps after it. It is written into the manifest of a package and into
the OpenVINO IR as canonical JSON, and read back strictly: an unknown operation, version or field is refused.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta

from brain_edge.errors import PackageError
from brain_edge.resample import Interpolation
from brain_edge.steps import AfterStep, Argmax, BeforeStep, CropToStage, FillHoles, FitPercentile, Restore, Threshold
from brain_edge.steps.intensity import statistics_used

if TYPE_CHECKING:
    from collections.abc import Iterator

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}$")]
PositiveInt = Annotated[int, Meta(ge=1)]
Range: TypeAlias = tuple[float, float]
SpatialAxis = Annotated[int, Meta(ge=0, le=2)]


class Value(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the parts of a spec: immutable, compared by value, strict when read."""


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


class Activation(StrEnum):
    """What is applied to the output of the graph to get probabilities."""

    NONE = "none"
    """Nothing: the graph already ends in probabilities."""
    SOFTMAX = "softmax"
    """Channels exclude each other and sum to one."""
    SIGMOID = "sigmoid"
    """Each channel on its own: overlapping regions, or one class."""


class Blending(StrEnum):
    """How much a voxel of a window counts where windows overlap."""

    CONSTANT = "constant"
    """The same everywhere."""
    GAUSSIAN = "gaussian"
    """Less towards the border of the window, where the network has seen less (nnU-Net: sigma = 1/8 side)."""


class WholeVolume(Value, frozen=True, tag_field="kind", tag="whole_volume"):
    """The network sees the whole volume at once, whatever its size."""


class SlidingWindow(Value, frozen=True, tag_field="kind", tag="sliding_window"):
    """The network sees windows of a fixed shape, which overlap; their outputs are averaged.

    Windows start at equal steps of at most `side * (1 - overlap)` voxels, the last one at the border
    (nnU-Net v2, `compute_steps_for_sliding_window`). A volume smaller than a window is padded with zeros.
    """

    shape: tuple[PositiveInt, PositiveInt, PositiveInt]
    overlap: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.5
    blending: Blending = Blending.GAUSSIAN


class Network(Value, frozen=True):
    """The graphs of one stage and how they are run.

    Attributes:
        graphs: names of the graphs in the package; several are an ensemble, their probabilities averaged.
        channels_in, channels_out: of every graph.
        activation: from the output of a graph to probabilities.
        execution: whole volume or windows.
        flips: the mirrorings that are averaged, each a list of spatial axes of the network's input;
            `((),)` is the plain run, eight subsets are all mirrorings of a volume.
    """

    graphs: Annotated[tuple[Name, ...], Meta(min_length=1)]
    channels_in: PositiveInt
    channels_out: Annotated[int, Meta(ge=1, le=256)]
    activation: Activation = Activation.NONE
    execution: WholeVolume | SlidingWindow = msgspec.field(default_factory=WholeVolume)
    flips: Annotated[tuple[tuple[SpatialAxis, ...], ...], Meta(min_length=1)] = ((),)

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


class Sequence(Value, frozen=True):
    """One input image of the model.

    Attributes:
        name: what the user calls it: `T1=head.nii.gz`.
        description: the MR sequences it may be.
    """

    name: Name
    description: str = ""


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
        labels: the label table.
        plausible: ranges for flags.

    Raises:
        ValueError: the parts do not fit together (in msgspec's decoding: a ValidationError with the path).
    """

    name: Name
    task: Task
    inputs: Annotated[tuple[Sequence, ...], Meta(min_length=1)]
    stages: Annotated[tuple[Stage, ...], Meta(min_length=1)]
    labels: Annotated[tuple[Label, ...], Meta(min_length=1)]
    plausible: Plausible = Plausible()

    def __post_init__(self) -> None:
        for problem in _problems(self):
            raise ValueError(problem)

    @property
    def graphs(self) -> tuple[str, ...]:
        """The names of all graphs, in the order in which they run."""
        return tuple(graph for stage in self.stages for graph in stage.network.graphs)

    @property
    def may_be_empty(self) -> bool:
        """True where a patient may have nothing to segment; an empty mask is an error otherwise."""
        return self.task in (Task.LESION, Task.TUMOUR)

    def label_names(self) -> dict[int, str]:
        """Label value -> name, background left out."""
        return {label.value: label.name for label in self.labels}


def canonical_json(value: Any) -> bytes:
    """The one spelling of a value as JSON: keys sorted, no white space, UTF-8. Digests are taken of this."""
    return msgspec.json.encode(value, order="sorted")


def spec_from_json(text: bytes | str, where: str) -> ModelSpec:
    """Read a spec strictly.

    Raises:
        PackageError: unknown operation, field or version, a value out of range, parts that do not fit.
    """
    try:
        return msgspec.json.decode(text, type=ModelSpec)
    except (msgspec.DecodeError, RecursionError) as error:  # the second: braces within braces within braces
        raise PackageError(
            f"{where}: this is not a model specification that this version reads ({error}); "
            "a newer brain-edge may have written it"
        ) from error


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of ModelSpec, generated from the types."""
    schema = msgspec.json.schema(ModelSpec)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "ModelSpec", **schema}


def _problems(spec: ModelSpec) -> Iterator[str]:
    """What does not fit together, in words; the first one is raised."""
    yield from _repeated("sequence", [sequence.name for sequence in spec.inputs])
    yield from _repeated("stage", [stage.name for stage in spec.stages])
    yield from _repeated("label", [str(label.value) for label in spec.labels])
    fitted: set[str] = set()
    for position, stage in enumerate(spec.stages):
        earlier = {before.name for before in spec.stages[:position]}
        yield from _dangling(stage, earlier, fitted)
        yield from _misfit(stage, len(spec.inputs))
        yield from _undecided(stage)
    last = spec.stages[-1]
    if sum(isinstance(step, Restore) for step in last.after) != 1:
        yield f"stage {last.name!r} must restore its result to the caller's grid exactly once"
    table = set(spec.label_names())
    if unnamed := _written(last) - {0} - table:
        yield f"stage {last.name!r} writes labels that the table does not have: {sorted(unnamed)}"
    if unknown := {plausible.label for plausible in spec.plausible.labels} - table:
        yield f"plausible ranges name labels that the table does not have: {sorted(unknown)}"


def _repeated(what: str, names: list[str]) -> Iterator[str]:
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{what} {name!r} is there twice"


def _dangling(stage: Stage, earlier: set[str], fitted: set[str]) -> Iterator[str]:
    """References of a stage to what is not there; adds the statistics that it fits to `fitted`."""
    for step in stage.before:
        if isinstance(step, CropToStage) and step.stage not in earlier:
            yield f"stage {stage.name!r} crops to stage {step.stage!r}, which does not run before it"
        if isinstance(step, FitPercentile):
            fitted.add(step.name)
        for name in statistics_used(step):
            if name not in fitted:
                yield f"stage {stage.name!r} uses the statistic {name!r}, which nothing has fitted before"


def _misfit(stage: Stage, sequences: int) -> Iterator[str]:
    """Numbers of channels that do not fit each other."""
    if stage.network.channels_in != sequences:
        yield f"stage {stage.name!r} takes {stage.network.channels_in} channels, the model has {sequences} sequences"
    channels = stage.network.channels_out
    for step in stage.after:
        if isinstance(step, Argmax) and (channels < 2 or (step.values and len(step.values) != channels)):
            yield f"stage {stage.name!r} gives {len(step.values)} labels to {channels} channels"
        if isinstance(step, Threshold) and step.channel >= channels:
            yield f"stage {stage.name!r} thresholds channel {step.channel}, there are {channels}"
        if isinstance(step, Argmax | Threshold):
            channels = 1


def _undecided(stage: Stage) -> Iterator[str]:
    """Clean-up of what are not labels yet, or not labels any more after an interpolation between them."""
    decided = False
    for step in stage.after:
        if isinstance(step, Argmax | Threshold):
            decided = True
        elif isinstance(step, Restore):
            decided = decided and step.interpolation is Interpolation.NEAREST
        elif not decided:
            yield f"stage {stage.name!r} has the step {type(step).__name__} where there are no labels"
    if not decided:
        yield f"stage {stage.name!r} does not end with labels: decide with Argmax or Threshold, restore with nearest"


def _written(stage: Stage) -> set[int]:
    """The labels that a stage can give."""
    labels = {0}
    for step in stage.after:
        if isinstance(step, Argmax):
            labels = set(step.values or range(stage.network.channels_out))
        elif isinstance(step, Threshold):
            labels = {0, 1}
        elif isinstance(step, FillHoles):
            labels.add(step.value)
    return labels
