"""Translation of the transforms after the network of a MONAI bundle to steps."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from brain_edge.errors import InputError
from brain_edge.image.resample import Interpolation
from brain_edge.spec import Activation, Label
from brain_edge.spec.steps import Argmax, FillHoles, KeepLargest, LookUpRegions, Restore, Threshold
from brain_edge_conversion.folders.monai_arguments import no_equivalent, one_key, single, taken, unknown
from brain_edge_conversion.folders.monai_before import short_name
from brain_edge_conversion.folders.monai_config import ELSEWHERE, Component
from brain_edge_conversion.folders.reading import plain_names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from brain_edge.spec.steps import AfterStep

MOST_REGIONS: Final = 4
"""Largest number of overlapping regions; each combination has its own label, and more labels would be unreadable."""
MERGE_BEGINS: Final = "$lambda x:"
MERGE: Final = re.compile(r"torch\.where\(x\[\[(\d{1,9})\]\] > 0, (\d{1,9}), (.*)\)")
CONNECTIVITIES: Final[Mapping[int | None, Any]] = {1: 6, 2: 18, 3: 26, None: 26}


@dataclass(frozen=True)
class After:
    """Result of the transforms translated so far.

    Attributes:
        names: names of the network's channels.
        preprocessing: preprocessing of the configuration, for the comparison with `Invertd`.
        image: key of the image.
        activation: activation from outputs to probabilities.
        steps: steps after the network.
        labels: label table; empty before labels are decided.
        is_restored: True once the grid of the image is reached.
        is_merged: True once overlapping regions have become one label per voxel.
    """

    names: tuple[str, ...]
    preprocessing: Any
    image: str
    activation: Activation = Activation.NONE
    steps: tuple[AfterStep, ...] = ()
    labels: tuple[Label, ...] = ()
    is_restored: bool = False
    is_merged: bool = False

    def then(self, *steps: AfterStep, **changes: Any) -> After:
        """Return the result with further steps."""
        return replace(self, steps=(*self.steps, *steps), **changes)


def steps_after(transforms: Sequence[Component], start: After, where: str, *, moves: bool, pads: bool) -> After:
    """Translate all transforms.

    Args:
        transforms: transforms in their order.
        start: result before the first transform.
        where: file, for messages.
        moves: True if the steps before the network leave the grid of the image.
        pads: True if an image smaller than a window is padded.

    Raises:
        InputError: a transform has no equivalent, no transform makes labels or returns to the grid of the image, or a
            clean-up would see the padding.
    """
    after, key = start, None
    for transform in transforms:
        make = TRANSFORMS.get(short_name(transform))
        if make is None:
            raise unknown(transform, TRANSFORMS)
        if make is _save:
            after = make(transform, after)
            continue
        key = key or one_key(transform)
        if one_key(transform) != key:
            raise no_equivalent(transform, f"the key {one_key(transform)!r} (the transform before has {key!r})")
        after = make(transform, after)
    if not after.labels:
        raise InputError(
            f"{where}: expected postprocessing that makes labels (AsDiscreted with argmax or threshold), got none; "
            f"{ELSEWHERE}"
        )
    if moves and not after.is_restored:
        raise InputError(
            f"{where}: expected postprocessing that returns to the grid of the image (Invertd), got none; {ELSEWHERE}"
        )
    return _without_padding(after, where, moves=moves) if pads or not after.is_restored else after


def _without_padding(after: After, where: str, *, moves: bool) -> After:
    """Refuse a clean-up that would look for components in the padding; MONAI removes padding before any transform."""
    steps = list(after.steps)
    clean = next((n for n, step in enumerate(steps) if isinstance(step, KeepLargest | FillHoles)), len(steps))
    restored = next((n for n, step in enumerate(steps) if step.way_back() is not None), len(steps))
    if after.is_restored and restored <= clean:
        return after
    if moves:
        raise InputError(
            f"{where}: expected a clean-up ({type(steps[clean]).__name__}) after Invertd, got it before Invertd. "
            f"There a small image still has its padding here, and in MONAI it does not; {ELSEWHERE}"
        )
    # only padding is to be undone: a label map without padding is the same before and after
    kept: list[AfterStep] = [step for step in steps if step.way_back() is None]
    kept.insert(clean, Restore(interpolation=Interpolation.NEAREST))
    return replace(after, steps=tuple(kept), is_restored=True)


def _activate(transform: Component, after: After) -> After:
    given = taken(transform, {"softmax": False, "sigmoid": False}, fixed={"other": (None,), "dim": (0,)})
    chosen = [name for name, value in given.items() if single(transform, name, value)]
    if len(chosen) != 1 or after.steps or after.activation is not Activation.NONE:
        raise no_equivalent(transform, f"{' and '.join(chosen) or 'neither softmax nor sigmoid'} at this place")
    return after.then(activation=Activation(chosen[0]))


def _decide(transform: Component, after: After) -> After:
    given = taken(
        transform,
        {"argmax": False, "threshold": None},
        fixed={"to_onehot": (None, [None]), "rounding": (None, [None]), "dim": (0,), "keepdim": (True,)},
    )
    chosen = {name: single(transform, name, value) for name, value in given.items()}
    threshold = chosen["threshold"]
    if after.labels or bool(chosen["argmax"]) == (threshold is not None):
        raise no_equivalent(transform, f"argmax {chosen['argmax']!r} and threshold {threshold!r} at this place")
    if threshold is None:
        if len(after.names) < 2:
            raise no_equivalent(transform, "argmax of one channel")
        return after.then(Argmax(), labels=_table(dict(enumerate(after.names[1:], start=1))))
    if isinstance(threshold, bool) or not isinstance(threshold, int | float):
        raise no_equivalent(transform, f"threshold {threshold!r}")
    # a voxel at the threshold belongs to the region
    above = float(np.nextafter(np.float32(threshold), np.float32(-np.inf)))
    if len(after.names) == 1:
        return after.then(Threshold(channel=0, above=above), labels=_table({1: after.names[0]}))
    if len(after.names) > MOST_REGIONS:
        raise no_equivalent(transform, f"a threshold for {len(after.names)} regions (at most {MOST_REGIONS})")
    entries = range(2 ** len(after.names))
    step = LookUpRegions(above=(above,) * len(after.names), labels=tuple(entries))
    return after.then(step, labels=_table({entry: _combination(entry, after.names) for entry in entries if entry}))


def _combination(entry: int, names: Sequence[str]) -> str:
    return "+".join(name for channel, name in enumerate(names) if entry >> channel & 1)


def _table(names: Mapping[int, str]) -> tuple[Label, ...]:
    return tuple(
        Label(value, name) for value, name in zip(names, plain_names(list(names.values()), "label"), strict=True)
    )


def _merge(transform: Component, after: After) -> After:
    """Merge overlapping regions to one label per voxel, as in `brats_mri_segmentation`; the code is not run."""
    given = transform.arguments.get("func")
    rules, default = merged_regions(given) if isinstance(given, str) else ((), None)
    table = after.steps[-1] if after.steps else None
    taken(transform, idle=("func", "overwrite", "inv_func"))
    if default is None or not isinstance(table, LookUpRegions) or after.is_merged:
        raise no_equivalent(transform, f"func {given!r}"[:120])
    if any(channel >= len(after.names) or not 0 <= label <= 255 for channel, label in rules):
        raise no_equivalent(transform, f"func {given!r}, which names a region that does not exist"[:120])
    labels = tuple(
        next((label for channel, label in rules if entry >> channel & 1), default) for entry in range(len(table.labels))
    )
    names = {label: after.names[channel] for channel, label in rules if label}
    merged = LookUpRegions(above=table.above, labels=labels)
    return replace(after, steps=(*after.steps[:-1], merged), labels=_table(names), is_merged=True)


def merged_regions(text: str) -> tuple[tuple[tuple[int, int], ...], int | None]:
    """Parse `$lambda x: torch.where(x[[2]] > 0, 4, torch.where(...))` into (channel, label) pairs and the other label.

    The other label (elsewhere) is None if the text has another form.
    """
    rest, rules = text.removeprefix(MERGE_BEGINS).strip() if text.startswith(MERGE_BEGINS) else "", []
    while found := MERGE.fullmatch(rest):
        rules.append((int(found[1]), int(found[2])))
        rest = found[3].strip()
    return tuple(rules), 0 if rules and rest == "0" else None


def _invert(transform: Component, after: After) -> After:
    given = taken(
        transform,
        {"orig_keys": None, "nearest_interp": True},
        fixed={"post_func": (None,)},
        idle=("transform", "orig_meta_keys", "to_tensor"),
    )
    if transform.config.followed(transform.arguments.get("transform"), transform.place) is not after.preprocessing:
        raise no_equivalent(
            transform, f"transform {transform.arguments.get('transform')!r} (@preprocessing is expected)"
        )
    if single(transform, "orig_keys", given["orig_keys"]) != after.image or after.is_restored:
        raise no_equivalent(transform, f"orig_keys {given['orig_keys']!r} at this place")
    nearest = single(transform, "nearest_interp", given["nearest_interp"])
    if after.labels and not nearest:
        raise no_equivalent(transform, "nearest_interp False, which blends labels")
    interpolation = Interpolation.NEAREST if nearest else Interpolation.LINEAR
    return after.then(Restore(interpolation=interpolation), is_restored=True)


def _keep_largest(transform: Component, after: After) -> After:
    given = taken(
        transform,
        {"applied_labels": None, "independent": True, "connectivity": None},
        fixed={"is_onehot": (None, False), "num_components": (1,)},
    )
    of = _applied(transform, after, given["applied_labels"])
    connectivity = next((out for name, out in CONNECTIVITIES.items() if name == given["connectivity"]), None)
    if connectivity is None:
        raise no_equivalent(transform, f"connectivity {given['connectivity']!r}")
    groups = [(label,) for label in of] if given["independent"] else [of]
    return after.then(*(KeepLargest(of=group, connectivity=connectivity) for group in groups))


def _fill_holes(transform: Component, after: After) -> After:
    given = taken(transform, {"applied_labels": None}, fixed={"connectivity": (1,)})
    if "connectivity" not in transform.arguments:
        raise no_equivalent(transform, "holes that end at a corner of background (connectivity 1 is expected)")
    if _applied(transform, after, given["applied_labels"]) != (1,) or len(after.labels) > 1:
        raise no_equivalent(transform, "several labels")
    return after.then(FillHoles())


def _applied(transform: Component, after: After, given: Any) -> tuple[int, ...]:
    """Return the labels that a clean-up applies to."""
    known = tuple(label.value for label in after.labels)
    if not known or (not after.is_merged and any(isinstance(step, LookUpRegions) for step in after.steps)):
        raise no_equivalent(transform, "no label map before it")
    of = known if given is None else tuple(given) if isinstance(given, list) else (given,)
    if not all(value in known for value in of) or not of:
        raise no_equivalent(transform, f"applied_labels {given!r} ({', '.join(map(str, known))} are known)")
    return of


def _save(transform: Component, after: After) -> After:
    if transform.data("scale") is not None:
        raise no_equivalent(transform, "a scale, which changes labels")
    return after


def _nothing(transform: Component, after: After) -> After:
    taken(transform, fixed={"data_type": ("tensor", "numpy"), "track_meta": (None, True)}, idle=("wrap_sequence",))
    return after


TRANSFORMS: Final[Mapping[str, Callable[[Component, After], After]]] = {
    "Activationsd": _activate,
    "AsDiscreted": _decide,
    "Invertd": _invert,
    "Lambdad": _merge,
    "KeepLargestConnectedComponentd": _keep_largest,
    "FillHolesd": _fill_holes,
    "EnsureTyped": _nothing,
    "ToTensord": _nothing,
    "ToDeviced": _nothing,
    "SaveImaged": _save,
}
"""Known transforms, by the names of their classes."""
