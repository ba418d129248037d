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
    from torch import nn

    from brain_edge_conversion.networks.nnunet_unet import UNetPlan

MARKERS: Final = ("plans.json", "plans.pkl", "dataset.json")
CHECKPOINT: Final = "checkpoint_final.pth"
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
    if found := _postprocessing(folder):
        left = f"nnU-Net's post-processing for this configuration ({found}) is not applied."
        request.report(f"warning: {left} Compare with masks made without nnUNetv2_apply_postprocessing")
        limits = left if limits == NOT_STATED else f"{limits} {left}"
    card = msgspec.structs.replace(CARD, limits=limits)
    return Resolved(ModelSource(spec, graphs, card, OWN_LICENCE), checkpoints)


def fold_checkpoints(folder: Path, members: int | None) -> dict[str, Path]:
    """Return the final checkpoint of each fold, by graph; only the first `members` folds if given.

    Raises:
        WeightsError: a fold is missing, or its training is not finished.
    """
    there = sorted(int(path.name[5:]) for path in folder.glob("fold_*") if path.name[5:].isdecimal())
    if not there and (folder / "fold_all").is_dir():
        names = ["fold_all"]
    else:
        # of more than there are, the first one beyond is missing at the latest
        wanted = min(members or max(there, default=0) + 1, len(there) + 1)
        names = [f"fold_{number}" for number in range(wanted)]
    for name in names:
        if not (folder / name / CHECKPOINT).is_file():
            found = ", ".join(f"fold_{number}" for number in there) or "none"
            raise WeightsError(
                f"{folder / name / CHECKPOINT}: there is no such checkpoint. Expected checkpoints of "
                f"{', '.join(names)}, got the folders {found}; finish the training, copy the checkpoint, or convert "
                "the first N folds with --members N"
            )
    return {name: folder / name / CHECKPOINT for name in names}


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
