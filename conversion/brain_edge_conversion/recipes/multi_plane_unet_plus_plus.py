"""Multi-plane UNet++: a network for each anatomical plane, and a majority vote of the three.

"Multi-plane UNet++ Ensemble for Glioblastoma Segmentation", BrainLes 2021.

- Networks: three UNet++ on Xception, for axial, sagittal and coronal slices:
  `brain_edge_conversion.networks.unet_plus_plus`. Softmax over four classes.
- Every slice is resized to 256 x 256 (240 x 240 in the axial plane, 240 x 155 in the others). Interpolation: not
  stated; chosen: linear. Normalisation: not stated; chosen: mean and deviation of the voxels that are not 0, each
  sequence.
- The slices of each plane are put together again, resized back (nearest; implied, not stated), and the three volumes
  vote voxel by voxel. Where all three differ is not stated; chosen: the smallest region wins, enhancing before
  necrosis before oedema before background.
- Order of the sequences: not stated; chosen: T1w, T1w after contrast, T2w, FLAIR. Labels of BraTS 2021.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from brain_edge.image.resample import Interpolation
from brain_edge.package.manifest import Card
from brain_edge.spec import ModelSpec, Network, SlicesAlong, Stage
from brain_edge.spec.steps import Argmax, Orient, Region, ResizeInPlane, VoteStages, ZScore
from brain_edge_conversion.recipes._tumour import (
    COHORT,
    LABELS_BACK,
    LIMITS,
    one_model,
    own_graph,
    own_network,
    tumour_spec,
    weightless,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brain_edge_conversion.recipe import GraphSource

PLANES: Final = ("sagittal", "coronal", "axial")
"""Planes in the order of the RAS axes along which their slices lie. The last one holds the vote."""
SHAPE: Final = (256, 256)
BATCH: Final = 8
TIE_ORDER: Final = (4, 1, 2, 0)
XCEPTION: Final = (32, 64, 128, 256, 728, 1024, 1536, 2048)
MIDDLE_BLOCKS: Final = 8
FINEST: Final = 16

CARD: Final = Card(
    summary="Brain tumour compartments of four sequences by three 2D UNet++ on Xception, one a plane, and a vote.",
    citation='"Multi-plane UNet++ Ensemble for Glioblastoma Segmentation", BrainLes 2021',
    published_figures="Dice ET/TC/WT .792/.835/.906 on the test cases of BraTS 2021 (the paper)",
    limits=f"{LIMITS} The paper states neither its normalisation nor its channels in full; those here are chosen.",
)


def spec(shape: tuple[int, int] = SHAPE) -> ModelSpec:
    """Return the three stages, on slices of that shape."""
    return tumour_spec("multi-plane-unet-plus-plus", *(_stage(axis, shape) for axis in range(3)))


def _stage(axis: int, shape: tuple[int, int]) -> Stage:
    votes = (VoteStages(stages=PLANES[:-1], tie_order=TIE_ORDER),) if axis == len(PLANES) - 1 else ()
    return Stage(
        name=PLANES[axis],
        before=(
            Orient(axes="RAS"),
            ZScore(region=Region.NONZERO),
            ResizeInPlane(axis=axis, shape=shape, interpolation=Interpolation.LINEAR),
        ),
        network=Network(
            graphs=(PLANES[axis],), channels_in=4, channels_out=4, execution=SlicesAlong(axis=axis, batch=BATCH)
        ),
        after=(Argmax(values=(0, 1, 2, 4)), LABELS_BACK, *votes),
    )


def plane_graphs(
    encoder: Sequence[int] = XCEPTION, middle_blocks: int = MIDDLE_BLOCKS, finest: int = FINEST
) -> tuple[GraphSource, ...]:
    """Return the networks, of the paper's width unless stated, each with weights of its own.

    Three equal networks could not outvote one another.
    """
    build = own_network(
        "unet_plus_plus:XceptionUNetPlusPlus", encoder=encoder, middle_blocks=middle_blocks, finest=finest
    )
    return tuple(own_graph(plane, build, (64, 64, 64), seed=seed) for seed, plane in enumerate(PLANES))


RECIPE: Final = weightless(
    name="multi-plane-unet-plus-plus",
    summary="brain tumour compartments, one 2D network a plane and a vote; bring the weights",
    model=one_model(spec, plane_graphs, CARD),
    cohort=COHORT,
)
