"""mindgrab: the brain of a head of any contrast, a MeshNet of 15 channels and 26 layers (brainchop's `mindgrab`).

Fani et al., "MindGrab for BrainChop: Fast and Accurate Skull Stripping for Command Line and Browser", arXiv 2506.11860.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from brain_edge.image.contrast import Contrast
from brain_edge.spec import Task
from brain_edge_conversion.recipe import ModelSource, Recipe, Variant
from brain_edge_conversion.recipes._brain import BRAIN, plausible_brain
from brain_edge_conversion.recipes._niivue import Published

if TYPE_CHECKING:
    from torch import nn


def network() -> nn.Module:
    """Return the network: five times the dilations 16, 8, 4, 2, 1."""
    from brain_edge_conversion.networks.meshnet import MeshNet, MeshNetActivation, MeshNetConfig

    dilations = (16, 8, 4, 2, 1) * 5
    return MeshNet(MeshNetConfig(15, 2, MeshNetActivation.GELU, dilations, has_norm=True))


MODEL: Final = Published(
    name="mindgrab",
    graph="mindgrab",
    summary="Skull-stripping of heads of any contrast with a MeshNet of 146,235 parameters (MindGrab).",
    file="net_mindgrab.safetensors",
    sha256="ff5dc4075c10687a2023236248c1d3ba3d5adfa4a4a0b2150bcdd1e21b5d0554",
    network=network,
    labels=(BRAIN,),
    plausible=plausible_brain(max_components=1),
    task=Task.SKULL_STRIPPING,
    contrasts=(Contrast.ANY,),
    citation="Fani et al., arXiv 2506.11860 (2025)",
    figures="mean Dice 0.959 over contrasts on 606 adult heads of the SynthStrip data (the paper's abstract)",
)


def model(_variant: Variant) -> ModelSource:
    """Return the network and its steps. There is nothing to choose."""
    return MODEL.model


RECIPE: Final = Recipe(
    name="mindgrab",
    summary="skull-stripping of heads of any contrast, 0.6 MB MeshNet (BSD-2-Clause)",
    model=model,
    weights="bring the file: public/net_mindgrab.safetensors of niivue-tinygrad",
    cohort="ms-longitudinal",
)
