"""Base classes of steps: parameters, a function, and the facts that the rest of the program needs.

The base class of a step determines its place: `GridStep`, `IntensityStep` or `ChannelStep` before the network,
`DecodeStep`, `CombineStep` or `CleanStep` after it. No code outside of a step depends on the class of the step.
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

    from brain_edge.image.geometry import Geometry, Shape
    from brain_edge.spec.execution import Activation
    from brain_edge.spec.steps.frame import Array, Frame

Sources: TypeAlias = tuple[tuple[int, ...], ...]
"""Channels of the network's output whose probabilities add up to each channel."""

StatisticName = Annotated[str, msgspec.Meta(description="The name of a statistic that an earlier step has fitted.")]
FittedName = Annotated[str, msgspec.Meta(description="The name under which a statistic is fitted.")]
StageName = Annotated[str, msgspec.Meta(description="The name of an earlier stage.")]
LabelValue = Annotated[int, msgspec.Meta(ge=0, le=255)]
Copies: TypeAlias = "tuple[Array, Array, Array]"
"""Number of copies of each plane of voxels along I, J and K; a voxel has the product of its three numbers."""
Bound: TypeAlias = float | StatisticName
"""Constant, or name of a statistic that an earlier step has fitted."""


class Scope(Enum):
    """Part of the volume that a step needs in order to work on a piece of it."""

    VOLUME = auto()
    """Whole volume: the step uses neighbours, grids or components, or `apply` adds to the frame."""
    FITTED = auto()
    """Whole volume for `Step.fitted` only; the function that it returns changes each voxel separately."""
    VOXEL = auto()
    """Single voxel: `apply` changes each voxel separately, with the statistics of its frame."""


class Saving(StrEnum):
    """Cost that a cheaper step saves."""

    PADDING = "padding"
    """Padding: voxels that were only added."""
    RESAMPLING = "resampling"
    """Interpolation: the nearest voxel is taken instead."""


def _snake_case(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")


@cache
def _declared(step: type[Step], kind: object) -> tuple[str, ...]:
    """Return the parameters of a step whose type contains `kind`, such as `Bound | None` or `tuple[Bound, ...]`."""

    def occurs(declared: object) -> bool:
        return declared == kind or any(occurs(part) for part in get_args(declared))

    return tuple(field.name for field in msgspec.structs.fields(step) if occurs(field.type))


def _names(value: object) -> Iterator[str]:
    """Yield the names in the value of a parameter, which may be a tuple."""
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

    The facts describe the result for any image (`outcome`), the inputs of the step, whether it can be applied to a part
    of a volume, and cheaper alternatives. Each fact has a default that is always correct but never fast; a step
    overrides the facts that make it faster or cheaper. Specifications are checked, planned, tuned and converted by
    these facts alone.

    `version` grows when the meaning of an operation changes. A package with a version that this program does not know
    is refused when it is read.
    """

    scope: ClassVar[Scope] = Scope.VOLUME
    """Part of the volume that the step needs."""
    decides: ClassVar[bool] = False
    """True if the step makes labels (1, I, J, K) from numbers (C, I, J, K)."""
    only_pads: ClassVar[bool] = False
    """True if all voxels stay, at the same world positions."""
    follows_content: ClassVar[bool] = False
    """True if the step crops to a box that it finds from the content of the image."""
    takes_labels: ClassVar[bool] = False
    """True if the findings of the stages that the step uses must be labels."""
    stage_verb: ClassVar[str] = "uses"
    """Verb in messages for the use of other stages."""

    version: Literal[1] = 1

    def apply(self, frame: Frame) -> Frame:
        """Return the frame after this step; the given frame is not changed."""
        raise NotImplementedError(type(self).__name__)

    def fitted(self, frame: Frame) -> Callable[[Array], Array]:
        """Return the step as a function of any part (C, i, j, k) of a frame; only for scopes other than the volume."""
        return lambda part: self.apply(frame.with_voxels(part)).voxels

    def fitted_to_copies(self, frame: Frame, copies: Copies) -> Callable[[Array], Array]:  # noqa: ARG002
        """Return `fitted` for the volume in which each voxel of the frame occurs several times (`counts_copies`)."""
        return self.fitted(frame)

    @property
    def counts_copies(self) -> bool:
        """True if the step can be fitted before the voxels are copied to a finer grid."""
        return self.scope is Scope.VOXEL

    @property
    def copies_to(self) -> Shape | None:
        """Sides (I, J, K) of the grid to which the step copies voxels of another; None if it does anything else."""
        return None

    def outcome(self, before: KnownFrame) -> KnownFrame:
        """Return the known channels and labels after `apply` on a frame of which `before` is known.

        Raises:
            MisfitError: the step cannot stand at this place.
        """
        return before

    def sides_after(self, before: Shape | None) -> Shape | None:
        """Return the sides (I, J, K) after the step for known sides, or None, before it; None if the image decides."""
        return before

    def grid_after(self, before: Geometry) -> Geometry:
        """Return the largest grid after the step for an image on the grid `before`; by default the same grid."""
        return before

    def channels_of(self, sources: Sources) -> Sources | Mapping[int, tuple[int, ...]]:  # noqa: ARG002
        """Return the network's channels that add up to each channel after the step, given `sources` before it.

        A step that makes labels returns them by label; empty if no sum of channels is the probability of a label.
        """
        return {}

    def statistics_used(self) -> tuple[str, ...]:
        """Statistics that the step uses: each name in a parameter that is declared as `Bound` or `StatisticName`."""
        return self._named(StatisticName)

    def statistics_fitted(self) -> tuple[str, ...]:
        """Statistics that the step adds to the frame: each name in a parameter that is declared as `FittedName`."""
        return self._named(FittedName)

    def _named(self, kind: object) -> tuple[str, ...]:
        return tuple(name for field in _declared(type(self), kind) for name in _names(getattr(self, field)))

    def stages_used(self) -> tuple[str, ...]:
        """Earlier stages whose findings the step uses: each name in a parameter that is declared with `StageName`."""
        return self._named(StageName)

    def label_values(self) -> tuple[int, ...] | None:
        """Return the values of the label map that the step takes; None if it takes numbers."""
        return None

    def way_back(self) -> Interpolation | None:
        """Return the interpolation with which the step undoes every move of the stage; None for any other step."""
        return None

    @property
    def takes_stripped(self) -> bool:
        """True if the step is for images with 0 outside of the brain."""
        return False

    def affine(self) -> tuple[float, float] | None:
        """Return (multiply, add) if the step computes x * multiply + add of every voxel; else None."""
        return None

    def on_logits(self, activation: Activation) -> Self | None:  # noqa: ARG002 - of those that have none
        """Return the step that makes the same decision before the activation, on logits; None if there is none."""
        return None

    def on_foreground(self) -> Step | None:
        """Return the step that makes the same decision on the second of two channels that sum to one, or None."""
        return None

    def cheaper(self) -> Mapping[Saving, Step]:
        """Return cheaper steps that may replace this one, by their saving."""
        return {}


class GridStep(Step, frozen=True):
    """A step before the network that moves the voxels to another grid, and records the way back."""

    def sides_after(self, before: Shape | None) -> Shape | None:  # noqa: ARG002 - of those that leave fixed ones
        """Return None: by default the image decides."""
        return None

    def cheaper(self) -> Mapping[Saving, Step]:
        """Return the step with nearest interpolation, if it interpolates; linear costs as much as cubic here."""
        nearest = dict.fromkeys(_declared(type(self), Interpolation), Interpolation.NEAREST)
        changed = msgspec.structs.replace(self, **nearest)
        return {} if changed == self else {Saving.RESAMPLING: changed}


class IntensityStep(Step, frozen=True):
    """A step before the network that changes intensities channel by channel, or fits a statistic for another step."""

    @property
    def takes_stripped(self) -> bool:
        """True if the step has a parameter `region` and computes over voxels that are not 0."""
        return getattr(self, "region", None) == "nonzero"


class ChannelStep(Step, frozen=True):
    """A step before the network that adds channels."""


class DecodeStep(Step, frozen=True):
    """A step after the network that leads from its output to labels on the caller's grid."""


class CombineStep(Step, frozen=True):
    """A step after the network that combines the findings of several stages."""


class CleanStep(Step, frozen=True):
    """A step after the network that cleans up a label map."""

    def outcome(self, before: KnownFrame) -> KnownFrame:
        """Return the same labels and those that the step writes: each parameter that is declared as `LabelValue`."""
        written = {getattr(self, name) for name in _declared(type(self), LabelValue)}
        return before.with_labels(one_label_map(before, self) | written)
