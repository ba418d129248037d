"""Source: a GaNDLF model folder. Its checkpoint and configuration are read as data; nothing of GaNDLF is imported."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from brain_edge.errors import WeightsError
from brain_edge.package.manifest import Card
from brain_edge_conversion.recipe import GraphSource, ModelSource
from brain_edge_conversion.sources.own import NOT_STATED, ONE_NETWORK, OWN_LICENCE, READ_AS_DATA, WHOLE_FOLDER
from brain_edge_conversion.sources.request import Request, Resolved, SourceKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from brain_edge_conversion.networks.gandlf_unet import GandlfPlan

BEST: Final = "_best.pth.tar"
MARKERS: Final = (f"*{BEST}", "*_latest.pth.tar", "parameters.pkl")
FIRST_CONVOLUTION: Final = "ins.conv0.weight"
CARD: Final = Card(
    summary="A GaNDLF model of the user's own.",
    citation="Pati et al., GaNDLF, Communications Engineering 2023, doi:10.1038/s44172-023-00066-3, for the framework",
    published_figures=NOT_STATED,
    limits="The network sees the axes as a file stores them, unless its configuration says to_canonical.",
)


def _claims(source: str) -> bool:
    folder = Path(source)
    return folder.is_dir() and any(path for marker in MARKERS for path in folder.glob(marker))


def _resolve(request: Request) -> Resolved:
    from brain_edge_conversion.folders.gandlf_config import (
        MADE_BY,
        network_plan,
        patch_sides,
        read_configuration,
        require_segmentation,
    )
    from brain_edge_conversion.folders.gandlf_spec import GRAPH, gandlf_spec

    folder = Path(request.source)
    checkpoint = best_checkpoint(folder)
    content = _content(checkpoint)
    configuration, path = read_configuration(folder, checkpoint, content.get("parameters"))
    require_segmentation(configuration, path)
    channels = _channels_in(content, checkpoint)
    spec = gandlf_spec(folder, configuration, path, channels)
    build = partial(_build, network_plan(configuration.model, channels))
    graph = GraphSource(GRAPH, build, None, patch_sides(configuration, path))
    version = content.get("version", "an unknown version")
    request.report(f"{MADE_BY} {version}: {configuration.model.architecture}, configured in {path.name}")
    return Resolved(ModelSource(spec, (graph,), CARD, OWN_LICENCE), {GRAPH: checkpoint})


def best_checkpoint(folder: Path) -> Path:
    """Return the checkpoint that GaNDLF uses for inference.

    Raises:
        WeightsError: there is no such checkpoint, or there are several.
    """
    found = sorted(folder.glob(f"*{BEST}"))
    if len(found) != 1:
        raise WeightsError(
            f"{folder}: expected one checkpoint NAME{BEST}, got {', '.join(path.name for path in found) or 'none'}; "
            "for a training with several folds, give the folder of one fold"
        )
    return found[0]


def _content(path: Path) -> Mapping[str, Any]:
    """Read a checkpoint without the tables of data sets that GaNDLF stores in it."""
    from brain_edge_conversion.weights.checkpoint import load_checkpoint

    content = load_checkpoint(path, foreign_objects=True)
    if "model_state_dict" not in content:
        raise WeightsError(
            f"{path}: expected a checkpoint of GaNDLF with model_state_dict, got {', '.join(map(str, content))}"
        )
    return content


def _channels_in(content: Mapping[str, Any], path: Path) -> int:
    """Return the number of input sequences, from the first weights; the configuration does not state it."""
    import torch

    state = content["model_state_dict"]
    weight = state.get(FIRST_CONVOLUTION, state.get(f"module.{FIRST_CONVOLUTION}")) if isinstance(state, dict) else None
    if not isinstance(weight, torch.Tensor) or weight.ndim != 5:
        raise WeightsError(
            f"{path}: expected the weights of a 3D unet or resunet of GaNDLF, got none for {FIRST_CONVOLUTION}; "
            "check that weights and configuration belong together"
        )
    return int(weight.shape[1])


def _build(plan: GandlfPlan, weights: Path | None) -> nn.Module:
    from brain_edge_conversion.networks.gandlf_unet import GandlfUNet
    from brain_edge_conversion.weights.checkpoint import is_state_dict
    from brain_edge_conversion.weights.described import described_network

    if weights is None:
        raise WeightsError("a GaNDLF folder is converted with the weights in it, got none; remove --random-weights")
    state = _content(weights)["model_state_dict"]
    if not is_state_dict(state):
        raise WeightsError(f"{weights}: expected tensors by name in model_state_dict, got other objects among them")
    words = f"{weights.parent}: expected the configuration of a network that can be built, got another"
    return described_network(partial(GandlfUNet, plan), state, str(weights), words)


KIND: Final = SourceKind("GaNDLF model folder", _claims, _resolve, WHOLE_FOLDER | READ_AS_DATA | ONE_NETWORK)
