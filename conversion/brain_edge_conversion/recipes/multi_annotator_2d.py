"""Multi-annotator nnU-Net, 2D: how many of three readers would have marked a voxel of a tumour.

"Modeling Multi-annotator Uncertainty as Multi-class Segmentation Problem", BrainLes 2021 (QUBIQ 2020 and 2021).

- Network: the stock nnU-Net, 2D for seven of nine tasks, among them the three of brain tumours: 32 maps at the finest
  level, doubled at each below it, no map below 4 x 4, instance norms, leaky ReLU. Patch, kernels and upsampling are
  chosen automatically and not stated; chosen here: whole slices of 256 x 256 on seven levels, at most 480 maps, 3 x 3,
  transposed convolutions, which is what nnU-Net 1 (the paper's reference) makes of that. State dicts of its `.model`
  files load.
- N + 1 channels with a softmax for N readers: class c is "exactly c of them marked it". Brain tumours have three.
- All four sequences are channels; z-score of each over what is not 0 (nnU-Net's default for skull-stripped images; not
  stated). Order: not stated; chosen: T1w, T1w after contrast, T2w, FLAIR.
- The label is the most probable class. At least c readers marked a voxel where label >= c, and the certainty is
  label / 3. The largest component of each class is kept only for tasks whose classes all were one component in
  training. For tumours that is not said, and it is not done.
"""

from __future__ import annotations

from typing import Final

from brain_edge.package.manifest import Card
from brain_edge.spec import Activation, Label, ModelSpec, Network, SlicesAlong, Stage
from brain_edge.spec.steps import CropOrPadInPlane, OrdinalLevels, Orient, Region, ZScore
from brain_edge_conversion.recipe import GraphSource
from brain_edge_conversion.recipes._tumour import (
    LABELS_BACK,
    LIMITS,
    loader,
    one_model,
    own_network,
    tumour_spec,
    weightless,
)
from brain_edge_conversion.weights.nnunet_v1 import renamed_slices

READERS: Final = 3
LABELS: Final = tuple(Label(value=count, name=f"marked-by-{count}") for count in range(1, READERS + 1))
PLANE: Final = (256, 256)
BATCH: Final = 8
FEATURES: Final = (32, 64, 128, 256, 480, 480, 480)
CORRECTED: Final = "it had 512 maps at most, as nnU-Net 2 has"
CITATION: Final = '"Modeling Multi-annotator Uncertainty as Multi-class Segmentation Problem", BrainLes 2021'

CARD: Final = Card(
    summary="How many of three readers mark a voxel of a brain tumour, by a 2D nnU-Net.",
    citation=CITATION,
    published_figures="Dice over ten thresholds 0.9485/0.7808/0.7639 on the three tumour tasks of QUBIQ (the paper)",
    limits=f"{LIMITS} A label is a number of readers, not a compartment. The plan of the network is chosen.",
)


def spec(plane: tuple[int, int] = PLANE) -> ModelSpec:
    """Return the steps around the network, on slices of that size."""
    stage = Stage(
        name="readers",
        before=(Orient(axes="SPL"), ZScore(region=Region.NONZERO), CropOrPadInPlane(axis=0, shape=plane)),
        network=Network(
            graphs=("nnunet",),
            channels_in=4,
            channels_out=READERS + 1,
            activation=Activation.SOFTMAX,
            execution=SlicesAlong(axis=0, batch=BATCH),
        ),
        after=(OrdinalLevels(), LABELS_BACK),
    )
    return tumour_spec("multi-annotator-2d", stage, labels=LABELS)


def annotator_graphs(features: tuple[int, ...] = FEATURES) -> tuple[GraphSource, ...]:
    """Return the network, of these channels. The example is small, with two pixels at the deepest level."""
    side = 2 ** len(features)
    build = own_network("nnunet_slices:NnunetSlices", features, channels_in=4, channels_out=READERS + 1)
    load = loader(build, corrected=CORRECTED, rename=renamed_slices)
    return (GraphSource("nnunet", load, None, (2, side, side)),)


RECIPE: Final = weightless(
    name="multi-annotator-2d",
    summary="how many of three readers mark a voxel of a tumour, slice by slice; bring the weights",
    model=one_model(spec, annotator_graphs, CARD),
)
