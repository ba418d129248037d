"""dk-atlas: the Desikan-Killiany atlas in 103 labels, left and right apart (brainchop's `model21_104class`).

Its 104 classes take 7 GB as logits of a whole head.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from brain_edge.image.resample import Interpolation
from brain_edge.spec.steps import (
    BeforeStep,
    CropOrPadTo,
    FitPercentile,
    Orient,
    Region,
    ResampleToSpacing,
    RescaleToUnit,
)
from brain_edge_conversion.recipe import ModelSource, Recipe, Variant
from brain_edge_conversion.recipes._niivue import CORTEX_ML, Published, numbered, plausible_structures

if TYPE_CHECKING:
    from torch import nn

CONFORM: Final[tuple[BeforeStep, ...]] = (
    FitPercentile(name="low", percent=0.0),
    FitPercentile(name="high", percent=99.9, region=Region.NONZERO),
    Orient(axes="LIA"),
    ResampleToSpacing(spacing_mm=(1.0, 1.0, 1.0), interpolation=Interpolation.LINEAR),
    CropOrPadTo(shape=(256, 256, 256)),
    RescaleToUnit(lower="low", upper="high"),
)

PAIRED: Final = (
    "Thalamus-Proper",
    "Caudate",
    "Putamen",
    "Pallidum",
    "Hippocampus",
    "Amygdala",
    "Accumbens-area",
    "VentralDC",
    "Cerebral-White-Matter",
)
OTHERS: Final = (
    "Left-Lateral-Ventricle",
    "Left-Inf-Lat-Vent",
    "Right-Lateral-Ventricle",
    "Right-Inf-Lat-Vent",
    "3rd-Ventricle",
    "4th-Ventricle",
    "CSF",
    "Brain-Stem",
    "Left-Cerebellum-White-Matter",
    "Right-Cerebellum-White-Matter",
    "Left-Cerebellum-Cortex",
    "Right-Cerebellum-Cortex",
    "CC_Posterior",
    "CC_Mid_Posterior",
    "CC_Central",
    "CC_Mid_Anterior",
    "CC_Anterior",
)
LABELS: Final = numbered(
    (
        *(f"ctx-{side}-{parcel}" for side in ("lh", "rh") for parcel in CORTEX_ML),
        *(f"{side}-{structure}" for structure in PAIRED for side in ("Left", "Right")),
        *OTHERS,
    )
)
"""`colormap_DKatlas.json` beside the weights, value 0 ("BG") left out."""


def network() -> nn.Module:
    """Return the network of 21 channels."""
    from brain_edge_conversion.networks.meshnet import MeshNet, MeshNetActivation, MeshNetConfig

    return MeshNet(MeshNetConfig(21, 104, MeshNetActivation.GELU, dilations=(1, 2, 2, 4, 4, 8, 8, 16)))


MODEL: Final = Published(
    name="dk-atlas",
    graph="meshnet",
    summary="The Desikan-Killiany atlas of T1w heads, 103 labels, with a MeshNet of 21 channels.",
    file="net_DKatlas.safetensors",
    sha256="8f5b2d0d2ec1f74d1f1039a2e4b11d0b95637e8dc047dfd0ac4a70446e2a9e15",
    network=network,
    labels=LABELS,
    plausible=plausible_structures(LABELS),
    before=CONFORM,
)


def model(_variant: Variant) -> ModelSource:
    """Return the network and its steps. There is nothing to choose."""
    return MODEL.model


RECIPE: Final = Recipe(
    name="dk-atlas",
    summary="the Desikan-Killiany atlas of T1w heads, 103 labels, 0.2 MB MeshNet (BSD-2-Clause)",
    model=model,
    weights="bring the file: public/net_DKatlas.safetensors of niivue-tinygrad",
    cohort="brainchop-t1",
)
