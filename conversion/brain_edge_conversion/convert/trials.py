"""Specifications that differ by one likely mistake: other axes, another normalisation, another channel."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import permutations, product
from typing import TYPE_CHECKING, Final

import msgspec

from brain_edge.image.geometry import AXIS_PAIRS, axis_moves
from brain_edge.spec.steps import (
    Clip,
    FitPercentile,
    IntensityStep,
    Linear,
    Normalise,
    Orient,
    Region,
    RescaleToUnit,
    Threshold,
    TransposeAxes,
    ZScore,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from brain_edge.image.geometry import AxisMoves
    from brain_edge.spec import ModelSpec, Stage
    from brain_edge.spec.steps import BeforeStep

LIKELY: Final = ("RAS", "SPL", "LPS", "SAR", "LAS", "LIA")
"""Axes of nibabel's canonical image, SimpleITK's array, ITK, nnU-Net's reorientation, FSL and FreeSurfer."""
ORIENTATIONS: Final = tuple(
    "".join(AXIS_PAIRS[world][up] for world, up in zip(order, signs, strict=True))
    for order in permutations(range(3))
    for signs in product((1, 0), repeat=3)
)
"""The 48 orientations: 6 orders of the axes, 8 flips of each."""

_LOW, _HIGH = FitPercentile(name="low", percent=0.5), FitPercentile(name="high", percent=99.5)
_LEAST, _MOST = FitPercentile(name="least", percent=0.0), FitPercentile(name="greatest", percent=100.0)

NORMALISATIONS: Final[dict[str, tuple[BeforeStep, ...]]] = {
    "z_score over all voxels": (ZScore(),),
    "z_score over the voxels that are not 0": (ZScore(region=Region.NONZERO),),
    "fit_percentile 0 and 100, then rescale_to_unit": (_LEAST, _MOST, RescaleToUnit(lower="least", upper="greatest")),
    "fit_percentile 0.5 and 99.5, then rescale_to_unit": (_LOW, _HIGH, RescaleToUnit(lower="low", upper="high")),
    "fit_percentile 0.5 and 99.5, clip, then z_score": (_LOW, _HIGH, Clip(lower="low", upper="high"), ZScore()),
    "fit_percentile 100, then normalise that divides by it": (_MOST, Normalise(divide="greatest")),
    "linear that divides by 255": (Linear(multiply=1 / 255),),
    "no normalisation": (),
}
"""Common normalisations, by the steps that write them."""


@dataclass(frozen=True)
class Trial:
    """A specification to try.

    Attributes:
        remedy: change that a user has to make, in words.
        spec: specification with this change.
    """

    remedy: str
    spec: ModelSpec


def trials(spec: ModelSpec, stored: str) -> Iterator[Trial]:
    """Yield the specification with one change: likely axes, other intensities and channels, then all other axes.

    Args:
        spec: specification that does not fit.
        stored: orientation in which the head is stored.
    """
    given = seen_axes(spec.stages[0], stored)
    likely = dict.fromkeys((stored, stored[::-1], *LIKELY, *_flips_of(given)))
    yield from _other_axes(spec, stored, likely)
    for words, steps in NORMALISATIONS.items():
        yield from _made(f"normalise by {words}", spec, partial(_normalised, steps=steps))
    yield from _other_channels(spec)
    yield from _other_axes(spec, stored, (axes for axes in ORIENTATIONS if axes not in likely))


def _made(remedy: str, spec: ModelSpec, change: Callable[[Stage], Stage]) -> Iterator[Trial]:
    """Yield the trial with a change of each stage, if it makes a specification other than the given one."""
    try:
        changed = msgspec.structs.replace(spec, stages=tuple(map(change, spec.stages)))
    except ValueError:  # parts that do not fit together are no candidate
        return
    if changed != spec:
        yield Trial(remedy, changed)


def _other_axes(spec: ModelSpec, stored: str, orientations: Iterable[str]) -> Iterator[Trial]:
    """Yield the specification with each of some orientations of the network's axes."""
    given = seen_axes(spec.stages[0], stored)
    for axes in orientations:
        moves = axis_moves(given, axes)
        remedy = f'write {{"op": "orient", "axes": "{axes}"}} ({in_words(moves)})'
        yield from _made(remedy, spec, partial(_turned, moves=moves, stored=stored))


def _flips_of(axes: str) -> Iterator[str]:
    """Yield an orientation with one axis flipped."""
    for axis in range(3):
        yield axes[:axis] + _opposite(axes[axis]) + axes[axis + 1 :]


def _opposite(letter: str) -> str:
    pair = next(pair for pair in AXIS_PAIRS if letter in pair)
    return pair.replace(letter, "")


def seen_axes(stage: Stage, stored: str) -> str:
    """Return the orientation of the axes that a network sees of an image that is stored in another one."""
    axes = stored
    for step in stage.before:
        if isinstance(step, Orient):
            axes = step.axes
        elif isinstance(step, TransposeAxes):
            axes = "".join(axes[old] for old in step.axes)
    return axes


def in_words(moves: AxisMoves) -> str:
    """Return the change of the network's axes in words, which count from 1."""
    order = [axis + 1 for axis, _ in moves]
    flipped = [str(new + 1) for new, (_, flip) in enumerate(moves) if flip]
    words = [] if order == [1, 2, 3] else [f"axes in the order {' '.join(map(str, order))}"]
    if flipped:
        words.append(f"{'axis' if len(flipped) == 1 else 'axes'} {' and '.join(flipped)} flipped")
    return ", ".join(words) or "as they are"


def _turned(stage: Stage, moves: AxisMoves, stored: str) -> Stage:
    """Return a stage whose network sees other axes; sizes and spacings keep their places."""
    given, before = seen_axes(stage, stored), stage.before
    axes = "".join(_opposite(given[old]) if flip else given[old] for old, flip in moves)
    places = [place for place, step in enumerate(before) if isinstance(step, Orient | TransposeAxes)]
    last = places[-1] if places else 0
    return msgspec.structs.replace(
        stage, before=(*before[:last], Orient(axes=axes), *before[last + 1 if places else last :])
    )


def _normalised(stage: Stage, steps: tuple[BeforeStep, ...]) -> Stage:
    """Return a stage with other intensity steps, where the first of them stood, or else before the padding."""
    before = stage.before
    found = [place for place, step in enumerate(before) if isinstance(step, IntensityStep)]
    pads = [place for place, step in enumerate(before) if step.only_pads]
    first = (found or pads or [len(before)])[0]
    others = tuple(step for step in before[first:] if not isinstance(step, IntensityStep))
    return msgspec.structs.replace(stage, before=(*before[:first], *steps, *others))


def _other_channels(spec: ModelSpec) -> Iterator[Trial]:
    """Yield the specification with a threshold of each other channel of its last network."""
    last = spec.stages[-1]
    for place, step in enumerate(last.after):
        if isinstance(step, Threshold):
            for channel in range(last.network.channels_out):
                decided = msgspec.structs.replace(step, channel=channel)
                after = (*last.after[:place], decided, *last.after[place + 1 :])
                remedy = f"threshold channel {channel} of the network"
                yield from _made(remedy, spec, partial(_replaced, changed=msgspec.structs.replace(last, after=after)))


def _replaced(stage: Stage, changed: Stage) -> Stage:
    """Return the changed stage in the place of the one with its name."""
    return changed if stage.name == changed.name else stage
