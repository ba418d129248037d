"""Parts of the recipes for brain tumours: four sequences, three compartments, weights that no registry holds.

Their data are those of BraTS: four sequences on one grid of 240 x 240 x 155 voxels of 1 mm, skull-stripped, 0 outside
of the brain, stored in LPS. An image of another spacing is flagged: the networks see voxels, and the papers resample
nothing.

How the data came to be is the preparation of each recipe. The papers name its parts: one anatomical template, rigid,
1 mm, skull-stripped, some with CaPTk as the program. BrainMaGe's paper (BrainLes 2021, section 2.2) states them in
order, as "the well-accepted pre-processing protocol of the BraTS challenge":

- LPS; T1w after contrast rigidly (6 degrees of freedom) to the atlas SRI24, at 1 mm.
- The others rigidly to T1w after contrast; both matrices are combined before an image is resampled.
- N4 for the time of the registration alone; the transforms are applied to the images without it.
- The program is Greedy; ours and the reasons are in docs/decisions/0043-preparation.md.
- The skull: removed in the space of the atlas, as BraTS' own masks lie there. The paper's network is the one that
  removes it, on images prepared so. The interpolation is not stated; chosen: linear.
- Without T1w after contrast the paper has no reference; chosen: T1w, then T2w, then FLAIR.

The docstrings of these recipes name the part of the paper that says something: method, pre-processing, inference,
results, a table, a figure. Only the running text was at hand. A statement that a figure alone makes is called "not
stated", as is what the text does not say, and the choice stands beside it.
"""

from __future__ import annotations

from functools import partial
from itertools import chain, combinations
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from brain_edge.errors import WeightsError
from brain_edge.image.contrast import Contrast
from brain_edge.image.phantom import Phantom
from brain_edge.image.resample import Interpolation
from brain_edge.package.manifest import Licence
from brain_edge.spec import (
    Atlas,
    Code,
    Label,
    ModelSpec,
    Plausible,
    PlausibleInput,
    PlausibleLabel,
    Preparation,
    Sequence,
    Skull,
    Stage,
    Task,
)
from brain_edge.spec.steps import PaintedRegion, PaintRegions, Restore
from brain_edge_conversion.recipe import GraphSource, ModelSource, Recipe, same_each_time

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import Tensor, nn

    from brain_edge.image.geometry import Shape
    from brain_edge.package.manifest import Card
    from brain_edge_conversion.recipe import Variant

    Rename: TypeAlias = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]

T1: Final = Sequence(name="T1", contrasts=(Contrast.T1W,))
T1C: Final = Sequence(name="T1C", contrasts=(Contrast.T1C,))
T2: Final = Sequence(name="T2", contrasts=(Contrast.T2W,))
FLAIR: Final = Sequence(name="FLAIR", contrasts=(Contrast.FLAIR,))
SEQUENCES: Final = (T1, T1C, T2, FLAIR)
"""The order in which most papers list the sequences. It is chosen where a paper states none."""

NECROSIS_CODE: Final = Code(scheme="SCT", value="6574001", meaning="Necrosis")
OEDEMA_CODE: Final = Code(scheme="SCT", value="79654002", meaning="Edema")
NECROSIS: Final = Label(value=1, name="necrosis", code=NECROSIS_CODE)
OEDEMA: Final = Label(value=2, name="oedema", code=OEDEMA_CODE)
ENHANCING: Final = Label(value=4, name="enhancing")
BRATS_LABELS: Final = (NECROSIS, OEDEMA, ENHANCING)
"""BraTS 2017 to 2021: 1 necrotic and non-enhancing core, 2 oedema, 4 enhancing."""
BACKGROUND: Final = 0

ALL_MIRRORINGS: Final = tuple(chain.from_iterable(combinations(range(3), count) for count in range(4)))
"""Every subset of three axes."""

WHOLE_CORE_ENHANCING: Final = PaintRegions(
    regions=(
        PaintedRegion(channel=0, above=0.5, label=OEDEMA.value),
        PaintedRegion(channel=1, above=0.5, label=NECROSIS.value),
        PaintedRegion(channel=2, above=0.5, label=ENHANCING.value),
    )
)
"""Channels WT, TC, ET to labels: one region painted over the other, which is the set difference where they nest."""

ENHANCING_WHOLE_CORE: Final = PaintRegions(
    regions=(
        PaintedRegion(channel=1, above=0.5, label=OEDEMA.value),
        PaintedRegion(channel=2, above=0.5, label=NECROSIS.value),
        PaintedRegion(channel=0, above=0.5, label=ENHANCING.value),
    )
)
"""Channels ET, WT, TC to labels, from the outside in."""

LABELS_BACK: Final = Restore(interpolation=Interpolation.NEAREST)
"""A label map, back on the image's own grid."""

COHORT: Final = "tcga-fg-6692-tumour"
STAND_IN: Final = Phantom(shape=(240, 240, 155), spacing_mm=1.0)
"""A head on the grid of BraTS. A conversion with random weights is compared on it unless a real head is given."""

NO_WEIGHTS: Final = "in no registry: bring a file with --weights, or --random-weights to measure speed"
weightless: Final = partial(Recipe, weights=NO_WEIGHTS, parity_phantom=STAND_IN)
"""`Recipe` of a paper whose weights are in no registry. Random weights are compared on the stand-in."""
LIMITS: Final = (
    "No registry holds trained weights. With random weights only speed, memory and parity can be measured; there is no "
    "accuracy. Skull-stripped images on one grid of 1 mm."
)
LICENCE: Final = Licence(
    name="no weights",
    holder="none",
    notes="The network was written from its paper; trained weights have the licence of whoever brings them.",
)


SRI24: Final = Atlas(space="SRI24", shape=(240, 240, 155), spacing_mm=1.0, axes="LPS", origin_mm=(0.0, 239.0, 0.0))
"""The atlas in the version of the tumour challenges."""


def brats_preparation(inputs: tuple[Sequence, ...] = SEQUENCES) -> Preparation:
    """Return the preparation of BraTS for these sequences."""
    names = {each.name for each in inputs}
    return Preparation(
        references=tuple(each.name for each in (T1C, T1, T2, FLAIR) if each.name in names),
        atlas=SRI24,
        bias_field=True,
        skull=Skull.REMOVED_AFTER,
    )


def tumour_spec(
    name: str,
    *stages: Stage,
    inputs: tuple[Sequence, ...] = SEQUENCES,
    labels: tuple[Label, ...] = BRATS_LABELS,
) -> ModelSpec:
    """Return a specification with the ranges of gliomas: any compartment may be absent, none is larger than 400 ml."""
    limits = tuple(PlausibleLabel(label=label.value, volume_ml=(0.0, 400.0), max_border_share=0.05) for label in labels)
    ranges = Plausible(inputs=PlausibleInput(spacing_mm=(0.8, 1.25), extent_mm=(100.0, 300.0)), labels=limits)
    return ModelSpec(
        name=name,
        task=Task.TUMOUR,
        inputs=inputs,
        stages=stages,
        labels=labels,
        plausible=ranges,
        preparation=brats_preparation(inputs),
    )


def one_model(
    spec: Callable[[], ModelSpec], graphs: Callable[[], tuple[GraphSource, ...]], card: Card
) -> Callable[[Variant], ModelSource]:
    """Return `Recipe.model` of a recipe without choices."""
    return lambda _variant: ModelSource(spec(), graphs(), card, LICENCE)


def first_members(
    spec: Callable[[int], ModelSpec],
    graphs: Callable[[int], tuple[GraphSource, ...]],
    card: Card,
    licence: Licence = LICENCE,
) -> Callable[[Variant], ModelSource]:
    """Return `Recipe.model` of an ensemble: so many of its members, one unless stated."""

    def model(variant: Variant) -> ModelSource:
        count = variant.members or 1
        return ModelSource(spec(count), graphs(count), card, licence)

    return model


def own_graph(
    name: str, build: Callable[[], nn.Module], example_shape: Shape, seed: int = 0, corrected: str = ""
) -> GraphSource:
    """Return a network whose weights no registry holds. The arguments `seed` and `corrected` are those of `loader`."""
    return GraphSource(name, loader(build, seed, corrected), None, example_shape)


def loader(
    build: Callable[[], nn.Module], seed: int = 0, corrected: str = "", rename: Rename = dict
) -> Callable[[Path | None], Any]:
    """Return a function for `GraphSource.build` that loads a state dict, or draws random weights by a seed.

    Args:
        build: function that makes the network.
        seed: seed of the random weights. Each member of an ensemble has its own, or all would be the same network.
        corrected: clause on the network before it was corrected to its paper. Weights that do not fit are refused with
            it. Empty where nothing was corrected.
        rename: function that gives the tensors of a file the names that they have here.
    """

    def load(weights: Path | None) -> nn.Module:
        from brain_edge_conversion.weights.checkpoint import fit_state_dict, load_state_dict

        network = same_each_time(build, seed)
        if weights is not None:
            try:
                fit_state_dict(network, rename(load_state_dict(weights)), weights.name)
            except WeightsError as error:
                if not corrected:
                    raise
                raise WeightsError(f"{error}. This recipe now follows its paper; before, {corrected}") from error
        return network.eval()

    return load


def own_network(name: str, *arguments: Any, **options: Any) -> Callable[[], nn.Module]:
    """Return a function that makes `module:Class` of our networks.

    PyTorch is imported when the function is called, and not when recipes are listed.
    """
    return lambda: resolve_name(f"brain_edge_conversion.networks.{name}")(*arguments, **options)
