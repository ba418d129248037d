"""VAE-regularised U-Net: a residual network that was trained beside an autoencoder, which is cut off here.

"3D MRI Brain Tumour Segmentation with Autoencoder Regularization and Hausdorff Distance Loss Function", BrainLes 2021.

- Method, on the network: a U-Net after the winner of BraTS 2018 (Myronenko, arXiv 1810.11654) with four channels out;
  the autoencoder is a branch for training only. Its figure is missing; chosen: MONAI's network of that name,
  `monai.networks.nets.SegResNetVAE` with Myronenko's 32 channels, 1-2-2-4 and 1-1-1 blocks, group norm before ReLU
  before convolution; `brain_edge_conversion.networks.vae_unet` runs its segmenting half.
- Output: a softmax over background, ET, TC, WT, which as classes that exclude each other are what BraTS calls
  enhancing, necrosis and oedema.
- Pre-processing: histogram matching gives one "intensity scaling coefficient" towards the subject BraTS2021_00000, and
  a z-transform follows (named at the augmentations), which cancels any such factor: so the z-score alone, over the
  voxels that are not 0. No landmarks of a histogram are needed.
- Inference: windows of 144^3 at a stride of 64, of which the 128^3 in the middle are kept, overlaps merged by
  "exponential averaging", then the most probable class. Chosen: cores from the border on, zeros beyond it; a Gaussian
  weight.
- No ensemble, no mirroring, no clean-up (discussion: the authors would remove small components).
- Order of the four sequences: not stated; chosen: T1w, T1w after contrast, T2w, FLAIR. Storage: as BraTS stores, LPS.

Weights are those of `SegResNetVAE` with its autoencoder, which is cut off, or without. MONAI is in the extra `monai`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from brain_edge.errors import WeightsError
from brain_edge.package.manifest import Card
from brain_edge.spec import Activation, Blending, ModelSpec, Network, Stage, StridedWindows
from brain_edge.spec.steps import Argmax, Orient, Region, ZScore
from brain_edge_conversion.recipe import GraphSource
from brain_edge_conversion.recipes._tumour import (
    BACKGROUND,
    COHORT,
    ENHANCING,
    LABELS_BACK,
    LIMITS,
    NECROSIS,
    OEDEMA,
    loader,
    one_model,
    tumour_spec,
    weightless,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor, nn

WIDTH: Final = 32
WINDOW: Final = 144
CORE: Final = 128
STRIDE: Final = 64

CARD: Final = Card(
    summary="Brain tumour compartments of four sequences by a residual U-Net with 19 million parameters.",
    citation='"3D MRI Brain Tumour Segmentation with Autoencoder Regularization and Hausdorff Distance Loss Function", '
    "BrainLes 2021",
    published_figures="Dice ET/WT/TC .8145/.9060/.8463 on the test cases of BraTS 2021 (the paper)",
    limits=f"{LIMITS} The paper's figure of the network is missing; MONAI's SegResNet stands for it.",
)


def spec(window: int = WINDOW, core: int = CORE, stride: int = STRIDE) -> ModelSpec:
    """Return the steps around the network, in cubic windows."""
    stage = Stage(
        name="tumour",
        before=(Orient(axes="LPS"), ZScore(region=Region.NONZERO)),
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


def vae_graphs(width: int = WIDTH, window: int = WINDOW) -> tuple[GraphSource, ...]:
    """Return the network, of Myronenko's width unless stated.

    Args:
        width: number of channels of the finest level.
        window: side, in voxels, of the windows that the autoencoder of the weights was made for.
    """
    return (GraphSource("model", partial(_segmenter, width, window), None, (32, 32, 32)),)


def _segmenter(width: int, window: int, weights: Path | None) -> nn.Module:
    from brain_edge_conversion.networks.vae_unet import VaeUNet
    from brain_edge_conversion.weights.checkpoint import load_state_dict

    state = {} if weights is None else load_state_dict(weights)
    if landmarks := _landmarks(state):
        raise WeightsError(
            f"{weights}: expected the weights of the network, got landmarks of a histogram ({', '.join(landmarks)}). "
            "This recipe needs no landmarks, because its z-score cancels their factor. Remove them from the file"
        )
    if not any("vae_" in name for name in state):
        network: nn.Module = loader(lambda: VaeUNet(width=width).without_autoencoder())(weights)
        return network
    whole = loader(lambda: VaeUNet(width=width, side=window))(weights)
    segmenter: nn.Module = whole.without_autoencoder()
    return segmenter


def _landmarks(state: Mapping[str, Tensor]) -> list[str]:
    """Return the names of landmarks: those that say so, and all of a file without kernels, which no network is."""
    has_kernels = any(each.ndim > 1 for each in state.values())
    return [name for name in state if "landmark" in name.lower() or not has_kernels]


RECIPE: Final = weightless(
    name="vae-unet",
    summary="brain tumour compartments, residual U-Net trained beside an autoencoder; bring the weights",
    model=one_model(spec, vae_graphs, CARD),
    cohort=COHORT,
)
