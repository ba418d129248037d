"""JSON files of an nnU-Net v2 results folder, plans.json and dataset.json, read strictly where it matters.

nnU-Net finds its classes and functions by the names in the plans. Known names have an equivalent here, all others are
refused; nothing of nnU-Net is imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import msgspec
from msgspec import Meta

from brain_edge.errors import InputError
from brain_edge_conversion.folders.reading import as_type, read_json
from brain_edge_conversion.networks.nnunet_unet import UNetPlan

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MADE_BY: Final = "nnU-Net v2"
NETWORKS: Final = {"PlainConvUNet": "n_conv_per_stage", "ResidualEncoderUNet": "n_blocks_per_stage"}
"""Known network -> name of the entry with its blocks per encoder stage."""
MOST_STAGES: Final = 16
"""Largest number of stages of an encoder."""

Channels: TypeAlias = Annotated[int, Meta(ge=1, le=2**16)]
Extent: TypeAlias = Annotated[int, Meta(ge=1, le=2**12)]
Few: TypeAlias = Annotated[int, Meta(ge=1, le=64)]
Kernel: TypeAlias = tuple[Few, Few, Few]
"""Sides (I, J, K) of a kernel, or its strides."""


class NnunetConfiguration(msgspec.Struct, frozen=True):
    """One configuration of the plans with inheritance resolved, without the entries that inference does not need."""

    patch_size: tuple[Extent, ...]
    spacing: tuple[float, ...]
    normalization_schemes: tuple[str, ...]
    use_mask_for_norm: tuple[bool, ...]
    preprocessor_name: str = "DefaultPreprocessor"
    resampling_fn_data: str = ""
    resampling_fn_data_kwargs: dict[str, Any] = {}
    resampling_fn_probabilities: str = ""
    resampling_fn_probabilities_kwargs: dict[str, Any] = {}
    previous_stage: str | None = None


class Plans(msgspec.Struct, frozen=True):
    """Content of plans.json."""

    configurations: dict[str, dict[str, Any]]
    transpose_forward: tuple[int, int, int]
    image_reader_writer: str
    label_manager: str = "LabelManager"
    foreground_intensity_properties_per_channel: dict[str, dict[str, float]] = {}


class Dataset(msgspec.Struct, frozen=True):
    """Content of dataset.json."""

    labels: dict[str, int | Annotated[tuple[int, ...], Meta(min_length=1)]]
    channel_names: dict[str, str] = {}
    modality: dict[str, str] = {}
    regions_class_order: tuple[int, ...] | None = None

    @property
    def channels(self) -> list[str]:
        """Names of the sequences, in channel order."""
        named = self.channel_names or self.modality
        return [named[number] for number in sorted(named, key=int)]


class _Architecture(msgspec.Struct, frozen=True):
    """`architecture`."""

    network_class_name: str = ""
    arch_kwargs: dict[str, Any] | None = None


class _OldArchitecture(msgspec.Struct, frozen=True):
    """What plans written before nnU-Net 2.4 say of a network: its sizes."""

    n_conv_per_stage_encoder: Annotated[tuple[Few, ...], Meta(max_length=MOST_STAGES)]
    n_conv_per_stage_decoder: tuple[Few, ...]
    conv_kernel_sizes: tuple[Kernel, ...]
    pool_op_kernel_sizes: tuple[Kernel, ...]
    UNet_base_num_features: Channels
    unet_max_num_features: Channels
    patch_size: tuple[Extent, ...]


class _Arguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`arch_kwargs` of the known networks."""

    n_stages: int
    features_per_stage: tuple[Channels, ...]
    conv_op: str
    kernel_sizes: tuple[Kernel, ...]
    strides: tuple[Kernel, ...]
    n_conv_per_stage_decoder: tuple[Few, ...]
    n_conv_per_stage: tuple[Few, ...] = ()
    n_blocks_per_stage: tuple[Few, ...] = ()
    conv_bias: bool = False
    norm_op: str | None = None
    norm_op_kwargs: _NormArguments | None = None
    dropout_op: str | None = None
    dropout_op_kwargs: dict[str, Any] | None = None
    nonlin: str | None = None
    nonlin_kwargs: _ReluArguments | None = None
    deep_supervision: bool = False


class _NormArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    eps: float = 1e-5
    affine: bool = False


class _ReluArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    negative_slope: float = 0.01
    inplace: bool = False


def read_plans(folder: Path) -> Plans:
    """Read plans.json of a results folder.

    Raises:
        InputError: the file is missing or not from nnU-Net v2; plans of version 1 have their own message.
    """
    path = folder / "plans.json"
    if not path.is_file() and (folder / "plans.pkl").is_file():
        raise InputError(
            f"{folder / 'plans.pkl'}: expected plans of nnU-Net v2 (plans.json), got those of version 1 (a pickle, not "
            "read). Train with nnU-Net v2, or convert the network as module:attribute with --spec"
        )
    plans = read_json(path, Plans, MADE_BY)
    if sorted(plans.transpose_forward) != [0, 1, 2]:
        raise InputError(f"{path}: expected transpose_forward to name each axis once, got {plans.transpose_forward}")
    return plans


def read_dataset(folder: Path) -> Dataset:
    """Read dataset.json of a results folder.

    Raises:
        InputError: the file is missing, not from nnU-Net v2, or names no channels.
    """
    path = folder / "dataset.json"
    dataset = read_json(path, Dataset, MADE_BY)
    named = dataset.channel_names or dataset.modality
    if sorted(named) != sorted(str(number) for number in range(len(named))) or not named:
        raise InputError(f"{path}: expected channel_names numbered from 0, got {', '.join(named) or 'none'}")
    return dataset


def resolved_configuration(plans: Plans, name: str, path: Path) -> dict[str, Any]:
    """Return a configuration with everything that it inherits.

    Raises:
        InputError: there is no configuration of this name, or configurations inherit in a circle.
    """
    merged: dict[str, Any] = {}
    wanted: str | None = name
    seen: list[str] = []
    while wanted is not None:
        if not isinstance(wanted, str) or wanted not in plans.configurations or wanted in seen:
            there = ", ".join(plans.configurations)
            raise InputError(
                f"{path}: expected the configuration {wanted} among {there}, without a circle of inherits_from; use "
                "the plans.json beside the checkpoints"
            )
        seen.append(wanted)
        merged = {**plans.configurations[wanted], **merged}
        wanted = plans.configurations[wanted].get("inherits_from")
    return merged


def network_plan(configuration: Mapping[str, Any], path: Path) -> UNetPlan:
    """Return the network plan of a configuration.

    Raises:
        InputError: the network or one of its arguments is unknown.
    """
    described = as_type(
        configuration.get("architecture") or _from_old_plans(configuration, path), _Architecture, path, MADE_BY
    )
    class_name = described.network_class_name
    short = class_name.rpartition(".")[2]
    if short not in NETWORKS or not class_name.startswith("dynamic_network_architectures."):
        raise InputError(
            f"{path}: expected the network {' or '.join(NETWORKS)}, got {class_name or 'none'}; "
            "convert it as module:attribute with --spec"
        )
    arguments = as_type(described.arch_kwargs, _Arguments, path, MADE_BY)
    _require_known_layers(arguments, path)
    blocks = getattr(arguments, NETWORKS[short])
    stages = arguments.n_stages
    lengths = [len(each) for each in (arguments.features_per_stage, arguments.kernel_sizes, arguments.strides, blocks)]
    if lengths != [stages] * 4 or len(arguments.n_conv_per_stage_decoder) != stages - 1:
        raise InputError(
            f"{path}: expected arch_kwargs with lists for n_stages {stages}, got other lengths; use the plans.json "
            "beside the checkpoints"
        )
    norm, relu = arguments.norm_op_kwargs or _NormArguments(), arguments.nonlin_kwargs or _ReluArguments()
    return UNetPlan(
        residual=short == "ResidualEncoderUNet",
        features=arguments.features_per_stage,
        kernels=arguments.kernel_sizes,
        strides=arguments.strides,
        encoder_blocks=blocks,
        decoder_convs=arguments.n_conv_per_stage_decoder,
        conv_bias=arguments.conv_bias,
        norm_eps=norm.eps if arguments.norm_op is not None else None,
        norm_affine=norm.affine,
        negative_slope=relu.negative_slope,
    )


def _require_known_layers(arguments: _Arguments, path: Path) -> None:
    for name, layer, wanted in (
        ("conv_op", arguments.conv_op, ("Conv3d",)),
        ("norm_op", arguments.norm_op, ("InstanceNorm3d", None)),
        ("nonlin", arguments.nonlin, ("LeakyReLU",)),
        ("dropout_op", arguments.dropout_op, ("Dropout", "Dropout3d", None)),  # idle at inference
    ):
        short = None if layer is None else layer.rpartition(".")[2]
        if short not in wanted or (layer is not None and not layer.startswith("torch.nn.")):
            raise InputError(
                f"{path}: expected {name} {wanted[0]} of torch.nn, got {layer}; convert the network as "
                "module:attribute with --spec"
            )


def _from_old_plans(configuration: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return the `architecture` for plans written before nnU-Net 2.4, which name only the class and its sizes."""
    short = configuration.get("UNet_class_name")
    if not isinstance(short, str) or short not in NETWORKS:
        raise InputError(
            f"{path}: expected an architecture in the plans, got none; convert the network as "
            "module:attribute with --spec"
        )
    old = as_type(dict(configuration), _OldArchitecture, path, MADE_BY)
    stages = len(old.n_conv_per_stage_encoder)
    return {
        "network_class_name": f"dynamic_network_architectures.architectures.unet.{short}",
        "arch_kwargs": {
            "n_stages": stages,
            "features_per_stage": [
                min(old.UNet_base_num_features * 2**stage, old.unet_max_num_features) for stage in range(stages)
            ],
            "conv_op": f"torch.nn.Conv{len(old.patch_size)}d",
            "kernel_sizes": old.conv_kernel_sizes,
            "strides": old.pool_op_kernel_sizes,
            NETWORKS[short]: old.n_conv_per_stage_encoder,
            "n_conv_per_stage_decoder": old.n_conv_per_stage_decoder,
            "conv_bias": True,
            "norm_op": "torch.nn.InstanceNorm3d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
    }
