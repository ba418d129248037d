"""DeepSeg and nnU-Net with STAPLE: three configurations of two networks, each the mean of its folds, one label map.

"Ensemble CNN Networks for GBM Tumors Segmentation Using Multi-parametric MRI", BrainLes 2021.

- Method, on DeepSeg: a U-Net of five blocks, each two 3 x 3 x 3 convolutions with batch norm and ReLU; max-pooling by
  2, up-convolutions of 2 x 2 x 2, a 1 x 1 x 1 convolution. Chosen: MONAI's `BasicUNet`, which is that, with 32 channels
  doubled at each block, which are not stated, and the norm between convolution and ReLU. The dropout is for training
  only. The method ends it in a softmax and calls its training region-based. The results list two versions; the ensemble
  has B, "a region-based version of DeepSeg" on patches of 128^3: here, as in nnU-Net, a sigmoid for each of WT, TC, ET.
- Method, on nnU-Net (the settings of the winner of BraTS 2020): convolutions of stride 2 on the way down, transposed
  ones on the way up, 32 channels doubled up to 320, batch norm in place of instance norm, a sigmoid for each of WT, TC,
  ET. Here the plain U-Net of nnU-Net 1 on six levels, which is what that plans for 128^3. State dicts of its `.model`
  files load. A and B differ in the augmentation of their training, so in their weights alone.
- Pre-processing: cropped to the brain, brought to 192 x 224 x 160, mean and deviation of the volume, patches of
  128^3. The text says resized; chosen: cut or filled up with zeros about the middle of the brain, for 1 mm stays 1 mm,
  and moments of the voxels that are not 0. How patches overlap is not stated; chosen: by 0.5, equal weights.
- Ensemble: per configuration the mean of five folds, `--members all`; one is the default here. Then STAPLE over
  the three label maps.
- Post-processing: fewer than 200 enhancing voxels become necrosis, in each configuration (results: all three include
  it) and so not after STAPLE. Counted on the image's own grid.
- Order of the four sequences: not stated; chosen: T1w, T1w after contrast, T2w, FLAIR. Storage: as BraTS stores, LPS.

DeepSeg's program is TensorFlow's, so its weights fit nothing here. A docker image of the authors holds the trained
networks (abstract); no registry does. MONAI, for DeepSeg, is in the extra `monai`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from brain_edge.package.manifest import Card
from brain_edge.spec import Activation, Blending, ModelSpec, Network, SlidingWindow, Stage
from brain_edge.spec.steps import (
    CropOrPadTo,
    CropToForeground,
    MinimumVolume,
    Orient,
    Region,
    StapleStages,
    ZScore,
)
from brain_edge_conversion.recipe import GraphSource
from brain_edge_conversion.recipes._tumour import (
    BRATS_LABELS,
    COHORT,
    ENHANCING,
    LABELS_BACK,
    LIMITS,
    NECROSIS,
    WHOLE_CORE_ENHANCING,
    first_members,
    loader,
    tumour_spec,
    weightless,
)
from brain_edge_conversion.weights.nnunet_v1 import renamed

if TYPE_CHECKING:
    from torch import nn

    from brain_edge.image.geometry import Shape
    from brain_edge.spec.steps import AfterStep

FOLDS: Final = 5
BRAIN: Final = (192, 224, 160)
PATCH: Final = 128
LEAST_ENHANCING_VOXELS: Final = 200.0
DEEPSEG_WIDTH: Final = 32
NNUNET_FEATURES: Final = (32, 64, 128, 256, 320, 320)
CONFIGURATIONS: Final = ("nnunet-a", "nnunet-b", "deepseg")

CORRECTED: Final = (
    "DeepSeg had four classes that exclude each other (final_conv.weight, final_conv.bias), and the nnU-Nets were "
    "MONAI's DynUNet"
)

CARD: Final = Card(
    summary="Brain tumour compartments of four sequences by STAPLE of two nnU-Nets and a DeepSeg, 31 and 23 million "
    "parameters.",
    citation='"Ensemble CNN Networks for GBM Tumors Segmentation Using Multi-parametric MRI", BrainLes 2021',
    published_figures="Dice ET/TC/WT 87.63/87.49/91.87 % on the test cases of BraTS 2021, fifteen networks (the paper)",
    limits=f"{LIMITS} The paper shares its networks in a docker image. Brain beyond 192 x 224 x 160 mm is not seen. "
    "The paper does not state DeepSeg's widths.",
)


def spec(
    folds: int = 1,
    brain: Shape = BRAIN,
    patch: int = PATCH,
    least_enhancing_voxels: float = LEAST_ENHANCING_VOXELS,
) -> ModelSpec:
    """Return the three configurations and their agreement, in cubic windows."""
    small = MinimumVolume(of=(ENHANCING.value,), voxels=least_enhancing_voxels, replacement=NECROSIS.value)

    def stage(name: str, *agreed: AfterStep) -> Stage:
        network = Network(
            graphs=_folds(name, folds),
            channels_in=4,
            channels_out=len(BRATS_LABELS),
            activation=Activation.SIGMOID,
            execution=SlidingWindow(shape=(patch, patch, patch), overlap=0.5, blending=Blending.CONSTANT),
        )
        before = (Orient(axes="LPS"), CropToForeground(), CropOrPadTo(shape=brain), ZScore(region=Region.NONZERO))
        return Stage(name, before, network, (WHOLE_CORE_ENHANCING, LABELS_BACK, small, *agreed))

    *others, last = CONFIGURATIONS
    agreement = StapleStages(stages=tuple(others))
    return tumour_spec("deepseg-nnunet", *(stage(name) for name in others), stage(last, agreement))


def ensemble_graphs(
    folds: int = 1, width: int = DEEPSEG_WIDTH, features: tuple[int, ...] = NNUNET_FEATURES
) -> tuple[GraphSource, ...]:
    """Return the networks of all configurations, as wide as the recipe's unless stated."""
    networks = dict(zip(CONFIGURATIONS, (partial(_nnunet, features),) * 2 + (partial(_deepseg, width),), strict=True))
    named = [(graph, networks[name]) for name in CONFIGURATIONS for graph in _folds(name, folds)]
    # two voxels are left at the deepest level: a norm of one voxel would be a constant
    side = 2 ** max(len(features), 5)
    return tuple(
        GraphSource(graph, loader(build, seed, CORRECTED, renamed), None, (side, side, side))
        for seed, (graph, build) in enumerate(named)
    )


def _folds(name: str, folds: int) -> tuple[str, ...]:
    return tuple(f"{name}{fold}" for fold in range(folds))


def _nnunet(features: tuple[int, ...]) -> nn.Module:
    from brain_edge_conversion.networks.nnunet_unet import NnunetUNet, UNetPlan

    plan = UNetPlan.plain(features, (3, 3, 3), (2, 2, 2), is_version_1=True)
    return NnunetUNet(replace(plan, batch_norm=True), channels_in=4, channels_out=len(BRATS_LABELS))


def _deepseg(width: int) -> nn.Module:
    from monai.networks.nets import BasicUNet

    widths = tuple(width * 2**block for block in range(5))
    network: nn.Module = BasicUNet(
        spatial_dims=3,
        in_channels=4,
        out_channels=len(BRATS_LABELS),
        features=(*widths, width),
        act="relu",
        norm="batch",
    )
    return network


RECIPE: Final = weightless(
    name="deepseg-nnunet",
    summary="brain tumour compartments, STAPLE of two nnU-Nets and a DeepSeg, 1 to 5 folds; bring the weights",
    model=first_members(spec, ensemble_graphs, CARD),
    cohort=COHORT,
    members=FOLDS,
)
