"""Dials of a package: each has levels from the package's own setting to the cheapest.

Pure functions from a specification to specifications. Measurements show whether a network can run with a setting, and
how the masks change (`docs/decisions/0020-tune-counts-operations.md`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec
from msgspec import UNSET

from brain_edge.image.resample import Interpolation
from brain_edge.spec.plan import fixed_sides
from brain_edge.spec.steps import CropToForeground, PadToMultiple, Placement, Region, Restore
from brain_edge.spec.steps.step import Saving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from brain_edge.spec import ModelSpec, Network, Stage
    from brain_edge.spec.execution import Cheaper

Setting: TypeAlias = tuple[int, ...]
"""Level of each dial; 0 is the package's own level."""

HEAD_MARGIN_VOXELS: Final = 4
"""Margin around the bounding box of the voxels at or above the mean: about 5 mm on a network's grid of 1 to 1.5 mm."""


class Arithmetic(StrEnum):
    """Number format in which the networks run."""

    OWN = "own"
    """The package's own precision."""
    BF16 = "bf16"
    """The same graphs in bf16, on a CPU with native bf16."""
    INT8 = "INT8"
    """The graphs of the INT8 package that was made from this package."""


@dataclass(frozen=True)
class Level:
    """One level of a dial: its title, and its change of a stage."""

    title: str
    change: Callable[[Stage], Stage]


@dataclass(frozen=True)
class Dial:
    """One property of a package that can be made cheaper.

    Attributes:
        title: name of the dial.
        stage: stage that the dial changes.
        levels: levels from the package's own to the cheapest, at least two.
        resamples: True if the dial changes only resampling, which is not counted as an operation of a network.
    """

    title: str
    stage: str
    levels: tuple[Level, ...]
    resamples: bool = False


@dataclass(frozen=True)
class Dials:
    """Dials of a package, which span all its settings.

    Attributes:
        spec: specification of the package.
        dials: dials of the stages, in running order.
        arithmetic: number formats, the package's own first; if there are several, they are the last dial.
    """

    spec: ModelSpec
    dials: tuple[Dial, ...]
    arithmetic: tuple[Arithmetic, ...] = (Arithmetic.OWN,)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of levels of each dial."""
        return (*(len(dial.levels) for dial in self.dials), len(self.arithmetic))

    @property
    def words(self) -> tuple[tuple[str, ...], ...]:
        """Title of every dial with the titles of its levels."""
        dials = ((dial.stage, *(level.title for level in dial.levels)) for dial in self.dials)
        return (*dials, tuple(map(str, self.arithmetic)))

    @property
    def full(self) -> Setting:
        """The package as it is."""
        return (0,) * len(self.sizes)

    @property
    def is_empty(self) -> bool:
        """True if there is nothing to tune."""
        return math.prod(self.sizes) == 1

    def numbers(self, setting: Setting) -> Arithmetic:
        """Return the number format of a setting."""
        return self.arithmetic[setting[-1]]

    def changed(self, setting: Setting) -> ModelSpec:
        """Return the specification of a setting.

        Raises:
            ValueError: the steps no longer fit together.
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
        """Return the saving in resampling, in levels; it decides only between settings with equal operations."""
        return sum(level for dial, level in zip(self.dials, setting, strict=False) if dial.resamples)

    def changes(self, setting: Setting) -> tuple[str, ...]:
        """Return the differences from the package, in words; empty for the package itself."""
        several = len(self.spec.stages) > 1
        words = [
            (f"{dial.stage}: " if several else "") + dial.levels[level].title
            for dial, level in zip(self.dials, setting, strict=False)
            if level
        ]
        return (*words, *([f"networks in {self.numbers(setting)}"] if setting[-1] else []))

    def title(self, setting: Setting) -> str:
        """Return the changes as one line."""
        return ", ".join(self.changes(setting)) or "the package as it is"


def dials_of(spec: ModelSpec, arithmetic: Sequence[Arithmetic] = (Arithmetic.OWN,)) -> Dials:
    """Return the dials of a specification that have a level cheaper than the package's own."""
    dials = [dial for stage in spec.stages for dial in _dials(stage) if len(dial.levels) > 1]
    return Dials(spec, tuple(dials), tuple(arithmetic))


def kept_members(network: Network, count: int) -> tuple[int, ...]:
    """Return the indices of the graphs of an ensemble that stay: largest weights, first among equals, in order."""
    weights = network.member_weights
    if weights is UNSET:
        return tuple(range(count))
    by_weight = sorted(range(len(network.graphs)), key=lambda graph: (-weights[graph], graph))
    return tuple(sorted(by_weight[:count]))


OWN: Final = Level("as it is", lambda stage: stage)


def _dials(stage: Stage) -> Iterator[Dial]:
    def dial(title: str, cheaper: Iterator[Level], *, resamples: bool = False) -> Dial:
        return Dial(title, stage.name, (OWN, *cheaper), resamples)

    yield dial("members", _members(stage.network))
    yield dial("mirrorings", _mirrorings(stage.network))
    yield dial("windows", _windows(stage))
    yield dial("padding", _saved(stage, Saving.PADDING, "padded to the multiple only"))
    yield dial("crop", _crops(stage))
    yield dial("way in", _saved(stage, Saving.RESAMPLING, "resampled to nearest neighbours"), resamples=True)
    yield dial("way back", _ways_back(stage), resamples=True)


def _members(network: Network) -> Iterator[Level]:
    """Yield levels with half as many members each, rounded up, down to one."""
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
    """Yield levels with half as many mirrorings each, down to one; the unmirrored run always stays."""
    order = sorted(network.flips, key=lambda flip: flip != ())
    count = len(order)
    while count > 1:
        count //= 2
        yield Level(f"{count} of {len(order)} mirrorings", partial(_with_network, flips=tuple(order[:count])))


def _windows(stage: Stage) -> Iterator[Level]:
    """Yield the cheaper executions: windows with less overlap, then the whole volume at once."""
    for cheaper in stage.network.execution.cheaper():
        yield Level(cheaper.title, _run_as(cheaper))


def _run_as(cheaper: Cheaper) -> Callable[[Stage], Stage]:
    def change(stage: Stage) -> Stage:
        changed = _with_network(stage, execution=cheaper.execution)
        if cheaper.multiple_of == 1:
            return changed
        pad = PadToMultiple(multiple_of=cheaper.multiple_of, placement=Placement.CENTRE)
        return msgspec.structs.replace(changed, before=(*changed.before, pad))

    return change


def _saved(stage: Stage, saving: Saving, title: str) -> Iterator[Level]:
    """Yield one level with the cheaper forms of all steps before the network."""

    def change(stage: Stage) -> Stage:
        before = tuple(step.cheaper().get(saving, step) for step in stage.before)
        return msgspec.structs.replace(stage, before=before)

    if any(saving in step.cheaper() for step in stage.before):
        yield Level(title, change)


def _crops(stage: Stage) -> Iterator[Level]:
    """Yield a crop to the head if the network sees the air around it and no step fixes the size of its input."""
    follows = any(step.follows_content for step in stage.before)
    fixed = fixed_sides(step for step in stage.before if not step.only_pads) is not None
    if stage.network.execution.takes_any_box and not follows and not fixed:
        yield Level("cropped to the head", _cropped)


def _cropped(stage: Stage) -> Stage:
    """Insert the crop after all steps that are fitted to the whole image, and before the padding."""
    place = len(stage.before)
    while place and stage.before[place - 1].only_pads:
        place -= 1
    crop = CropToForeground(region=Region.ABOVE_MEAN, margin_voxels=HEAD_MARGIN_VOXELS)
    return msgspec.structs.replace(stage, before=(*stage.before[:place], crop, *stage.before[place:]))


def _ways_back(stage: Stage) -> Iterator[Level]:
    """Yield a level that maps labels back by nearest neighbours instead of interpolating probabilities."""
    first, *others = stage.after or (None,)
    interpolation = None if first is None else first.way_back()
    if interpolation not in (None, Interpolation.NEAREST) and others and others[0].decides:
        yield Level("labels mapped back instead of probabilities", _labels_back)


def _labels_back(stage: Stage) -> Stage:
    _, decide, *others = stage.after
    return msgspec.structs.replace(stage, after=(decide, Restore(interpolation=Interpolation.NEAREST), *others))


def _with_network(stage: Stage, **changes: object) -> Stage:
    return msgspec.structs.replace(stage, network=msgspec.structs.replace(stage.network, **changes))
