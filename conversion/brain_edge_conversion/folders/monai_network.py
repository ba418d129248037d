"""The network of a MONAI bundle, built with MONAI's own class and the arguments of its configuration."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from brain_edge.errors import MissingExtraError
from brain_edge_conversion.folders.monai_arguments import unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import nn

    from brain_edge_conversion.folders.monai_config import Component

NETWORKS: Final = (
    "AttentionUnet",
    "BasicUNet",
    "DynUNet",
    "HighResNet",
    "SegResNet",
    "SegResNetDS",
    "SwinUNETR",
    "UNETR",
    "UNet",
    "VNet",
)
"""Classes of `monai.networks.nets` that give one tensor of the size of their input, and fetch nothing when they are
built (`FlexibleUNet` and `AHNet` can)."""
HOME: Final = "monai.networks.nets"


def network_arguments(network: Component) -> dict[str, Any]:
    """The arguments of a network, all of them data.

    Raises:
        InputError: it is another class than `NETWORKS`, or an argument would have to be run to be known.
    """
    modules = network.target.rpartition(".")[0]
    if network.name not in NETWORKS or not (modules in ("", HOME) or modules.startswith(f"{HOME}.")):
        raise unknown(network, [f"{HOME}.{name}" for name in NETWORKS])
    return {name: network.data(name) for name in network.arguments}


def build_network(name: str, arguments: Mapping[str, Any], config: Path, weights: Path) -> nn.Module:
    """The network with its weights, ready for inference.

    Raises:
        MissingExtraError: MONAI is not installed.
        InputError: its class does not take these arguments.
        WeightsError: the weights are of another network.
    """
    from brain_edge_conversion.weights.checkpoint import load_state_dict
    from brain_edge_conversion.weights.described import described_network

    try:
        from monai.networks import nets
    except ModuleNotFoundError as error:
        raise MissingExtraError("converting a MONAI bundle", str(error.name), "monai") from error
    build: Callable[[], nn.Module] = partial(getattr(nets, name), **arguments)
    words = (
        f"{config}: network_def: MONAI does not build {name} with these arguments; the bundle may be of another "
        "version of MONAI, metadata.json says which"
    )
    return described_network(build, load_state_dict(weights), str(weights), words)
