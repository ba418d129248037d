"""Multi-annotator nnU-Net, 3D: how many of three readers would have marked a voxel of a tumour.

"Modeling Multi-annotator Uncertainty as Multi-class Segmentation Problem", BrainLes 2021. The paper uses the 3D
full-resolution nnU-Net for its two tasks of the pancreas; here it has the labels and sequences of the brain tumour, for
which the paper's is 2D (`multi-annotator-2d`, where coding and decoding of the readers are said).

- Network: 32 maps, doubled at each level; patch, kernels and upsampling not stated; chosen: what nnU-Net plans for
  patches of 128^3, at most 320 channels on six levels.
- Windows that overlap by half, merged with weights that fall from the middle to the border (paper); nnU-Net's Gaussian.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from brain_edge.package.manifest import Card
from brain_edge.spec import Activation, Blending, ModelSpec, Network, SlidingWindow, Stage
from brain_edge.spec.steps import CropToForeground, OrdinalLevels, Orient, Region, ZScore
from brain_edge_conversion.recipes._tumour import LABELS_BACK, LIMITS, one_model, tumour_spec, weightless
from brain_edge_conversion.recipes.multi_annotator_2d import CITATION, LABELS, READERS
from brain_edge_conversion.recipes.nnunet_loss_ensemble import nnunet, nnunet_graph

if TYPE_CHECKING:
    from brain_edge.image.geometry import Shape
    from brain_edge_conversion.recipe import GraphSource

PATCH: Final = (128, 128, 128)
FEATURES: Final = (32, 64, 128, 256, 320, 320)

CARD: Final = Card(
    summary="How many of three readers mark a voxel of a brain tumour, by a 3D nnU-Net of 31 million parameters.",
    citation=CITATION,
    published_figures="none for brain tumours in 3D",
    limits=f"{LIMITS} A label is a number of readers, not a compartment. The plan of the network is chosen.",
)


def spec(patch: Shape = PATCH) -> ModelSpec:
    """Return the steps around the network, in windows of that shape."""
    stage = Stage(
        name="readers",
        before=(Orient(axes="SPL"), CropToForeground(), ZScore(region=Region.NONZERO)),
        network=Network(
            graphs=("nnunet",),
            channels_in=4,
            channels_out=READERS + 1,
            activation=Activation.SOFTMAX,
            execution=SlidingWindow(shape=patch, overlap=0.5, blending=Blending.GAUSSIAN_CUT),
        ),
        after=(OrdinalLevels(), LABELS_BACK),
    )
    return tumour_spec("multi-annotator-3d", stage, labels=LABELS)


def annotator_graphs(features: tuple[int, ...] = FEATURES) -> tuple[GraphSource, ...]:
    """Return the network, of these channels. The example is small, with two voxels at the deepest level."""
    side = 2 ** len(features)
    return (nnunet_graph("nnunet", partial(nnunet, features, READERS + 1), (side, side, side)),)


RECIPE: Final = weightless(
    name="multi-annotator-3d",
    summary="the same in 3D, windows of 128 voxels; bring the weights",
    model=one_model(spec, annotator_graphs, CARD),
)
