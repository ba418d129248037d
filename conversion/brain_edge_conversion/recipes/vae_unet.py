"""VAE-regularised U-Net: a residual network that was trained beside an autoencoder, which is cut off here.

"3D MRI Brain Tumour Segmentation with Autoencoder Regularization and Hausdorff Distance Loss Function", BrainLes 2021.

- Method, on the network: a U-Net after the winner of BraTS 2018 (Myronenko, arXiv 1810.11654) with four channels out;
  the autoencoder is a branch for training only. Its figure is missing; chosen: MONAI's network of that name,
  `monai.networks.nets.SegResNetVAE` with Myronenko's 32 channels, 1-2-2-4 and 1-1-1 blocks, group norm before ReLU
  before convolution; `brain_edge_conversion.networks.vae_unet` runs its segmenting half.
- Output: a softmax over background, ET, TC, WT, which as classes that exclude each other are what BraTS calls
  enhancing, necrosis and oedema.
- Pre-processing: histograms matched to the subject BraTS2021_00000 inside the brain; a z-transform is named
  among the augmentations only; chosen: done here too, over the voxels that are not 0.
- Inference: windows of 144^3 at a stride of 64, of which the 128^3 in the middle are kept, overlaps merged by
  "exponential averaging", then the most probable class. Chosen: cores from the border on, zeros beyond it; a Gaussian
  weight.
- No ensemble, no mirroring, no clean-up (discussion: the authors would remove small components).
- Order of the four sequences: not stated; chosen: T1w, T1w after contrast, T2w, FLAIR. Storage: as BraTS stores, LPS.

The histogram of BraTS2021_00000 is not public beside the paper: see `brain_edge_conversion.recipes._landmarks`.
MONAI is in the extra `monai`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from brain_edge.package.manifest import Card
from brain_edge.spec import Activation, Blending, ModelSpec, Network, Stage, StridedWindows
from brain_edge.spec.steps import Argmax, Orient, Region, ZScore
from brain_edge_conversion.recipe import GraphSource, Recipe
from brain_edge_conversion.recipes._landmarks import NO_LANDMARKS, only_random, stand_in_landmarks
from brain_edge_conversion.recipes._tumour import (
    BACKGROUND,
    COHORT,
    ENHANCING,
    LABELS_BACK,
    LIMITS,
    NECROSIS,
    OEDEMA,
    SEQUENCES,
    STAND_IN,
    one_model,
    tumour_spec,
)

if TYPE_CHECKING:
    from torch import nn

WIDTH: Final = 32
WINDOW: Final = 144
CORE: Final = 128
STRIDE: Final = 64

CARD: Final = Card(
    summary="Brain tumour compartments of four sequences by a residual U-Net with 19 million parameters.",
    citation='"3D MRI Brain Tumour Segmentation with Autoencoder Regularization and Hausdorff Distance Loss Function", '
    "BrainLes 2021",
    published_figures="Dice ET/WT/TC .8145/.9060/.8463 on the test cases of BraTS 2021 (the paper)",
    limits=f"{LIMITS} The histogram that images are matched to is not public. The paper's figure of the network is "
    "missing; MONAI's SegResNet stands for it.",
)


def spec(window: int = WINDOW, core: int = CORE, stride: int = STRIDE) -> ModelSpec:
    """The steps around the network, in cubic windows."""
    stage = Stage(
        name="tumour",
        before=(Orient(axes="LPS"), stand_in_landmarks(len(SEQUENCES)), ZScore(region=Region.NONZERO)),
        network=Network(
            graphs=("model",),
            channels_in=4,
            channels_out=4,
            activation=Activation.SOFTMAX,
            execution=StridedWindows(
                shape=(window, window, window),
                stride=(stride, stride, stride),
                core=(core, core, core),
                blending=Blending.GAUSSIAN,
            ),
        ),
        after=(
            Argmax(values=(BACKGROUND, ENHANCING.value, NECROSIS.value, OEDEMA.value)),
            LABELS_BACK,
        ),
    )
    return tumour_spec("vae-unet", stage)


def vae_graphs(width: int = WIDTH) -> tuple[GraphSource, ...]:
    """The network, of Myronenko's width unless stated."""
    return (GraphSource("model", only_random(partial(_segmenter, width), f"{__name__}:network"), None, (32, 32, 32)),)


def network() -> nn.Module:
    """The network, (1, 4, I, J, K) to logits (1, 4, I, J, K), with its autoencoder, for weights that have it."""
    from brain_edge_conversion.networks.vae_unet import VaeUNet

    return VaeUNet(width=WIDTH)


def _segmenter(width: int) -> nn.Module:
    from brain_edge_conversion.networks.vae_unet import VaeUNet

    return VaeUNet(width=width).without_autoencoder()


RECIPE: Final = Recipe(
    name="vae-unet",
    summary="brain tumour compartments, residual U-Net trained beside an autoencoder; bring weights and landmarks",
    model=one_model(spec, vae_graphs, CARD),
    weights=NO_LANDMARKS,
    cohort=COHORT,
    parity_phantom=STAND_IN,
)
