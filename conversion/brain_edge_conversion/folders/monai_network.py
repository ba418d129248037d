"""Network of a MONAI bundle, built with MONAI's own class and the arguments of its configuration."""

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
"""Classes of `monai.networks.nets` that return one tensor of the size of their input and download nothing when they are
built (`FlexibleUNet` and `AHNet` may)."""
HOME: Final = "monai.networks.nets"
_WITHOUT_EFFECT: Final = {("SwinUNETR", "img_size")}
"""Arguments that older versions of MONAI only checked, and that MONAI from 1.5 on does not take."""
_RENAMED: Final = {"dimensions": "spatial_dims"}
"""Arguments under the name that they had in MONAI before 0.9, and their present name."""


def network_arguments(network: Component) -> dict[str, Any]:
    """Return the arguments of a network, all of them data.

    Raises:
        InputError: the class is not in `NETWORKS`, or an argument is not data.
    """
    modules = network.target.rpartition(".")[0]
    if network.name not in NETWORKS or not (modules in ("", HOME) or modules.startswith(f"{HOME}.")):
        raise unknown(network, [f"{HOME}.{name}" for name in NETWORKS])
    kept = (name for name in network.arguments if (network.name, name) not in _WITHOUT_EFFECT)
    return {_RENAMED.get(name, name): network.data(name) for name in kept}


def build_network(
    name: str, arguments: Mapping[str, Any], config: Path, weights: Path, report: Callable[[str], None]
) -> nn.Module:
    """Build the network with its weights, ready for inference.

    Raises:
        MissingExtraError: MONAI is not installed.
        InputError: the class does not take these arguments.
        WeightsError: the weights belong to another network.
    """
    from brain_edge_conversion.weights.checkpoint import load_content
    from brain_edge_conversion.weights.described import described_network

    try:
        from monai.networks import nets
    except ModuleNotFoundError as error:
        raise MissingExtraError("converting a MONAI bundle", str(error.name), "monai") from error
    build: Callable[[], nn.Module] = partial(getattr(nets, name), **arguments)
    words = (
        f"{config}: network_def: MONAI does not build {name} with these arguments. The bundle may need another "
        "version of MONAI; see metadata.json"
    )
    return described_network(build, load_content(weights), str(weights), words, report)
