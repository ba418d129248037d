"""What every step states of itself: its parameters, its function, and what the rest of the program must know of it.

The base class of a step is its place: before the network `GridStep`, `IntensityStep` or `ChannelStep`, after it
`DecodeStep`, `CombineStep` or `CleanStep`. Nothing outside of a step asks which step it is.
"""

from __future__ import annotations

from enum import Enum, StrEnum, auto
from functools import cache
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self, TypeAlias, get_args

import msgspec

from brain_edge.image.resample import Interpolation
from brain_edge.spec.steps.known_frame import KnownFrame, one_label_map

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from brain_edge.image.geometry import Shape
    from brain_edge.spec.execution import Activation
    from brain_edge.spec.steps.frame import Array, Frame

Sources: TypeAlias = tuple[tuple[int, ...], ...]
"""For each channel those of the network's output whose probabilities add up to it."""

StatisticName = Annotated[str, msgspec.Meta(description="The name of a statistic that an earlier step has fitted.")]
FittedName = Annotated[str, msgspec.Meta(description="The name under which a statistic is fitted.")]
StageName = Annotated[str, msgspec.Meta(description="The name of an earlier stage.")]
LabelValue = Annotated[int, msgspec.Meta(ge=0, le=255)]
Bound: TypeAlias = float | StatisticName
"""A constant, or the name of a statistic that an earlier step has fitted."""


class Scope(Enum):
    """How much of a volume has to be there for a step to work on a part of it."""

    VOLUME = auto()
    """All of it: neighbours, grids, components, or what `apply` adds to the frame."""
    FITTED = auto()
    """All of it for `Step.fitted`, and nothing more: what that returns changes each voxel by itself."""
    VOXEL = auto()
    """Nothing: `apply` changes each voxel by itself, with the statistics of its frame."""


class Saving(StrEnum):
    """What a cheaper step in the place of another saves."""

    PADDING = "padding"
    """Voxels that were only added."""
    RESAMPLING = "resampling"
    """Interpolation: the nearest voxel is taken."""


def _snake_case(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")


@cache
def _declared(step: type[Step], kind: object) -> tuple[str, ...]:
    """The parameters of a step in whose type `kind` occurs, such as in `Bound | None` or `tuple[Bound, ...]`."""

    def occurs(declared: object) -> bool:
        return declared == kind or any(occurs(part) for part in get_args(declared))

    return tuple(field.name for field in msgspec.structs.fields(step) if occurs(field.type))


def _names(value: object) -> Iterator[str]:
    """The names in the value of a parameter, which may be a tuple."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, tuple):
        for part in value:
            yield from _names(part)


class Step(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="op",
    tag=_snake_case,
):
    """Base of every step: parameters that serialise as `{"op": ..., "version": ..., ...}`, one function, and facts.

    The facts are what else the program must know: what is left of any image (`outcome`), what it looks at, whether it
    can be applied to a part of a volume, what would be cheaper. Each has a default that is always right and never
    fast, so a step states those that make it more. Specifications are checked, planned, tuned and converted with these
    alone.

    `version` grows when the meaning of an operation changes; a package that names a version this program does
    not know is refused when it is read.
    """

    scope: ClassVar[Scope] = Scope.VOLUME
    """How much of the volume it must see."""
    decides: ClassVar[bool] = False
    """It makes labels (1, I, J, K) of numbers (C, I, J, K)."""
    only_pads: ClassVar[bool] = False
    """All that was there stays, and stays where it is in the world."""
    follows_content: ClassVar[bool] = False
    """It looks for what is in the image and leaves a box around that."""
    takes_labels: ClassVar[bool] = False
    """The stages that it looks at must have left labels."""
    stage_verb: ClassVar[str] = "uses"
    """What it does with the stages it looks at, as a message says it."""

    version: Literal[1] = 1

    def apply(self, frame: Frame) -> Frame:
        """The frame after this step; the frame given is not changed."""
        raise NotImplementedError(type(self).__name__)

    def fitted(self, frame: Frame) -> Callable[[Array], Array]:
        """The step for any part (C, i, j, k) of the voxels of a frame, where its scope is not the volume."""
        return lambda part: self.apply(frame.with_voxels(part)).voxels

    def outcome(self, before: KnownFrame) -> KnownFrame:
        """What `apply` makes of a frame of which only `before` is known: channels, and labels.

        Raises:
            MisfitError: the step cannot stand here.
        """
        return before

    def sides_after(self, before: Shape | None) -> Shape | None:
        """Sides (I, J, K) that it leaves of known ones or of None, whatever the image; None where that decides."""
        return before

    def channels_of(self, sources: Sources) -> Sources | Mapping[int, tuple[int, ...]]:  # noqa: ARG002
        """Which channels of the network add up to what it leaves, of those that add up to what reaches it.

        Where it makes labels, by label; empty where no sum of channels is the probability of a label.
        """
        return {}

    def statistics_used(self) -> tuple[str, ...]:
        """The statistics it refers to: each name in a parameter that is declared as a `Bound` or `StatisticName`."""
        return self._named(StatisticName)

    def statistics_fitted(self) -> tuple[str, ...]:
        """The statistics it adds to the frame: each name in a parameter that is declared as a `FittedName`."""
        return self._named(FittedName)

    def _named(self, kind: object) -> tuple[str, ...]:
        return tuple(name for field in _declared(type(self), kind) for name in _names(getattr(self, field)))

    def stages_used(self) -> tuple[str, ...]:
        """Earlier stages whose findings it looks at: each name in a parameter that is declared with `StageName`."""
        return self._named(StageName)

    def label_values(self) -> tuple[int, ...] | None:
        """The values of the label map that it takes; None where it takes numbers."""
        return None

    def way_back(self) -> Interpolation | None:
        """How every move of the stage is undone, where that is what it does; None where it does something else."""
        return None

    def affine(self) -> tuple[float, float] | None:
        """(multiply, add), where all that it does to any voxel is x * multiply + add; None elsewhere."""
        return None

    def on_logits(self, activation: Activation) -> Self | None:  # noqa: ARG002 - of those that have none
        """The same decision on what the activation is applied to; None where there is none."""
        return None

    def on_foreground(self) -> Step | None:
        """The same decision on the second of two channels that sum to one; None where there is none."""
        return None

    def cheaper(self) -> Mapping[Saving, Step]:
        """What may stand in its place and costs less, by what that saves."""
        return {}


class GridStep(Step, frozen=True):
    """A step before the network that moves the voxels to another grid, and remembers the way back."""

    def sides_after(self, before: Shape | None) -> Shape | None:  # noqa: ARG002 - of those that leave fixed ones
        """Unless a step says more, the image decides."""
        return None

    def cheaper(self) -> Mapping[Saving, Step]:
        """The nearest voxel, where a parameter is an `Interpolation`; linear costs as much as cubic here."""
        nearest = dict.fromkeys(_declared(type(self), Interpolation), Interpolation.NEAREST)
        changed = msgspec.structs.replace(self, **nearest)
        return {} if changed == self else {Saving.RESAMPLING: changed}


class IntensityStep(Step, frozen=True):
    """A step before the network that changes intensities channel by channel, or fits what another one uses."""


class ChannelStep(Step, frozen=True):
    """A step before the network that makes more channels."""


class DecodeStep(Step, frozen=True):
    """A step after the network on the way from its output to labels on the caller's grid."""


class CombineStep(Step, frozen=True):
    """A step after the network that puts the findings of several stages together."""


class CleanStep(Step, frozen=True):
    """A step after the network that mends a label map."""

    def outcome(self, before: KnownFrame) -> KnownFrame:
        """The same labels, and those it writes: each parameter that is declared as a `LabelValue`."""
        written = {getattr(self, name) for name in _declared(type(self), LabelValue)}
        return before.with_labels(one_label_map(before, self) | written)
