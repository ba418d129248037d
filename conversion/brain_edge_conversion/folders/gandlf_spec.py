"""Translation of a GaNDLF configuration to a ModelSpec: the steps of `gandlf run --infer`."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from brain_edge.errors import InputError
from brain_edge.image.resample import Interpolation
from brain_edge.spec import Blending, Label, ModelSpec, Network, Sequence, SlidingWindow, Stage, Starts, Task
from brain_edge.spec.steps import (
    Clip,
    FitMoment,
    FitPercentile,
    Linear,
    Moment,
    Normalise,
    Orient,
    PaintedRegion,
    PaintRegions,
    Region,
    RescaleToUnit,
    Restore,
    ZScore,
)
from brain_edge_conversion.folders.gandlf_config import EITHER, ELSEWHERE, classes, entries, patch_sides
from brain_edge_conversion.folders.reading import plain_names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from brain_edge.spec.steps import BeforeStep
    from brain_edge_conversion.folders.gandlf_config import GandlfConfiguration, Model

GRAPH: Final = "network"
HALF: Final = float(np.nextafter(np.float32(0.5), np.float32(0)))
"""Threshold just below one half: a voxel of exactly one half belongs to the class (`reverse_one_hot`)."""
BLENDINGS: Final = {"crop": Blending.LAST, "average": Blending.CONSTANT}
IN_TRAINING_ONLY: Final = ("crop_external_zero_planes",)
"""Entries that GaNDLF skips when it infers."""


def gandlf_spec(folder: Path, configuration: GandlfConfiguration, path: Path, channels_in: int) -> ModelSpec:
    """Return the specification of a model.

    Args:
        folder: folder of the model; its name becomes the model's name.
        configuration: configuration as read.
        path: file of the configuration, for messages.
        channels_in: number of input channels of the network.

    Raises:
        InputError: an entry has no equivalent; the message names it.
    """
    _require_no_padding(configuration, path)
    _require_no_postprocessing(configuration, path)
    decide, labels = _decision(configuration.model, path)
    network = Network(
        graphs=(GRAPH,),
        channels_in=channels_in,
        channels_out=len(classes(configuration.model)),
        execution=_windows(configuration, path),
    )
    before = steps_before(entries(configuration), path)
    names = ("image",) if channels_in == 1 else tuple(f"Channel_{number}" for number in range(channels_in))
    # the last step decides on the grid of the network, as GaNDLF does; only turned axes are turned back
    after = (decide, Restore(interpolation=Interpolation.NEAREST))
    return ModelSpec(
        name=plain_names([folder.resolve().name], "gandlf")[0],
        task=Task.LESION,
        inputs=tuple(Sequence(name=name) for name in names),
        stages=(Stage("gandlf", before, network, after),),
        labels=labels,
    )


def steps_before(given: Mapping[str, Any], path: Path) -> tuple[BeforeStep, ...]:
    """Return the entries of `data_preprocessing` as steps, in their order, with the normalisation last.

    GaNDLF uses the first of several normalisations.

    Raises:
        InputError: an entry has no equivalent.
    """
    steps: list[BeforeStep] = []
    last: tuple[BeforeStep, ...] = ()
    for name, value in given.items():
        key = name.lower()
        if key in IN_TRAINING_ONLY or (value is False and key in IDLE_WHERE_FALSE):
            continue
        if "normalize" in key:
            found = NORMALISATIONS.get(key)
            if found is None:
                raise _no_equivalent(path, name, value)
            last = last or found
            continue
        make = ENTRIES.get(key)
        made = None if make is None else make(value if isinstance(value, dict) else {})
        if made is None:
            raise _no_equivalent(path, name, value)
        steps += made
    return *steps, *last


def _no_equivalent(path: Path, name: str, value: Any) -> InputError:
    known = ", ".join(sorted([*ENTRIES, *NORMALISATIONS]))
    return InputError(
        f"{path}: data_preprocessing has {name}: {value!r}"[:200]
        + f", which has no equivalent among the steps (known: "
        f"{known}); {ELSEWHERE}"
    )


def _to_canonical(_given: Mapping[str, Any]) -> tuple[BeforeStep, ...]:
    return (Orient(axes="RAS"),)


def _clip(given: Mapping[str, Any]) -> tuple[BeforeStep, ...] | None:
    # without a minimum GaNDLF takes the smallest positive number, which is 0 for float32
    low, high = given.get("min", 0.0), given.get("max")
    if not _is_number(low) or not (high is None or _is_number(high)):
        return None
    return (Clip(lower=_least(low), upper=None if high is None or high > FLOAT32_MAX else float(high)),)


def _threshold(given: Mapping[str, Any]) -> tuple[BeforeStep, ...] | None:
    """Set values up to the minimum to 0: a clip for a minimum of 0; steps cannot express any other minimum."""
    low, high = given.get("min", 0.0), given.get("max")
    binds = high is not None and not (_is_number(high) and high > FLOAT32_MAX)
    if not _is_number(low) or _least(low) != 0.0 or binds:
        return None
    return (Clip(lower=0.0),)


def _least(given: float) -> float:
    return 0.0 if 0 <= given < FLOAT32_LEAST else float(given)


def _rescale(given: Mapping[str, Any]) -> tuple[BeforeStep, ...] | None:
    percentiles, onto = given.get("percentiles", (0, 100)), given.get("out_min_max", (0, 1))
    if given.get("in_min_max") is not None or not _is_range(percentiles) or not _is_range(onto):
        return None
    fits = (
        FitPercentile(name="low", percent=float(percentiles[0])),
        FitPercentile(name="high", percent=float(percentiles[1])),
    )
    scaled = RescaleToUnit(lower="low", upper="high")
    if tuple(onto) == (0, 1):
        return *fits, scaled
    return *fits, scaled, Linear(multiply=float(onto[1]) - float(onto[0]), add=float(onto[0]))


def _is_range(given: Any) -> bool:
    return isinstance(given, list | tuple) and len(given) == 2 and all(map(_is_number, given)) and given[0] < given[1]


def _is_number(given: Any) -> bool:
    """Return True for a number that a float can hold, infinity included."""
    if isinstance(given, float):
        return not math.isnan(given)
    return isinstance(given, int) and abs(given) <= sys.float_info.max


FLOAT32_MAX: Final = 3.4e38
FLOAT32_LEAST: Final = 1e-45
MOST_DIGITS: Final = 9
"""Of a label."""
IDLE_WHERE_FALSE: Final = ("histogram_matching", "histogram_equalization", "adaptive_histogram_equalization")
NON_ZERO: Final = (
    FitMoment(name="mean", moment=Moment.MEAN, region=Region.NONZERO),
    FitMoment(name="deviation", moment=Moment.DEVIATION, region=Region.NONZERO),
    Normalise(subtract="mean", divide="deviation"),
)
NORMALISATIONS: Final[Mapping[str, tuple[BeforeStep, ...]]] = {
    "normalize": (ZScore(),),
    "normalize_positive": (ZScore(region=Region.POSITIVE),),
    "normalize_nonzero": NON_ZERO,
    "normalize_nonzero_masked": (ZScore(region=Region.NONZERO),),
}
ENTRIES: Final[Mapping[str, Callable[[Mapping[str, Any]], tuple[BeforeStep, ...] | None]]] = {
    "to_canonical": _to_canonical,
    "clip": _clip,
    "clamp": _clip,
    "threshold": _threshold,
    "rescale": _rescale,
}
"""Known entries; a function returns None for values that are not understood."""


def _windows(configuration: GandlfConfiguration, path: Path) -> SlidingWindow:
    sides, overlap = patch_sides(configuration, path), configuration.inference_mechanism.patch_overlap
    blending = BLENDINGS.get(configuration.overlap_mode)
    if blending is None or overlap < 0 or overlap % 2 or overlap >= min(sides) or (overlap and len(set(sides)) > 1):
        raise InputError(
            f"{path}: expected inference_mechanism with grid_aggregator_overlap {' or '.join(BLENDINGS)} and an even "
            f"patch_overlap below the side of a cubic patch, got {configuration.overlap_mode} and {overlap} in patches "
            f"of {'x'.join(map(str, sides))}. Otherwise {ELSEWHERE}"
        )
    share = overlap / sides[0]
    # the step is the integer below side * (1 - share); rounding may put this product just below an integer
    while int(sides[0] * (1 - share)) < sides[0] - overlap:
        share = math.nextafter(share, 0.0)
    return SlidingWindow(sides, share, blending, Starts.FIXED_STEP)


def _require_no_padding(configuration: GandlfConfiguration, path: Path) -> None:
    if configuration.pads_subjects:
        raise InputError(
            f"{path}: patch_sampler has enable_padding (padding before the intensities are normalised), which has no "
            f"equivalent among the steps; {ELSEWHERE}"
        )


def _require_no_postprocessing(configuration: GandlfConfiguration, path: Path) -> None:
    given = {
        **(configuration.data_postprocessing or {}),
        **(configuration.data_postprocessing_after_reverse_one_hot_encoding or {}),
    }
    if given:
        raise InputError(
            f"{path}: data_postprocessing has {', '.join(given)}, which has no equivalent among the steps; {ELSEWHERE}"
        )


def _decision(model: Model, path: Path) -> tuple[PaintRegions, tuple[Label, ...]]:
    """Return the step that paints classes over each other in channel order, and the labels (`reverse_one_hot`)."""
    listed = classes(model)
    values = _values(listed)
    if values is None or 0 in values[1:] or not any(values) or len(set(values)) != len(values) or max(values) > 255:
        raise InputError(
            f"{path}: expected class_list of different integers from 0 to 255 (0 only in first place) or of classes "
            f"such as 1{EITHER}2, got {listed}; {ELSEWHERE}"
        )
    regions = tuple(PaintedRegion(channel, HALF, value) for channel, value in enumerate(values) if value)
    names = plain_names([f"label_{name}" for name, value in zip(listed, values, strict=True) if value], "label")
    return PaintRegions(regions=regions), tuple(
        Label(region.label, name) for region, name in zip(regions, names, strict=True)
    )


def _values(listed: list[str]) -> list[int] | None:
    """Return the label of each class: its value, or its number if any class stands for several; None if unknown."""
    parts = [part for entry in listed for part in entry.split(EITHER)]
    if not parts or not all(part.strip().isdecimal() and len(part) < MOST_DIGITS for part in parts):
        return None
    if not any(EITHER in entry for entry in listed):
        return [int(entry) for entry in listed]
    return [number if "0" in listed else number + 1 for number in range(len(listed))]
