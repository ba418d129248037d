"""Parts of the recipes for the weights of niivue/niivue-tinygrad (commit ff10415, BSD-2-Clause).

The published program conforms a head as FreeSurfer does it (see `_meshnet`), scales its intensities to 0..1, runs the
network over the whole volume and takes the class with the greatest logit. `mindgrab`, `aparc50` and both robust
networks clip to the 2 % and 98 % quantiles (`qnormalize` in `main.js`). `DKatlas` scales by the least and greatest
value of the conformed head; conforming maps the 99.9 % quantile of the voxels above zero to that greatest value.

Chosen here: intensities are not rounded to 256 steps, and of all labels together the largest component is kept (the
command line of brainchop does that, the program in the browser does not).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from brain_edge.image.contrast import Contrast
from brain_edge.image.resample import Interpolation
from brain_edge.package.manifest import Card, Licence
from brain_edge.spec import (
    Activation,
    Label,
    ModelSpec,
    Network,
    Plausible,
    PlausibleInput,
    PlausibleLabel,
    Sequence,
    Stage,
    Task,
)
from brain_edge.spec.steps import Argmax, BeforeStep, LargestComponent, Restore
from brain_edge_conversion.recipe import GraphSource, ModelSource, WeightsFile, same_each_time
from brain_edge_conversion.recipes._meshnet import CONFORM, VOLUME_ML

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from torch import nn

LICENCE: Final = Licence(name="BSD-2-Clause", holder="Ahmed Harmouche (niivue-tinygrad)")
LIMITS: Final = (
    "Heads of about 1 mm. The published program rounds the conformed head to 256 steps, this package does not. Labels "
    "apart from the largest component of all labels are removed, which is our choice."
)
NUMBERED: Final = {"2": "weight", "3": "bias"}
"""Names of the tensors of a layer of the robust networks, and what PyTorch calls them."""
CITATION: Final = "Fedorov et al., IJCNN 2017; Masoud et al., JOSS 8 (2023) 5098 (brainchop)"


@dataclass(frozen=True, kw_only=True)
class Published:
    """One network of niivue-tinygrad.

    Attributes:
        name: name of the recipe.
        graph: name of the network in the specification.
        summary: first sentence of the model card.
        file: name of the weights file, without folder.
        sha256: SHA-256 of the weights file.
        network: function that builds the network, without weights.
        labels: labels in the order of the network's classes, background left out.
        plausible: plausible ranges of the labels.
        task: task of the model.
        contrasts: contrasts that the network sees.
        before: steps before the network.
        citation: paper of the network.
        figures: published figures.
    """

    name: str
    graph: str
    summary: str
    file: str
    sha256: str
    network: Callable[[], nn.Module]
    labels: tuple[Label, ...]
    plausible: Plausible
    task: Task = Task.TISSUE
    contrasts: tuple[Contrast, ...] = (Contrast.T1W,)
    before: tuple[BeforeStep, ...] = CONFORM
    citation: str = CITATION
    figures: str = "none for these weights"

    @property
    def model(self) -> ModelSource:
        """The network with its steps."""
        card = Card(summary=self.summary, citation=self.citation, published_figures=self.figures, limits=LIMITS)
        weights = WeightsFile(f"public/{self.file} of niivue/niivue-tinygrad", self.sha256, fetchable=False)
        graph = GraphSource(self.graph, _builder(self.network), weights, (32, 32, 32))
        return ModelSource(self._spec, (graph,), card, LICENCE)

    @property
    def _spec(self) -> ModelSpec:
        network = Network(
            graphs=(self.graph,), channels_in=1, channels_out=len(self.labels) + 1, activation=Activation.NONE
        )
        after = (Argmax(), LargestComponent(), Restore(interpolation=Interpolation.NEAREST))
        return ModelSpec(
            name=self.name,
            task=self.task,
            inputs=(Sequence(name="image", contrasts=self.contrasts),),
            stages=(Stage(name=self.task.value, before=self.before, network=network, after=after),),
            labels=self.labels,
            plausible=self.plausible,
        )


def numbered(names: Iterable[str]) -> tuple[Label, ...]:
    """Return labels with the values 1, 2, ... in the order of the names."""
    return tuple(Label(value=value, name=name) for value, name in enumerate(names, start=1))


def plausible_structures(labels: Iterable[Label]) -> Plausible:
    """Return wide ranges of the volumes of structures, found by the names of the labels."""
    ranges = tuple(PlausibleLabel(label=label.value, volume_ml=_volume_ml(label.name)) for label in labels)
    return Plausible(inputs=PlausibleInput(spacing_mm=(0.3, 4.0), extent_mm=(120.0, 400.0)), labels=ranges)


def _volume_ml(name: str) -> tuple[float, float]:
    """Return the range of a structure; half of the range of both sides for a structure of one side."""
    for prefix in ("Left-", "Right-", "ctx-lh-", "ctx-rh-"):
        if name.startswith(prefix):
            low, high = _both_sides_ml(name.removeprefix(prefix))
            return low / 2, high / 2
    return _both_sides_ml(name.removeprefix("ctx-"))


def _both_sides_ml(name: str) -> tuple[float, float]:
    if name in CORTEX_ML:
        return CORTEX_ML[name] / 5, CORTEX_ML[name] * 3
    return STRUCTURE_ML[name] if name in STRUCTURE_ML else VOLUME_ML[name]


def _builder(network: Callable[[], nn.Module]) -> Callable[[Path | None], nn.Module]:
    def build(weights: Path | None) -> nn.Module:
        from brain_edge_conversion.weights.checkpoint import fit_state_dict, load_state_dict

        module = same_each_time(network)
        if weights is not None:
            state = {_named(key): tensor for key, tensor in load_state_dict(weights).items()}
            fit_state_dict(module, state, weights.name)
        return module.eval()

    return build


def _named(key: str) -> str:
    """Return the PyTorch name of a tensor."""
    layer, _, last = key.rpartition(".")
    return f"{layer}.{NUMBERED.get(last, last)}"


STRUCTURE_ML: Final = {
    "Ventricle": (3.0, 200.0),
    "Inf-Lat-Vent": (0.02, 20.0),
    "Cerebellum": (40.0, 220.0),
    "Thalamus-Proper": (5.0, 40.0),
    "CSF": (0.1, 60.0),
    "Corpus-callosum": (0.5, 15.0),
    "CC_Posterior": (0.1, 4.0),
    "CC_Mid_Posterior": (0.05, 3.0),
    "CC_Central": (0.05, 3.0),
    "CC_Mid_Anterior": (0.05, 3.0),
    "CC_Anterior": (0.1, 4.0),
}
"""Wide ranges around adult volumes, both sides together, of structures that the MeshNets of brainchop do not name."""

CORTEX_ML: Final = {
    "bankssts": 5.0,
    "caudalanteriorcingulate": 4.0,
    "caudalmiddlefrontal": 12.0,
    "cuneus": 6.0,
    "entorhinal": 4.0,
    "fusiform": 19.0,
    "inferiorparietal": 27.0,
    "inferiortemporal": 21.0,
    "isthmuscingulate": 5.0,
    "lateraloccipital": 23.0,
    "lateralorbitofrontal": 15.0,
    "lingual": 13.0,
    "medialorbitofrontal": 10.0,
    "middletemporal": 22.0,
    "parahippocampal": 4.0,
    "paracentral": 7.0,
    "parsopercularis": 9.0,
    "parsorbitalis": 5.0,
    "parstriangularis": 8.0,
    "pericalcarine": 4.0,
    "postcentral": 19.0,
    "posteriorcingulate": 6.0,
    "precentral": 26.0,
    "precuneus": 19.0,
    "rostralanteriorcingulate": 5.0,
    "rostralmiddlefrontal": 31.0,
    "superiorfrontal": 44.0,
    "superiorparietal": 25.0,
    "superiortemporal": 24.0,
    "supramarginal": 21.0,
    "frontalpole": 2.0,
    "temporalpole": 4.5,
    "transversetemporal": 2.0,
    "insula": 13.0,
}
"""Rough grey-matter volumes of an adult's cortical parcels, both sides together, in the order of the atlas, ml. A mask
beyond a fifth or three times of a volume is flagged, not judged."""
