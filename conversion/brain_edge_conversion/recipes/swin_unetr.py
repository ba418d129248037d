"""Swin UNETR: tumour compartments by a transformer of shifted windows with a convolutional decoder, 1 to 10 models.

"Swin UNETR: Swin Transformers for Semantic Segmentation of Brain Tumors in MRI Images", BrainLes 2021; its program is
MONAI's, and so is the network here: `monai.networks.nets.SwinUNETR`, whose state dicts load as they are.

- Method, on the network: patches of 2^3 voxels to 48 features; four stages of two blocks with 3, 6, 12, 24 heads in
  windows of 7^3, shifted by 3 in every second block; residual blocks with instance norms and transposed convolutions on
  the way up; three regions. All of these are MONAI's defaults but for the 48 features.
- Its size: 61.98 million and 394.84 GFLOP, without the input that they hold for. MONAI's network has 62,191,941
  parameters for 4 sequences and 3 regions; 197,730 of them are relative position biases, which counting tools that
  look at layers miss: 61.99 million without.
- Pre-processing: mean and deviation of the voxels that are not 0, each sequence on its own.
- Inference: windows of 128^3 that overlap by 0.7, which MONAI makes steps of 38 voxels: 32 windows for
  240 x 240 x 155. How overlaps are weighted is not stated; chosen: equally, MONAI's default. The published program
  averages what comes before the sigmoid; here probabilities are averaged, of windows as of models.
- Results: the mean of ten models, `--members all`; one is the default here. No mirroring, no clean-up.
- Regions, each with a sigmoid and cut at 0.5: the text lists ET, WT, TC; the published program
  (Project-MONAI/research-contributions, SwinUNETR/BRATS21/test.py) has TC, WT, ET and paints WT, TC, ET over each
  other, and that is what its weights mean.
- Sequences: not stated in the paper; FLAIR, T1w after contrast, T1w, T2w in MONAI's tutorial on these weights. Storage:
  as BraTS stores, LPS.

The graph is made for windows of 128^3 alone: the shifts, the masks and the padding of the attention are constants of
that size. MONAI, and einops, which this network of it wants, are in the extra `monai`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from brain_edge.package.manifest import Card, Licence
from brain_edge.spec import Activation, ModelSpec, Network, Stage, StridedWindows
from brain_edge.spec.steps import Orient, PaintedRegion, PaintRegions, Region, ZScore
from brain_edge_conversion.recipe import GraphSource, Recipe
from brain_edge_conversion.recipes._tumour import (
    COHORT,
    ENHANCING,
    FLAIR,
    LABELS_BACK,
    NECROSIS,
    OEDEMA,
    STAND_IN,
    T1,
    T1C,
    T2,
    first_members,
    loader,
    tumour_spec,
)

if TYPE_CHECKING:
    from torch import nn

MEMBERS: Final = 10
WINDOW: Final = 128
STEP: Final = 38
"""Voxels between windows: MONAI's `int(128 * (1 - 0.7))`."""
FEATURES: Final = 48
REGIONS: Final = PaintRegions(
    regions=(
        PaintedRegion(channel=1, above=0.5, label=OEDEMA.value),
        PaintedRegion(channel=0, above=0.5, label=NECROSIS.value),
        PaintedRegion(channel=2, above=0.5, label=ENHANCING.value),
    )
)
"""Channels TC, WT, ET, painted from the outside in."""

CARD: Final = Card(
    summary="Brain tumour compartments of four sequences by a Swin transformer with 62 million parameters.",
    citation='"Swin UNETR: Swin Transformers for Semantic Segmentation of Brain Tumors in MRI Images", BrainLes 2021',
    published_figures="Dice ET/WT/TC .853/.927/.876 on the test cases of BraTS 2021, ten models (the paper)",
    limits="Skull-stripped images on one grid of 1 mm. The heaviest network here: 32 windows a case.",
)
LICENCE: Final = Licence(
    name="not stated here",
    holder="MONAI Consortium",
    notes="Five folds are in a release of Project-MONAI/MONAI-extra-test-data; no hash of them was at hand.",
)
WEIGHTS: Final = (
    "bring the file: model.pt of a fold in release 0.8.1 of Project-MONAI/MONAI-extra-test-data "
    "(fold1_f48_ep300_4gpu_dice0_9059.zip and four others), or --random-weights"
)


def spec(members: int = 1, window: int = WINDOW, step: int = STEP) -> ModelSpec:
    """Return the steps around so many models, in cubic windows."""
    sides = (window, window, window)
    stage = Stage(
        name="tumour",
        before=(Orient(axes="LPS"), ZScore(region=Region.NONZERO)),
        network=Network(
            graphs=tuple(f"model{n}" for n in range(members)),
            channels_in=4,
            channels_out=3,
            activation=Activation.SIGMOID,
            execution=StridedWindows(shape=sides, stride=(step, step, step), core=sides),
        ),
        after=(REGIONS, LABELS_BACK),
    )
    return tumour_spec("swin-unetr", stage, inputs=(FLAIR, T1C, T1, T2))


def swin_graphs(members: int = 1, features: int = FEATURES, window: int = WINDOW) -> tuple[GraphSource, ...]:
    """Return the networks, of the paper's width and window unless stated."""
    build = partial(_network, features)
    sides = (window, window, window)
    return tuple(
        GraphSource(f"model{n}", loader(build, seed=n), None, sides, has_fixed_sides=True) for n in range(members)
    )


def _network(features: int) -> nn.Module:
    import einops  # noqa: F401  # MONAI looks for it when the network runs, and says less where it is missing
    from monai.networks.nets import SwinUNETR

    return SwinUNETR(in_channels=4, out_channels=3, feature_size=features)  # type: ignore[no-any-return]


RECIPE: Final = Recipe(
    name="swin-unetr",
    summary="brain tumour compartments, Swin transformer, 1 to 10 models; bring the weights",
    model=first_members(spec, swin_graphs, CARD, LICENCE),
    weights=WEIGHTS,
    cohort=COHORT,
    parity_phantom=STAND_IN,
    members=MEMBERS,
)
