"""Translation of the transforms before the network of a MONAI bundle to steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from brain_edge.errors import InputError
from brain_edge.image.geometry import is_orientation
from brain_edge.spec.steps import (
    Clip,
    CropToForeground,
    FitPercentile,
    Linear,
    Normalise,
    Orient,
    PadToMultiple,
    Placement,
    Region,
    ResampleBetweenCentres,
    RescaleToUnit,
    ZScore,
)
from brain_edge_conversion.folders.monai_arguments import no_equivalent, one_key, single, taken, three, unknown
from brain_edge_conversion.folders.monai_config import ELSEWHERE, Component

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TypeAlias

    from brain_edge.spec.steps import BeforeStep

    Steps: TypeAlias = Sequence[BeforeStep]

READERS: Final = (None, "NibabelReader", "nibabelreader", "ITKReader", "itkreader")
ZERO_PADDING: Final = {"mode": ("constant",), "value": (0, 0.0), "constant_values": (0, 0.0)}


def steps_before(transforms: Sequence[Component], channels: int) -> tuple[str, tuple[BeforeStep, ...]]:
    """Return the key of the image, and the steps of all transforms.

    Raises:
        InputError: a transform has no equivalent; the message names it.
    """
    if not transforms or short_name(transforms[0]) != "LoadImaged":
        raise InputError(
            f"{transforms[0].config.path if transforms else 'configs'}: expected preprocessing that begins with "
            f"LoadImaged, got {transforms[0].target if transforms else 'nothing'}; {ELSEWHERE}"
        )
    image = one_key(transforms[0])
    found: list[BeforeStep] = []
    for transform in transforms:
        if one_key(transform) != image:
            raise no_equivalent(transform, f"the key {one_key(transform)!r} (the loaded image is {image!r})")
        make = TRANSFORMS.get(short_name(transform))
        if make is None:
            raise unknown(transform, TRANSFORMS)
        found += make(transform, channels)
    return image, tuple(found)


def short_name(transform: Component) -> str:
    """Return the short name of a dictionary transform, such as `Spacingd` for each of its three names."""
    name = transform.name
    for ending in ("Dict", "D"):
        if name.endswith(ending):
            return name.removesuffix(ending) + "d"
    return name


def _load(transform: Component, _channels: int) -> Steps:
    taken(
        transform, fixed={"reader": READERS, "image_only": (True, False)}, idle=("ensure_channel_first", "simple_keys")
    )
    return ()


def _channel_first(transform: Component, _channels: int) -> Steps:
    taken(transform, fixed={"channel_dim": (None, "no_channel"), "strict_check": (True, False)})
    return ()


def _typed(transform: Component, _channels: int) -> Steps:
    taken(transform, fixed={"data_type": ("tensor", "numpy"), "track_meta": (None, True)}, idle=("wrap_sequence",))
    return ()


def _orientation(transform: Component, _channels: int) -> Steps:
    fixed = {"as_closest_canonical": (False,), "labels": (None, [["L", "R"], ["P", "A"], ["I", "S"]])}
    axes = taken(transform, {"axcodes": None}, fixed=fixed)["axcodes"]
    axes = "".join(map(str, axes)) if isinstance(axes, list) else axes
    if not isinstance(axes, str) or not is_orientation(axes):
        raise no_equivalent(transform, f"axcodes {axes!r}")
    return (Orient(axes=axes),)


def _spacing(transform: Component, _channels: int) -> Steps:
    fixed = {
        "diagonal": (False,),
        "padding_mode": ("border", ["border"]),
        "scale_extent": (False, [False]),
        "recompute_affine": (False,),
        "min_pixdim": (None,),
        "max_pixdim": (None,),
        "ensure_same_shape": (True, False),
    }
    # align_corners only concerns coordinates from -1 to 1, and MONAI makes them from voxels in the same way
    idle = ("align_corners", "dtype")
    given = taken(transform, {"pixdim": None, "mode": "bilinear"}, fixed=fixed, idle=idle)
    mode = single(transform, "mode", given["mode"])
    if mode != "bilinear":
        raise no_equivalent(transform, f"mode {mode!r} (bilinear is expected)")
    try:
        return (ResampleBetweenCentres(spacing_mm=three(transform, "pixdim", given["pixdim"], float)),)
    except ValueError as error:
        raise no_equivalent(transform, f"pixdim {given['pixdim']} ({error})") from error


def _crop_foreground(transform: Component, _channels: int) -> Steps:
    given = taken(
        transform,
        {"source_key": None, "margin": 0, "allow_smaller": False},
        fixed={"k_divisible": (1, [1, 1, 1]), "channel_indices": (None,), **ZERO_PADDING},
        idle=("start_coord_key", "end_coord_key"),
    )
    margin = given["margin"]
    if given["source_key"] not in (None, one_key(transform)):
        raise no_equivalent(transform, f"source_key {given['source_key']!r}")
    if not isinstance(margin, int) or margin < 0 or (margin > 0 and given["allow_smaller"] is not True):
        raise no_equivalent(transform, f"margin {margin!r} beyond the edge of the image (allow_smaller is expected)")
    return (CropToForeground(region=Region.POSITIVE, margin_voxels=margin),)


def _pad_to_size(transform: Component, _channels: int) -> Steps:
    size = taken(transform, {"spatial_size": None}, fixed={"method": ("symmetric",), **ZERO_PADDING})["spatial_size"]
    minimum = three(transform, "spatial_size", size, int)
    return (PadToMultiple(multiple_of=1, minimum=minimum, placement=Placement.CENTRE),)


def _pad_to_multiple(transform: Component, _channels: int) -> Steps:
    k = taken(transform, {"k": None}, fixed={"method": ("symmetric",), **ZERO_PADDING})["k"]
    first, *others = three(transform, "k", k, int)
    if any(other != first for other in others):
        raise no_equivalent(transform, f"k {k!r} (the same for every axis is expected)")
    return (PadToMultiple(multiple_of=first, placement=Placement.CENTRE),)


def _normalise(transform: Component, channels: int) -> Steps:
    given = taken(transform, {"subtrahend": None, "divisor": None, "nonzero": False, "channel_wise": False})
    constants = (given["subtrahend"], given["divisor"])
    if constants == (None, None):
        _require_by_channel(transform, channels, given["channel_wise"])
        return (ZScore(region=Region.NONZERO if given["nonzero"] else Region.ALL),)
    if given["nonzero"] or given["channel_wise"] or not all(isinstance(each, int | float) for each in constants):
        raise no_equivalent(transform, "a subtrahend or divisor by channel, of non-zero voxels, or without the other")
    return (Normalise(subtract=float(constants[0]), divide=float(constants[1]) or 1.0),)


def _scale(transform: Component, channels: int) -> Steps:
    given = taken(transform, {"minv": 0.0, "maxv": 1.0, "channel_wise": False}, fixed={"factor": (None,)})
    _require_by_channel(transform, channels, given["channel_wise"])
    fits = FitPercentile(name="least", percent=0.0), FitPercentile(name="greatest", percent=100.0)
    return *fits, RescaleToUnit(lower="least", upper="greatest"), *_onto(transform, given["minv"], given["maxv"])


def _scale_range(transform: Component, _channels: int) -> Steps:
    given = taken(transform, {"a_min": None, "a_max": None, "b_min": None, "b_max": None, "clip": False})
    low, high = given["a_min"], given["a_max"]
    if not _is_range(low, high):
        raise no_equivalent(transform, f"a_min {low!r} and a_max {high!r}")
    if given["b_min"] is None or given["b_max"] is None:
        raise no_equivalent(transform, "no b_min or b_max")
    onto = _onto(transform, given["b_min"], given["b_max"])
    if given["clip"]:
        return RescaleToUnit(lower=float(low), upper=float(high)), *onto
    return Normalise(subtract=float(low), divide=float(high) - float(low)), *onto


def _scale_percentiles(transform: Component, channels: int) -> Steps:
    wanted = {"lower": None, "upper": None, "b_min": None, "b_max": None, "clip": False, "channel_wise": False}
    given = taken(transform, wanted, fixed={"relative": (False,)})
    _require_by_channel(transform, channels, given["channel_wise"])
    low, high = given["lower"], given["upper"]
    if not _is_range(low, high) or not given["clip"] or given["b_min"] is None or given["b_max"] is None:
        raise no_equivalent(transform, "no b_min or b_max, or without clip")
    fits = FitPercentile(name="low", percent=float(low)), FitPercentile(name="high", percent=float(high))
    return *fits, RescaleToUnit(lower="low", upper="high"), *_onto(transform, given["b_min"], given["b_max"])


def _threshold(transform: Component, _channels: int) -> Steps:
    given = taken(transform, {"threshold": None, "above": True, "cval": 0.0})
    bound, kept = given["threshold"], given["above"]
    # a value below the threshold becomes the threshold only if the replacement value equals the threshold
    if not isinstance(bound, int | float) or bound != given["cval"]:
        raise no_equivalent(transform, f"threshold {bound!r} and cval {given['cval']!r} (the same are expected)")
    return (Clip(lower=float(bound)) if kept else Clip(upper=float(bound)),)


def _require_by_channel(transform: Component, channels: int, channel_wise: Any) -> None:
    if channels > 1 and channel_wise is not True:
        raise no_equivalent(transform, f"statistics of all {channels} channels together (channel_wise is expected)")


def _is_range(low: Any, high: Any) -> bool:
    return isinstance(low, int | float) and isinstance(high, int | float) and low < high


def _onto(transform: Component, low: Any, high: Any) -> Steps:
    """Return the steps that map the range 0 to 1 to another range."""
    if not _is_range(low, high):
        raise no_equivalent(transform, f"the range {low!r} to {high!r}")
    return () if (low, high) == (0, 1) else (Linear(multiply=float(high) - float(low), add=float(low)),)


def _nothing(transform: Component, _channels: int) -> Steps:
    taken(transform)
    return ()


TRANSFORMS: Final[Mapping[str, Callable[[Component, int], Steps]]] = {
    "LoadImaged": _load,
    "AddChanneld": _nothing,  # of MONAI before 1.3, for images without channels
    "EnsureChannelFirstd": _channel_first,
    "EnsureTyped": _typed,
    "CastToTyped": _nothing,
    "ToTensord": _typed,
    "ToDeviced": _nothing,
    "Orientationd": _orientation,
    "Spacingd": _spacing,
    "CropForegroundd": _crop_foreground,
    "SpatialPadd": _pad_to_size,
    "DivisiblePadd": _pad_to_multiple,
    "NormalizeIntensityd": _normalise,
    "ScaleIntensityd": _scale,
    "ScaleIntensityRanged": _scale_range,
    "ScaleIntensityRangePercentilesd": _scale_percentiles,
    "ThresholdIntensityd": _threshold,
}
"""Known transforms, by the names of their classes."""
