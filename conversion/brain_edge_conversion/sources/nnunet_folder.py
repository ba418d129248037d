"""Source: a results folder of nnU-Net v2. Plans and checkpoints are read as data; nothing of nnU-Net is imported.

A folder of any trainer class is accepted if its network is the one in its plans.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from brain_edge.errors import WeightsError
from brain_edge.package.manifest import Card
from brain_edge_conversion.recipe import GraphSource, ModelSource
from brain_edge_conversion.sources.own import NOT_STATED, OWN_LICENCE, READ_AS_DATA, WHOLE_FOLDER
from brain_edge_conversion.sources.request import Request, Resolved, SourceKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from brain_edge_conversion.networks.nnunet_unet import UNetPlan

MARKERS: Final = ("plans.json", "plans.pkl", "dataset.json")
CHECKPOINT: Final = "checkpoint_final.pth"
BEST: Final = "checkpoint_best.pth"
ALIAS: Final = re.compile(r"(^|\.)(all_modules|decoder\.encoder)\.")
"""Pattern of the second names under which dynamic_network_architectures stores the same tensors."""
CARD: Final = Card(
    summary="An nnU-Net v2 of the user's own.",
    citation="Isensee et al., nnU-Net, Nature Methods 2021, doi:10.1038/s41592-020-01008-z, for the method",
    published_figures=NOT_STATED,
    limits=NOT_STATED,
)


def _claims(source: str) -> bool:
    folder = Path(source)
    return folder.is_dir() and (any((folder / name).exists() for name in MARKERS) or any(folder.glob("fold_*")))


def _resolve(request: Request) -> Resolved:
    import msgspec

    from brain_edge_conversion.folders.nnunet_plans import (
        MADE_BY,
        NnunetConfiguration,
        network_plan,
        read_dataset,
        read_plans,
        resolved_configuration,
    )
    from brain_edge_conversion.folders.nnunet_spec import nnunet_network, nnunet_spec, require_default_pipeline
    from brain_edge_conversion.folders.reading import as_type

    folder = Path(request.source)
    plans, dataset = read_plans(folder), read_dataset(folder)
    checkpoints = fold_checkpoints(folder, request.variant.members)
    trained = _training(next(iter(checkpoints.values())))
    path = folder / "plans.json"
    merged = resolved_configuration(plans, trained["configuration"], path)
    configuration = as_type(merged, NnunetConfiguration, path, MADE_BY)
    require_default_pipeline(plans, configuration, path)
    mirror = tuple(trained["mirror"]) if request.variant.flips else ()
    network = nnunet_network(configuration, dataset, tuple(checkpoints), mirror)
    spec = nnunet_spec(folder, plans, configuration, dataset, network)
    build = partial(_build, network_plan(merged, path), (network.channels_in, network.channels_out))
    example = (configuration.patch_size[0], configuration.patch_size[1], configuration.patch_size[2])
    graphs = tuple(GraphSource(graph, build, None, example) for graph in checkpoints)
    request.report(f"{MADE_BY}: {trained['configuration']} of {trained['trainer']}, folds {', '.join(checkpoints)}")
    limits = _limits(plans.image_reader_writer)
    if left := _left_out(folder, checkpoints):
        request.report(f"warning: {left}")
        limits = left if limits == NOT_STATED else f"{limits} {left}"
    if found := _postprocessing(folder):
        left = f"nnU-Net's post-processing for this configuration ({found}) is not applied."
        request.report(f"warning: {left} Compare with masks made without nnUNetv2_apply_postprocessing")
        limits = left if limits == NOT_STATED else f"{limits} {left}"
    card = msgspec.structs.replace(CARD, limits=limits)
    return Resolved(ModelSource(spec, graphs, card, OWN_LICENCE), checkpoints)


def fold_checkpoints(folder: Path, members: int | None) -> dict[str, Path]:
    """Return the checkpoint of each fold that has one, by graph, as nnU-Net takes them; only `members` folds if given.

    The best checkpoint so far counts only where no fold has a final one.

    Raises:
        WeightsError: no fold has a checkpoint, or fewer folds than `members` have one.
    """
    numbered = sorted((path for path in folder.glob("fold_*") if path.name[5:].isdecimal()), key=_number)
    names = [path.name for path in numbered] or ["fold_all"]
    for checkpoint in (CHECKPOINT, BEST):
        found = {name: folder / name / checkpoint for name in names if (folder / name / checkpoint).is_file()}
        if found:
            break
    if not found or len(found) < (members or 1):
        there = ", ".join(path.name for path in numbered) or "none"
        raise WeightsError(
            f"{folder}: expected {members or 'one'} or more folds with {CHECKPOINT}, got {len(found)} "
            f"({', '.join(found) or 'none'}) of the folders {there}; finish the "
            "training, copy the checkpoints, or convert fewer folds with --members N"
        )
    return dict(list(found.items())[:members])


def _number(fold: Path) -> int:
    return int(fold.name[5:])


def _left_out(folder: Path, checkpoints: Mapping[str, Path]) -> str:
    """Return a sentence about folds without a final checkpoint; empty if each folder of a fold has one."""
    if any(path.name == BEST for path in checkpoints.values()):
        return f"No fold has {CHECKPOINT}: the weights are those of {BEST}, the best epoch of a training in progress."
    unfinished = [
        path for path in folder.glob("fold_*") if path.name[5:].isdecimal() and not (path / CHECKPOINT).is_file()
    ]
    names = ", ".join(path.name for path in sorted(unfinished, key=_number)[:5])
    return f"Folds without {CHECKPOINT} are left out: {names}." if unfinished else ""


def _training(path: Path) -> dict[str, Any]:
    """Read a checkpoint's training facts: configuration, trainer, and the axes that may be mirrored."""
    from brain_edge_conversion.weights.checkpoint import load_checkpoint

    content = load_checkpoint(path)
    arguments = content.get("init_args")
    configuration = arguments.get("configuration") if isinstance(arguments, dict) else None
    if not isinstance(configuration, str):
        raise WeightsError(
            f"{path}: expected a checkpoint of nnU-Net v2 with init_args (its configuration), got one without; "
            "convert the network as module:attribute with --spec"
        )
    mirror = content.get("inference_allowed_mirroring_axes") or ()
    if not isinstance(mirror, list | tuple) or not set(map(str, mirror)) <= set("012") or len(mirror) > 3:
        raise WeightsError(f"{path}: expected inference_allowed_mirroring_axes out of 0, 1 and 2, got {mirror!r:.60}")
    axes = [int(axis) for axis in mirror]
    return {"configuration": configuration, "trainer": str(content.get("trainer_name")), "mirror": axes}


def _build(plan: UNetPlan, channels: tuple[int, int], weights: Path | None) -> nn.Module:
    from brain_edge_conversion.networks.nnunet_unet import NnunetUNet
    from brain_edge_conversion.weights.checkpoint import load_state_dict
    from brain_edge_conversion.weights.described import described_network

    if weights is None:
        raise WeightsError("an nnU-Net folder is converted with the weights in it, got none; remove --random-weights")
    state = {name: tensor for name, tensor in load_state_dict(weights).items() if not ALIAS.search(name)}
    words = f"{weights.parent.parent / 'plans.json'}: expected the plans of a U-Net that can be built, got others"
    return described_network(partial(NnunetUNet, plan, *channels), state, str(weights), words)


def _postprocessing(folder: Path) -> str:
    """Return the path (in the folder) of the file from `nnUNetv2_find_best_configuration`; empty if there is none."""
    found = sorted(folder.glob("crossval_results_folds_*/postprocessing.*"))
    return found[0].relative_to(folder).as_posix() if found else ""


def _limits(reader: str) -> str:
    if reader.endswith("WithReorient"):
        return NOT_STATED
    return "The network sees the axes as a file stores them: images must be stored as the training images were."


KIND: Final = SourceKind("nnU-Net v2 results folder", _claims, _resolve, WHOLE_FOLDER | READ_AS_DATA)
