"""Translation of the configuration of a MONAI bundle to a ModelSpec."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec

from brain_edge.errors import InputError
from brain_edge.machine.json import convert_plain
from brain_edge.spec import (
    Blending,
    ModelSpec,
    Network,
    Sequence,
    SlidingWindow,
    Stage,
    Starts,
    Task,
    WholeVolume,
)
from brain_edge.spec.steps import PadToMultiple, Placement
from brain_edge_conversion.folders.monai_after import After, steps_after
from brain_edge_conversion.folders.monai_arguments import no_equivalent, taken, three, unknown
from brain_edge_conversion.folders.monai_before import steps_before
from brain_edge_conversion.folders.monai_config import ELSEWHERE, MADE_BY, Component, Config
from brain_edge_conversion.folders.reading import plain_names, read_json, stated

if TYPE_CHECKING:
    from pathlib import Path

    from brain_edge.spec.steps import BeforeStep

GRAPH: Final = "network"
WINDOWS: Final = ("SlidingWindowInferer", "SlidingWindowInfererAdapt")
INFERERS: Final = (*WINDOWS, "SimpleInferer")
MOVING_NOTHING: Final = frozenset({"FitPercentile", "Clip", "Normalise", "RescaleToUnit", "ZScore", "Linear"})


class Port(msgspec.Struct, frozen=True):
    """Input or output of a network."""

    num_channels: Annotated[int, msgspec.Meta(ge=0, le=256)]
    channel_def: dict[str, str] | None = None
    modality: str = ""


class DataFormat(msgspec.Struct, frozen=True):
    """Inputs and outputs of a network, by key."""

    inputs: dict[str, Port]
    outputs: dict[str, Port]


class Metadata(msgspec.Struct, frozen=True):
    """Needed parts of `configs/metadata.json`."""

    network_data_format: DataFormat
    name: str = ""
    version: str = ""
    description: str = ""
    intended_use: str = ""
    authors: str = ""
    references: list[str] = []
    monai_version: str = ""


def read_metadata(folder: Path) -> Metadata:
    """Read the description of a bundle.

    Raises:
        InputError: the file is missing or not understood, or the bundle has several input images or several results.
    """
    path = folder / "configs" / "metadata.json"
    found = read_json(path, Metadata, MADE_BY)
    for what, ports in (("inputs", found.network_data_format.inputs), ("outputs", found.network_data_format.outputs)):
        if len(ports) != 1 or next(iter(ports.values())).num_channels < 1:
            raise InputError(f"{path}: expected one image in {what}, got {', '.join(ports) or 'none'}; {ELSEWHERE}")
    return found


def bundle_spec(folder: Path, config: Config, metadata: Metadata) -> ModelSpec:
    """Return the specification of a bundle.

    Raises:
        InputError: a part of the configuration has no equivalent; the message names it.
    """
    (image,), (result,) = (
        metadata.network_data_format.inputs.values(),
        metadata.network_data_format.outputs.values(),
    )
    channels = _names(image, "image" if image.num_channels == 1 else "channel")
    preprocessing = config.value("preprocessing")
    key, before = steps_before(_transforms(config, "preprocessing"), len(channels))
    execution, padding = _execution(config)
    start = After(names=_names(result, "label"), preprocessing=preprocessing, image=key)
    # an image that is only padded for the windows is not moved: MONAI undoes this padding itself
    moves = any(type(step).__name__ not in MOVING_NOTHING for step in before)
    after = steps_after(_transforms(config, "postprocessing"), start, str(config.path), moves=moves, pads=bool(padding))
    network = Network(
        graphs=(GRAPH,),
        channels_in=len(channels),
        channels_out=result.num_channels,
        activation=after.activation,
        execution=execution,
    )
    try:
        spec = ModelSpec(
            name=plain_names([metadata.name or folder.resolve().name], "bundle")[0],
            task=Task.LESION,
            inputs=tuple(
                Sequence(name=name, contrasts=stated(name) or stated(image.modality), description=image.modality)
                for name in channels
            ),
            stages=(Stage("bundle", (*before, *padding), network, after.steps),),
            labels=after.labels,
        )
        return convert_plain(msgspec.to_builtins(spec), ModelSpec)
    except ValueError as error:
        raise InputError(
            f"{config.path}: the steps of this bundle do not fit together ({error}); {ELSEWHERE}"
        ) from error


def _names(port: Port, instead: str) -> tuple[str, ...]:
    given = port.channel_def or {}
    names = [given.get(str(number), "") for number in range(port.num_channels)]
    return tuple(plain_names(names, instead)) if port.num_channels > 1 or names[0] else (instead,)


def _transforms(config: Config, place: str) -> tuple[Component, ...]:
    """Return the transforms of a `Compose`."""
    compose = config.component(config.value(place), place)
    if compose is None:
        return ()
    if compose.name != "Compose":
        raise unknown(compose, ("Compose",))
    fixed = {"map_items": (True, 1), "unpack_items": (False,), "log_stats": (False,)}
    taken(compose, fixed=fixed, idle=("transforms", "overrides"))
    return config.components(compose.arguments.get("transforms", []), f"{place}::transforms")


def _execution(config: Config) -> tuple[SlidingWindow | WholeVolume, tuple[BeforeStep, ...]]:
    """Return the execution of the network, and the padding of images that are smaller than a window."""
    inferer = config.component(config.value("inferer"), "inferer")
    if inferer is None or inferer.name not in INFERERS:
        where = Component("nothing", {}, "inferer", config)
        raise unknown(inferer or where, INFERERS)
    if inferer.name not in WINDOWS:
        taken(inferer)
        return WholeVolume(), ()
    given = taken(
        inferer,
        {"roi_size": None, "overlap": 0.25, "mode": "constant"},
        fixed={
            "sigma_scale": (0.125, [0.125] * 3),
            "padding_mode": ("constant",),
            "cval": (0, 0.0),
            "with_coord": (False,),
            "roi_weight_map": (None,),
        },
        idle=(
            "sw_batch_size",
            "sw_device",
            "progress",
            "cache_roi_weight_map",
            "cpu_thresh",
            "buffer_steps",
            "buffer_dim",
        ),
    )
    shape = three(inferer, "roi_size", given["roi_size"], int)
    padding = PadToMultiple(multiple_of=1, minimum=shape, placement=Placement.CENTRE)
    blending = {"constant": Blending.CONSTANT, "gaussian": Blending.GAUSSIAN_FLOOR}.get(str(given["mode"]))
    if blending is None:
        raise no_equivalent(inferer, f"mode {given['mode']!r}")
    return SlidingWindow(shape, _overlap(inferer, given["overlap"]), blending, Starts.FIXED_STEP), (padding,)


def _overlap(inferer: Component, given: Any) -> float:
    values = given if isinstance(given, list) else [given]
    if not values or any(each != values[0] for each in values) or not _is_share(values[0]):
        raise no_equivalent(inferer, f"overlap {given!r} (expected one fraction of the window for all axes)")
    return float(values[0])


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and 0 <= value < 1
