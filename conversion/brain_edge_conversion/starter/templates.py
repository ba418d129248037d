"""Starters of specifications: steps of common programs around a network of known channels and sizes, with remarks."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from brain_edge.image.contrast import NAMES
from brain_edge.spec import Activation, Task

if TYPE_CHECKING:
    from brain_edge_conversion.starter.look import NetworkFacts

Json: TypeAlias = dict[str, Any]

REMARK: Final = "$comment"
"""Key of a remark, which is ignored when a specification is read."""


class Like(StrEnum):
    """Program whose usual steps a starter has."""

    PLAIN = "plain"
    """Canonical axes, z-score, whole volume or windows of the network's size."""
    NNUNET = "nnunet"
    """nnU-Net v2: stored axes, crop to non-zero voxels, z-score, thick slices apart, Gaussian windows."""
    MONAI = "monai"
    """A MONAI bundle: Orientationd, Spacingd, NormalizeIntensityd, SlidingWindowInferer."""
    HD_BET = "hd-bet"
    """HD-BET v1: SimpleITK's axes, 1.5 mm, z-score, padded whole volume."""


AXES: Final = (
    "Direction in which each array axis grows. nibabel's canonical image: RAS. SimpleITK's array of an LPS file: "
    "SPL. --expect-mask of convert names the right ones."
)
SPACING: Final = (
    "Spacing of your training images, mm, in the order of the axes; remove the step if nothing is resampled."
)
NORMALISE: Final = "Normalisation of your program, and its region: all or nonzero."
WINDOW: Final = "Patch size of your training, in the order of the axes above."


def starter(name: str, like: Like, facts: NetworkFacts) -> Json:
    """Return the plain data of a starter; it is a valid specification without its remarks."""
    known = "; ".join(facts.in_words)
    values = _values(facts)
    return {
        REMARK: f"Known from a trial: {known}. The rest is a guess: compare it with your program, step by step.",
        "name": name,
        REMARK + " task": f"Expected: {', '.join(Task)}.",
        "task": "skull-stripping" if len(values) == 1 else "tissue",
        REMARK + " inputs": f"One for each channel, in order. Add the contrasts that are right: {NAMES}, or any.",
        "inputs": _inputs(facts.channels_in),
        "stages": [
            {
                "name": "main",
                "before": _before(like, facts),
                "network": _network(like, facts),
                "after": _after(like, facts),
            }
        ],
        REMARK + " labels": "Value and name of each label that the steps write.",
        "labels": [{"value": value, "name": f"label{value}"} for value in values],
        "plausible": {
            REMARK: "Add ranges, such as 'labels': [{'label': 1, 'volume_ml': [600, 2200]}]; other masks are flagged.",
            "inputs": {"spacing_mm": [0.3, 7.0], "extent_mm": [100.0, 400.0]},
        },
    }


def _inputs(channels: int) -> list[Json]:
    return [{"name": "image" if channels == 1 else f"image{number}"} for number in range(1, channels + 1)]


def _values(facts: NetworkFacts) -> range:
    """Return the labels: one for each channel, without the background of a softmax."""
    return range(1, facts.channels_out + (0 if _is_regions(facts) else -1) + 1)


def _is_regions(facts: NetworkFacts) -> bool:
    """Return True if each channel is a region of its own."""
    return facts.channels_out == 1 or facts.ends_in is Activation.SIGMOID


def _before(like: Like, facts: NetworkFacts) -> list[Json]:
    steps = {Like.PLAIN: _plain, Like.NNUNET: _nnunet, Like.MONAI: _monai, Like.HD_BET: _hd_bet}[like](facts)
    return [*steps, *_fitted_to(facts)]


def _plain(_facts: NetworkFacts) -> list[Json]:
    return [{"op": "orient", "axes": "RAS", REMARK: AXES}, {"op": "z_score", "region": "all", REMARK: NORMALISE}]


def _nnunet(facts: NetworkFacts) -> list[Json]:
    rule = {"scheme": "z_score", REMARK: "z_score_foreground if use_mask_for_norm is true; fixed for CT."}
    return [
        {
            "op": "transpose_axes",
            "axes": [2, 1, 0],
            REMARK: "z, y, x as stored, for SimpleITKIO; orient to SAR for a reader WithReorient.",
        },
        {"op": "crop_to_foreground", "region": "nonzero"},
        {"op": "normalise_each", "channels": [rule] * facts.channels_in},
        {"op": "resample_thick_slices", "spacing_mm": [1.0, 1.0, 1.0], REMARK: "spacing of plans.json, in its order."},
    ]


def _monai(_facts: NetworkFacts) -> list[Json]:
    return [
        {"op": "orient", "axes": "RAS", REMARK: f"Orientationd. {AXES}"},
        {"op": "resample_between_centres", "spacing_mm": [1.0, 1.0, 1.0], REMARK: f"Spacingd, bilinear. {SPACING}"},
        {"op": "z_score", "region": "nonzero", REMARK: f"NormalizeIntensityd(nonzero=True). {NORMALISE}"},
    ]


def _hd_bet(_facts: NetworkFacts) -> list[Json]:
    return [
        {"op": "orient", "axes": "SPL", REMARK: AXES},
        {"op": "fit_percentile", "name": "least", "percent": 0.0},
        {"op": "fit_percentile", "name": "greatest", "percent": 100.0},
        {"op": "resample_to_spacing", "spacing_mm": [1.5, 1.5, 1.5], "interpolation": "cubic", REMARK: SPACING},
        {"op": "clip", "lower": "least", "upper": "greatest", REMARK: "Cut what cubic interpolation overshoots."},
        {"op": "z_score", "region": "all", REMARK: NORMALISE},
    ]


def _fitted_to(facts: NetworkFacts) -> list[Json]:
    """Return the step that gives the network a size that it takes, if windows do not."""
    if facts.takes_slices and facts.multiple is None:
        words = "The network takes this size only; use resize_in_plane if your program resizes."
        return [{"op": "crop_or_pad_in_plane", "axis": 2, "shape": list(facts.sides), REMARK: words}]
    if facts.multiple in (None, 1):
        return []
    words = "Smallest multiple that the network takes; write your program's own padding."
    return [{"op": "pad_to_multiple", "multiple_of": facts.multiple, "placement": "start", REMARK: words}]


def _network(like: Like, facts: NetworkFacts) -> Json:
    ends = facts.ends_in is not Activation.NONE
    words = (
        f"The output on noise looks like that of a {facts.ends_in}: no second activation."
        if ends
        else "The network returns logits: softmax if labels exclude each other, sigmoid if regions overlap."
    )
    activation = Activation.NONE if ends or like is Like.NNUNET else _activation(facts)
    return {
        "graphs": ["network"],
        "channels_in": facts.channels_in,
        "channels_out": facts.channels_out,
        "activation": activation,
        REMARK: "nnU-Net averages logits." if like is Like.NNUNET and not ends else words,
        "execution": _execution(like, facts),
    }


def _activation(facts: NetworkFacts) -> Activation:
    return Activation.SIGMOID if _is_regions(facts) else Activation.SOFTMAX


def _execution(like: Like, facts: NetworkFacts) -> Json:
    if facts.takes_slices:
        return {"kind": "slices_along", "axis": 2, "batch": 16, REMARK: "Axis along which your program takes slices."}
    window = {"kind": "sliding_window", "shape": list(facts.sides), REMARK: WINDOW}
    if like is Like.NNUNET:
        return window | {"overlap": 0.5, "blending": "gaussian_cut"}
    if like is Like.MONAI:
        return window | {"overlap": 0.25, "blending": "constant", "starts": "fixed_step"}
    if facts.multiple is None:
        return window | {"overlap": 0.5, "blending": "gaussian"}
    return {"kind": "whole_volume", REMARK: "sliding_window with your patch size, if your program takes windows."}


def _after(like: Like, facts: NetworkFacts) -> list[Json]:
    above = 0.0 if like is Like.NNUNET and facts.ends_in is Activation.NONE else 0.5
    decide: Json = {"op": "argmax", REMARK: "Channel k becomes label k; add 'values' for other labels."}
    if facts.channels_out == 1:
        decide = {"op": "threshold", "channel": 0, "above": above}
    elif _is_regions(facts):
        regions = [{"channel": each, "above": above, "label": each + 1} for each in range(facts.channels_out)]
        decide = {"op": "paint_regions", "regions": regions, REMARK: "The last region that holds a voxel labels it."}
    if like is Like.NNUNET:
        return [{"op": "restore", "interpolation": "linear"}, decide]
    clean = "Back to the grid of the image. Add largest_component or fill_holes if your program cleans up."
    return [decide, {"op": "restore", "interpolation": "nearest", REMARK: clean}]
