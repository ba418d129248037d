"""Translation of nnU-Net v2 plans to the steps of a ModelSpec: transpose, crop, normalise, resample, pad."""

from __future__ import annotations

from itertools import chain, combinations
from typing import TYPE_CHECKING, Any, Final

from brain_edge.errors import InputError
from brain_edge.image.resample import Interpolation
from brain_edge.spec import Activation, Blending, Label, ModelSpec, Network, Sequence, SlidingWindow, Stage, Task
from brain_edge.spec.steps import (
    Argmax,
    ChannelRule,
    CropToForeground,
    NormaliseEach,
    Orient,
    PadToMultiple,
    PaintedRegion,
    PaintRegions,
    Placement,
    ResampleThickSlices,
    Restore,
    Scheme,
    TransposeAxes,
)
from brain_edge_conversion.folders.reading import plain_names, stated

if TYPE_CHECKING:
    from pathlib import Path

    from brain_edge.spec.steps import AfterStep, BeforeStep
    from brain_edge_conversion.folders.nnunet_plans import Dataset, NnunetConfiguration, Plans

STORED_ORDER: Final = ("SimpleITKIO", "NibabelIO")
"""Readers that return the array as stored, last axis first."""
REORIENTING: Final = ("SimpleITKIOWithReorient", "NibabelIOWithReorient")
"""Readers that reorient the array to RAS first, so that its axes are S, A, R."""
RESAMPLING: Final = "resample_data_or_seg_to_shape"


def nnunet_spec(
    folder: Path, plans: Plans, configuration: NnunetConfiguration, dataset: Dataset, network: Network
) -> ModelSpec:
    """Return the specification of a results folder.

    Args:
        folder: results folder, for messages and the name of its data set.
        plans: plans as read.
        configuration: configuration that was trained.
        dataset: description of the data set as read.
        network: graphs, channels and windows.

    Raises:
        InputError: a part of the files has no equivalent, or is out of range.
    """
    try:
        return _spec(folder, plans, configuration, dataset, network)
    except ValueError as error:
        raise InputError(
            f"{folder / 'plans.json'}: the steps of these plans do not fit together ({error}); correct the plans, or "
            "convert the network as module:attribute with --spec"
        ) from error


def _spec(
    folder: Path, plans: Plans, configuration: NnunetConfiguration, dataset: Dataset, network: Network
) -> ModelSpec:
    before = (
        _array_order(plans, folder / "plans.json"),
        CropToForeground(),
        NormaliseEach(channels=_rules(plans, configuration, dataset, folder / "plans.json")),
        ResampleThickSlices(spacing_mm=_three(configuration.spacing)),
        PadToMultiple(multiple_of=1, minimum=_three(configuration.patch_size), placement=Placement.CENTRE),
    )
    decide, labels = _decision(dataset, folder / "dataset.json")
    return ModelSpec(
        name=plain_names([folder.resolve().parent.name], "nnunet")[0],
        task=Task.LESION,
        inputs=tuple(
            Sequence(name=name, contrasts=stated(given), description=given)
            for name, given in zip(plain_names(dataset.channels, "channel"), dataset.channels, strict=True)
        ),
        stages=(Stage("nnunet", before, network, (Restore(interpolation=Interpolation.LINEAR), decide)),),
        labels=labels,
    )


def nnunet_network(
    configuration: NnunetConfiguration, dataset: Dataset, graphs: tuple[str, ...], mirror: tuple[int, ...]
) -> Network:
    """Return the execution of the folds: windows of the patch size with half overlap, and the mean of the logits."""
    return Network(
        graphs=graphs,
        channels_in=len(dataset.channels),
        channels_out=len(foreground(dataset)) + (0 if has_regions(dataset) else 1),
        activation=Activation.NONE,
        execution=SlidingWindow(_three(configuration.patch_size), 0.5, Blending.GAUSSIAN_CUT),
        flips=tuple(chain.from_iterable(combinations(sorted(mirror), count) for count in range(len(mirror) + 1))),
    )


def has_regions(dataset: Dataset) -> bool:
    """Return True if any label stands for several values."""
    return any(isinstance(values, tuple) and len(values) > 1 for values in dataset.labels.values())


def foreground(dataset: Dataset) -> dict[str, int | tuple[int, ...]]:
    """Return labels or regions in channel order, without background and labels ignored in training."""
    return {
        name: values
        for name, values in dataset.labels.items()
        if name != "ignore" and (set(values) if isinstance(values, tuple) else {values}) != {0}
    }


def _three(values: tuple[Any, ...]) -> tuple[Any, Any, Any]:
    return values[0], values[1], values[2]


def require_default_pipeline(plans: Plans, configuration: NnunetConfiguration, path: Path) -> None:
    """Refuse a configuration that does not run with nnU-Net's default pipeline, in 3D and on images alone.

    Raises:
        InputError: the configuration runs in another way; the message says how.
    """
    if len(configuration.patch_size) != 3 or len(configuration.spacing) != 3:
        raise InputError(
            f"{path}: expected a 3D configuration, got a patch of {len(configuration.patch_size)} axes; "
            "convert 3d_fullres of the same data set"
        )
    if configuration.previous_stage is not None:
        raise InputError(
            f"{path}: expected a network that sees images only, got a cascade's network after "
            f"{configuration.previous_stage}; convert 3d_fullres of the same data set"
        )
    shared = {"order_z": 0, "force_separate_z": None, "is_seg": False}
    for what, wanted, got in (
        ("preprocessor_name", "DefaultPreprocessor", configuration.preprocessor_name),
        ("label_manager", "LabelManager", plans.label_manager),
        ("resampling_fn_data", RESAMPLING, configuration.resampling_fn_data),
        ("resampling_fn_data_kwargs", shared | {"order": 3}, configuration.resampling_fn_data_kwargs),
        ("resampling_fn_probabilities", RESAMPLING, configuration.resampling_fn_probabilities),
        ("resampling_fn_probabilities_kwargs", shared | {"order": 1}, configuration.resampling_fn_probabilities_kwargs),
    ):
        if got != wanted:
            raise InputError(
                f"{path}: expected {what} {wanted}, got {got}, which has no equivalent among the steps; "
                "convert the network as module:attribute with --spec"
            )


def _array_order(plans: Plans, path: Path) -> BeforeStep:
    first, second, third = plans.transpose_forward
    if plans.image_reader_writer in REORIENTING:
        return Orient(axes="".join("SAR"[axis] for axis in (first, second, third)))
    if plans.image_reader_writer not in STORED_ORDER:
        known = ", ".join((*STORED_ORDER, *REORIENTING))
        raise InputError(
            f"{path}: expected image_reader_writer {known}, got {plans.image_reader_writer}; "
            "convert the network as module:attribute with --spec"
        )
    return TransposeAxes(axes=(2 - first, 2 - second, 2 - third))


def _rules(plans: Plans, configuration: NnunetConfiguration, dataset: Dataset, path: Path) -> tuple[ChannelRule, ...]:
    count = len(dataset.channels)
    schemes, masks = configuration.normalization_schemes, configuration.use_mask_for_norm
    if not len(schemes) == len(masks) == count:
        raise InputError(
            f"{path}: expected a normalisation for each of {count} channels of dataset.json, got {len(schemes)} "
            f"schemes and {len(masks)} masks. Use plans.json and dataset.json of the same data set"
        )
    found = []
    for number, (scheme, mask) in enumerate(zip(schemes, masks, strict=True)):
        if scheme == "ZScoreNormalization":
            found.append(ChannelRule(Scheme.Z_SCORE_FOREGROUND if mask else Scheme.Z_SCORE))
        elif scheme == "NoNormalization":
            found.append(ChannelRule(Scheme.NONE))
        elif scheme == "RescaleTo01Normalization":
            found.append(ChannelRule(Scheme.MIN_MAX))
        elif scheme == "CTNormalization":
            found.append(_fixed(plans, number, path))
        else:
            raise InputError(
                f"{path}: expected a known normalisation, got {scheme} for channel {number}; "
                "convert the network as module:attribute with --spec"
            )
    return tuple(found)


def _fixed(plans: Plans, channel: int, path: Path) -> ChannelRule:
    values = plans.foreground_intensity_properties_per_channel.get(str(channel), {})
    missing = {"mean", "std", "percentile_00_5", "percentile_99_5"} - set(values)
    if missing:
        raise InputError(
            f"{path}: expected foreground_intensity_properties_per_channel for channel {channel}, got no "
            f"{', '.join(sorted(missing))}; use the plans.json beside the checkpoints"
        )
    lower, upper = values["percentile_00_5"], values["percentile_99_5"]
    return ChannelRule(Scheme.FIXED, lower, upper, values["mean"], max(values["std"], 1e-8))


def _decision(dataset: Dataset, path: Path) -> tuple[AfterStep, tuple[Label, ...]]:
    """Return the step that turns logits into labels, and the label table."""
    found = foreground(dataset)
    names = plain_names(list(found), "label")
    values = _region_values(dataset, path) if has_regions(dataset) else _plain_values(found, path)
    table = tuple(Label(value, name) for value, name in dict(zip(values, names, strict=True)).items())
    if not has_regions(dataset):
        return Argmax(), table
    # a sigmoid is above one half where its logit is above 0
    regions = tuple(PaintedRegion(channel, 0.0, value) for channel, value in enumerate(values))
    return PaintRegions(regions=regions), table


def _plain_values(found: dict[str, int | tuple[int, ...]], path: Path) -> list[int]:
    values = [value[0] if isinstance(value, tuple) else value for value in found.values()]
    if sorted(values) != list(range(1, len(values) + 1)) or len(values) > 255:
        raise InputError(
            f"{path}: expected labels numbered from 1 to at most 255 without gaps, got {', '.join(map(str, values))}"
        )
    return values


def _region_values(dataset: Dataset, path: Path) -> list[int]:
    order, count = dataset.regions_class_order, len(foreground(dataset))
    if (
        order is None
        or len(order) != count
        or len(set(order)) != count
        or not all(1 <= value <= 255 for value in order)
    ):
        raise InputError(
            f"{path}: expected regions_class_order with a different value for each of {count} regions, got {order}"
        )
    return list(order)
