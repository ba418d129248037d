"""What of a package can be made cheaper: a dial for each such thing, from the package's own setting to the cheapest.

Pure: from a specification to specifications. Whether a network can do what a setting asks of it, and what becomes of
the masks, is measured (`docs/decisions/0020-tune-counts-operations.md`).
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
"""The level of each dial; 0 is the package's own."""

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
    """Half as many, rounded up, down to one."""
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
    order = sorted(network.flips, key=lambda flip: flip != ())
    count = len(order)
    while count > 1:
        count //= 2
        yield Level(f"{count} of {len(order)} mirrorings", partial(_with_network, flips=tuple(order[:count])))


def _windows(stage: Stage) -> Iterator[Level]:
    """What the execution says is cheaper: windows that overlap less, then the whole volume at once."""
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
    """What the steps before the network say is cheaper, all at once."""

    def change(stage: Stage) -> Stage:
        before = tuple(step.cheaper().get(saving, step) for step in stage.before)
        return msgspec.structs.replace(stage, before=before)

    if any(saving in step.cheaper() for step in stage.before):
        yield Level(title, change)


def _crops(stage: Stage) -> Iterator[Level]:
    """A box around the head, where the network would see the air beside it and nothing fixes what it sees."""
    follows = any(step.follows_content for step in stage.before)
    fixed = fixed_sides(step for step in stage.before if not step.only_pads) is not None
    if stage.network.execution.takes_any_box and not follows and not fixed:
        yield Level("cropped to the head", _cropped)


def _cropped(stage: Stage) -> Stage:
    """Cropped behind everything that is fitted to the whole image, and before it is padded."""
    place = len(stage.before)
    while place and stage.before[place - 1].only_pads:
        place -= 1
    crop = CropToForeground(region=Region.ABOVE_MEAN, margin_voxels=HEAD_MARGIN_VOXELS)
    return msgspec.structs.replace(stage, before=(*stage.before[:place], crop, *stage.before[place:]))


def _ways_back(stage: Stage) -> Iterator[Level]:
    """Labels by nearest neighbours instead of interpolated probabilities."""
    first, *others = stage.after or (None,)
    interpolation = None if first is None else first.way_back()
    if interpolation not in (None, Interpolation.NEAREST) and others and others[0].decides:
        yield Level("labels mapped back instead of probabilities", _labels_back)


def _labels_back(stage: Stage) -> Stage:
    _, decide, *others = stage.after
    return msgspec.structs.replace(stage, after=(decide, Restore(interpolation=Interpolation.NEAREST), *others))


def _with_network(stage: Stage, **changes: object) -> Stage:
    return msgspec.structs.replace(stage, network=msgspec.structs.replace(stage.network, **changes))
