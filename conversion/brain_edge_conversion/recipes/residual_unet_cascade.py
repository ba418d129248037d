"""Residual U-Net with localisation: a whole-tumour network finds a box, three networks look into it.

"Residual 3D U-Net with Localization for Brain Tumor Segmentation", BrainLes 2021.

- Method, on the network: `brain_edge_conversion.networks.residual_unet`, 24 channels for the coarse one and 64 for the
  fine ones; it says what the paper leaves open (levels, groups, the shortcut).
- Method, on the localisation, stage 1: cropped to 192 x 192 x 155 and five empty slices added, 192 x 192 x 160; whole
  tumour above 0.5. Where the empty slices lie is not stated; chosen: both ends, as the crop is in the middle.
- The same, stage 2: 128^3 around what stage 1 found. Chosen: pushed back into the image at its border; the middle of
  the image where stage 1 finds nothing.
- Results, on the ensemble: fine networks for WT, TC and ET, each the mean of five folds before the threshold
  ("regression voting"): `--members all` are fifteen fine networks; one fold is the default here. The coarse network is
  one: whether it is an ensemble is not stated.
- Post-processing (100, 400 and 600 are compared in the results): fewer than 600 voxels in the network's enhancing
  region are "an empty prediction": it is emptied before it is painted, wherever it lies. Counted on the image's own
  grid.
- Normalisation of intensities is not stated and none is done: the first layer is a norm. The order in which regions
  become one label map is not stated; chosen: one over the other from the outside in.
- Order of the four sequences: FLAIR, T1w, T1w after contrast, T2w (pre-processing, and again at the three networks).
  Storage: as BraTS stores, LPS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from brain_edge.image.resample import Interpolation
from brain_edge.package.manifest import Card
from brain_edge.spec import ModelSpec, Network, Stage
from brain_edge.spec.steps import (
    CropAroundStage,
    CropOrPadTo,
    JoinStages,
    MinimumVolume,
    Orient,
    Restore,
    Threshold,
    WhenEmpty,
)
from brain_edge_conversion.recipes._tumour import (
    COHORT,
    FLAIR,
    LIMITS,
    T1,
    T1C,
    T2,
    WHOLE_CORE_ENHANCING,
    first_members,
    own_graph,
    own_network,
    tumour_spec,
    weightless,
)

if TYPE_CHECKING:
    from brain_edge.image.geometry import Shape
    from brain_edge.spec.steps import AfterStep
    from brain_edge_conversion.recipe import GraphSource

FOLDS: Final = 5
COARSE_SHAPE: Final = (192, 192, 160)
FINE_SHAPE: Final = (128, 128, 128)
LEAST_ENHANCING_VOXELS: Final = 600.0
CORRECTED: Final = (
    "its blocks had a third group norm (norm.weight, norm.bias), and the sequences came as T1w, T1w after contrast, "
    "T2w, FLAIR"
)
REGIONS: Final = ("wt", "tc", "et")
WIDTHS: Final = (24, 64)
"""Channels of the finest level, of the coarse network and of the fine ones."""

CARD: Final = Card(
    summary="Brain tumour compartments of four sequences by a cascade of residual U-Nets, 5 and 37 million parameters.",
    citation='"Residual 3D U-Net with Localization for Brain Tumor Segmentation", BrainLes 2021',
    published_figures="Dice WT/TC/ET 0.8921/0.8130/0.8064 on the test cases of BraTS 2021, five folds (the paper)",
    limits=f"{LIMITS} A tumour that reaches further than 128 mm is cut. The paper does not state every layer.",
)


def spec(
    folds: int = 1,
    coarse: Shape = COARSE_SHAPE,
    fine: Shape = FINE_SHAPE,
    least_enhancing_voxels: float = LEAST_ENHANCING_VOXELS,
) -> ModelSpec:
    """Return the cascade, on boxes of these shapes."""
    merged = (
        MinimumVolume(of=(1,), voxels=least_enhancing_voxels),
        JoinStages(stages=("wt", "tc")),
        WHOLE_CORE_ENHANCING,
    )
    return tumour_spec(
        "residual-unet-cascade",
        Stage(
            name="coarse",
            before=(Orient(axes="LPS"), CropOrPadTo(shape=coarse)),
            network=Network(graphs=("coarse",), channels_in=4, channels_out=1),
            after=(Threshold(channel=0, above=0.5),),
        ),
        _fine("wt", folds, fine),
        _fine("tc", folds, fine),
        _fine("et", folds, fine, merged),
        inputs=(FLAIR, T1, T1C, T2),
    )


def localisation_graphs(folds: int = 1, widths: tuple[int, int] = WIDTHS) -> tuple[GraphSource, ...]:
    """Return the coarse network and the folds of the fine ones, of the paper's widths unless stated."""
    coarse, fine = widths
    names = [name for region in REGIONS for name in _folds(region, folds)]
    return (
        _graph("coarse", coarse, 0),
        *(_graph(name, fine, seed) for seed, name in enumerate(names, start=1)),
    )


def _fine(region: str, folds: int, shape: Shape, merged: tuple[AfterStep, ...] = ()) -> Stage:
    around = CropAroundStage(stage="coarse", shape=shape, when_empty=WhenEmpty.CENTRE)
    return Stage(
        name=region,
        before=(Orient(axes="LPS"), around),
        network=Network(graphs=_folds(region, folds), channels_in=4, channels_out=1),
        after=(Restore(interpolation=Interpolation.LINEAR), Threshold(channel=0, above=0.5), *merged),
    )


def _folds(region: str, folds: int) -> tuple[str, ...]:
    return tuple(f"{region}{fold}" for fold in range(folds))


def _graph(name: str, width: int, seed: int) -> GraphSource:
    build = own_network("residual_unet:ResidualUNet", width=width)
    return own_graph(name, build, (32, 32, 32), seed=seed, corrected=CORRECTED)


RECIPE: Final = weightless(
    name="residual-unet-cascade",
    summary="brain tumour compartments, a cascade that looks into a box, 1 to 5 folds; bring the weights",
    model=first_members(spec, localisation_graphs, CARD),
    cohort=COHORT,
    members=FOLDS,
)
