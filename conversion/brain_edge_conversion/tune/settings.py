"""What of a package can be made cheaper: a dial for each such thing, from the package's own setting to the cheapest.

Pure: from a specification to specifications. Whether a network can do what a setting asks of it, and what becomes of
the masks, is measured (`docs/decisions/0020-tune-counts-operations.md`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec
from msgspec import UNSET

from brain_edge.engine.execution import DECIDING_STEPS
from brain_edge.image.resample import Interpolation
from brain_edge.spec import SlidingWindow, StridedWindows, WholeVolume
from brain_edge.spec.steps import (
    CropAroundStage,
    CropOrPadTo,
    CropToForeground,
    CropToStage,
    GridStep,
    PadToMultiple,
    Placement,
    Region,
    ResampleToSpacing,
    ResizeInPlane,
    ResizeTo,
    Restore,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from brain_edge.spec import ModelSpec, Network, Stage

Setting: TypeAlias = tuple[int, ...]
"""The level of each dial; 0 is the package's own."""

OVERLAPS: Final = (0.5, 0.25, 0.0)
"""Of windows: what is tried below the package's own."""
LARGEST_MULTIPLE: Final = 32
"""What the sides of a whole volume are padded to, where windows say no less of a network: networks halve five times."""
HEAD_MARGIN_VOXELS: Final = 4
"""Around the box of the voxels that are not below the mean; on a network's grid of 1 to 1.5 mm, half a centimetre."""


class Arithmetic(StrEnum):
    """In which numbers the networks are computed."""

    OWN = "own"
    """As the package says."""
    BF16 = "bf16"
    """The same graphs in bf16, where the CPU computes it natively."""
    INT8 = "INT8"
    """The graphs of the INT8 package that was made of this one."""


@dataclass(frozen=True)
class Level:
    """One position of a dial: in words, and what it makes of a stage."""

    title: str
    change: Callable[[Stage], Stage]


@dataclass(frozen=True)
class Dial:
    """One thing that can be made cheaper.

    Attributes:
        title: what.
        stage: whose.
        levels: from the package's own to the cheapest; at least two.
        resamples: True where it changes resampling only, which is no operation of a network.
    """

    title: str
    stage: str
    levels: tuple[Level, ...]
    resamples: bool = False


@dataclass(frozen=True)
class Dials:
    """All settings of a package.

    Attributes:
        spec: as the package has it.
        dials: of the stages, in the order in which they run.
        arithmetic: the package's own first; the last dial of every setting, where there is more than one.
    """

    spec: ModelSpec
    dials: tuple[Dial, ...]
    arithmetic: tuple[Arithmetic, ...] = (Arithmetic.OWN,)

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many levels each dial of a setting has."""
        return (*(len(dial.levels) for dial in self.dials), len(self.arithmetic))

    @property
    def words(self) -> tuple[tuple[str, ...], ...]:
        """Every dial with the titles of its levels."""
        dials = ((dial.stage, *(level.title for level in dial.levels)) for dial in self.dials)
        return (*dials, tuple(map(str, self.arithmetic)))

    @property
    def full(self) -> Setting:
        """The package as it is."""
        return (0,) * len(self.sizes)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to tune."""
        return math.prod(self.sizes) == 1

    def numbers(self, setting: Setting) -> Arithmetic:
        """In which numbers a setting computes."""
        return self.arithmetic[setting[-1]]

    def changed(self, setting: Setting) -> ModelSpec:
        """The specification of a setting.

        Raises:
            ValueError: the steps do not fit together any more.
        """
        stages = []
        for stage in self.spec.stages:
            changed = stage
            for dial, level in zip(self.dials, setting, strict=False):
                if dial.stage == stage.name and level:
                    changed = dial.levels[level].change(changed)
            stages.append(changed)
        return msgspec.structs.replace(self.spec, stages=tuple(stages))

    def resampling(self, setting: Setting) -> int:
        """How much less resampling costs, in levels: decides only where networks do as much in two settings."""
        return sum(level for dial, level in zip(self.dials, setting, strict=False) if dial.resamples)

    def changes(self, setting: Setting) -> tuple[str, ...]:
        """What differs from the package, in words; empty for the package itself."""
        several = len(self.spec.stages) > 1
        words = [
            (f"{dial.stage}: " if several else "") + dial.levels[level].title
            for dial, level in zip(self.dials, setting, strict=False)
            if level
        ]
        return (*words, *([f"networks in {self.numbers(setting)}"] if setting[-1] else []))

    def title(self, setting: Setting) -> str:
        """The changes as one line."""
        return ", ".join(self.changes(setting)) or "the package as it is"


def dials_of(spec: ModelSpec, arithmetic: Sequence[Arithmetic] = (Arithmetic.OWN,)) -> Dials:
    """The dials of a specification, each with what is cheaper than its own setting; none where nothing is."""
    dials = [dial for stage in spec.stages for dial in _dials(stage) if len(dial.levels) > 1]
    return Dials(spec, tuple(dials), tuple(arithmetic))


def kept_members(network: Network, count: int) -> tuple[int, ...]:
    """Which graphs of an ensemble stay: those that count most, the first of equals, in their own order."""
    weights = network.member_weights
    if weights is UNSET:
        return tuple(range(count))
    by_weight = sorted(range(len(network.graphs)), key=lambda graph: (-weights[graph], graph))
    return tuple(sorted(by_weight[:count]))


def _dials(stage: Stage) -> Iterator[Dial]:
    name = stage.name
    yield Dial("members", name, tuple(_members(stage.network)))
    yield Dial("mirrorings", name, tuple(_mirrorings(stage.network)))
    yield Dial("windows", name, tuple(_windows(stage)))
    yield Dial("padding", name, tuple(_padding(stage)))
    yield Dial("crop", name, tuple(_crops(stage)))
    yield Dial("way in", name, tuple(_ways_in(stage)), resamples=True)
    yield Dial("way back", name, tuple(_ways_back(stage)), resamples=True)


def _as_it_is(stage: Stage) -> Stage:
    return stage


OWN: Final = Level("as it is", _as_it_is)


def _members(network: Network) -> Iterator[Level]:
    """Half as many, rounded up, down to one."""
    yield OWN
    count = len(network.graphs)
    while count > 1:
        count = -(-count // 2)
        yield Level(f"{count} of {len(network.graphs)} members", _with_members(kept_members(network, count)))


def _with_members(kept: tuple[int, ...]) -> Callable[[Stage], Stage]:
    def change(stage: Stage) -> Stage:
        network = stage.network
        weights = network.member_weights
        return _with_network(
            stage,
            graphs=tuple(network.graphs[graph] for graph in kept),
            member_weights=UNSET if weights is UNSET else tuple(weights[graph] for graph in kept),
        )

    return change


def _mirrorings(network: Network) -> Iterator[Level]:
    """Half as many, down to one; the plain run is the last to go."""
    yield OWN
    order = sorted(network.flips, key=lambda flip: flip != ())
    count = len(order)
    while count > 1:
        count //= 2
        yield Level(f"{count} of {len(order)} mirrorings", _with_flips(tuple(order[:count])))


def _with_flips(flips: tuple[tuple[int, ...], ...]) -> Callable[[Stage], Stage]:
    return lambda stage: _with_network(stage, flips=flips)


def _windows(stage: Stage) -> Iterator[Level]:
    """Windows that overlap less, then the whole volume at once."""
    yield OWN
    execution = stage.network.execution
    if isinstance(execution, StridedWindows) and execution.stride != execution.core:
        wider = msgspec.structs.replace(execution, stride=execution.core)
        yield Level("windows side by side", lambda stage: _with_network(stage, execution=wider))
    if not isinstance(execution, SlidingWindow):
        return
    for overlap in OVERLAPS:
        if overlap < execution.overlap:
            yield Level(f"windows that overlap by {overlap:.0%}", _with_overlap(overlap))
    yield Level("the whole volume instead of windows", _as_whole)


def _with_overlap(overlap: float) -> Callable[[Stage], Stage]:
    def change(stage: Stage) -> Stage:
        execution = msgspec.structs.replace(stage.network.execution, overlap=overlap)
        return _with_network(stage, execution=execution)

    return change


def _as_whole(stage: Stage) -> Stage:
    """All at once, padded with zeros (as windows are) to what the sides of the windows show that the network can do."""
    execution = stage.network.execution
    assert isinstance(execution, SlidingWindow)  # noqa: S101 - `_windows` offers this for nothing else
    multiple = math.gcd(*execution.shape, LARGEST_MULTIPLE)
    pad = PadToMultiple(multiple_of=multiple, placement=Placement.CENTRE)
    whole = _with_network(stage, execution=WholeVolume())
    return msgspec.structs.replace(whole, before=(*whole.before, pad)) if multiple > 1 else whole


def _padding(stage: Stage) -> Iterator[Level]:
    """No more padding than the network needs."""
    yield OWN
    if any(_pads_to_minimum(step) for step in stage.before):
        yield Level("padded to the multiple only", _without_minimum)


def _pads_to_minimum(step: object) -> bool:
    return isinstance(step, PadToMultiple) and any(least > step.multiple_of for least in step.minimum)


def _without_minimum(stage: Stage) -> Stage:
    before = [
        msgspec.structs.replace(step, minimum=(1, 1, 1)) if isinstance(step, PadToMultiple) else step
        for step in stage.before
    ]
    return msgspec.structs.replace(stage, before=tuple(before))


def _crops(stage: Stage) -> Iterator[Level]:
    """A box around the head, where the network would see the air beside it and nothing fixes what it sees."""
    yield OWN
    seen_whole = isinstance(stage.network.execution, WholeVolume | SlidingWindow)
    grids = [step for step in stage.before if isinstance(step, GridStep)]
    if not seen_whole or any(isinstance(step, CropToForeground | CropToStage | CropAroundStage) for step in grids):
        return
    last = next((step for step in reversed(grids) if not isinstance(step, PadToMultiple)), None)
    if not isinstance(last, ResizeTo | CropOrPadTo):
        yield Level("cropped to the head", _cropped)


def _cropped(stage: Stage) -> Stage:
    """Cropped behind everything that is fitted to the whole image, and before it is padded."""
    place = len(stage.before)
    while place and isinstance(stage.before[place - 1], PadToMultiple):
        place -= 1
    crop = CropToForeground(region=Region.ABOVE_MEAN, margin_voxels=HEAD_MARGIN_VOXELS)
    return msgspec.structs.replace(stage, before=(*stage.before[:place], crop, *stage.before[place:]))


def _ways_in(stage: Stage) -> Iterator[Level]:
    """Nearest neighbours instead of products of matrices; linear costs as much as cubic here, so it is not offered."""
    yield OWN
    if any(_interpolates(step) for step in stage.before):
        yield Level("resampled to nearest neighbours", _nearest_in)


def _interpolates(step: object) -> bool:
    return (
        isinstance(step, ResampleToSpacing | ResizeTo | ResizeInPlane)
        and step.interpolation is not Interpolation.NEAREST
    )


def _nearest_in(stage: Stage) -> Stage:
    before = [
        msgspec.structs.replace(step, interpolation=Interpolation.NEAREST)
        if isinstance(step, ResampleToSpacing | ResizeTo | ResizeInPlane)
        else step
        for step in stage.before
    ]
    return msgspec.structs.replace(stage, before=tuple(before))


def _ways_back(stage: Stage) -> Iterator[Level]:
    """Labels by nearest neighbours instead of interpolated probabilities."""
    yield OWN
    if _restores_probabilities(stage):
        yield Level("labels mapped back instead of probabilities", _labels_back)


def _restores_probabilities(stage: Stage) -> bool:
    first, *others = stage.after or (None,)
    interpolates = isinstance(first, Restore) and first.interpolation is not Interpolation.NEAREST
    return interpolates and bool(others) and isinstance(others[0], DECIDING_STEPS)


def _labels_back(stage: Stage) -> Stage:
    _, decide, *others = stage.after
    return msgspec.structs.replace(stage, after=(decide, Restore(interpolation=Interpolation.NEAREST), *others))


def _with_network(stage: Stage, **changes: object) -> Stage:
    return msgspec.structs.replace(stage, network=msgspec.structs.replace(stage.network, **changes))
