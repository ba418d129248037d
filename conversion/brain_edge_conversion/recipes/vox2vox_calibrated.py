"""Calibrated Vox2Vox: the generator of Vox2Vox, trained with a Tversky loss for a study of glioblastoma.

Described by its differences to Vox2Vox (see `vox2vox.py` for what the two share):

- Method: dropout of 0.25 and a Tversky loss in place of the generalised Dice, both for training only; patches of 128^3
  in training.
- Labels (section 4.1): oedema, necrotic and non-enhancing core, enhancing "with the labels 0, 1, 2, 4 respectively"
  after the background, in data of BraTS 2020, where 1 is necrosis and 2 oedema. Chosen: BraTS, as in `vox2vox.py`.
- Results (section 4.3): one network, trained for nine epochs, without a Dice of its own. The figures for ten models in
  that section are those of the authors of Vox2Vox.

Not stated, chosen here: the steps around the network (those of Vox2Vox, to which the paper says that it stays true),
and that the channels are in the order of the labels. What "calibrated" does to the probabilities at run time is
training alone: nothing is rescaled here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from brain_edge.spec.steps import Argmax
from brain_edge_conversion.recipes._tumour import COHORT, FLAIR, T1, T1C, T2, one_model, tumour_spec, weightless
from brain_edge_conversion.recipes.vox2vox import CARD as VOX2VOX_CARD
from brain_edge_conversion.recipes.vox2vox import CROP, vox2vox_graphs, vox2vox_stage

if TYPE_CHECKING:
    from brain_edge.spec import ModelSpec

CARD: Final = msgspec.structs.replace(
    VOX2VOX_CARD,
    summary="Brain tumour compartments of four sequences by a Vox2Vox generator that was trained with a Tversky loss.",
    citation="a study of a calibrated Vox2Vox on BraTS 2020, after Cirillo, Abramian, Eklund (arXiv 2003.13653)",
    published_figures="no Dice is stated for the network of this paper, which was trained for nine epochs",
)


def spec() -> ModelSpec:
    """Return the steps of Vox2Vox with the labels of BraTS."""
    stage = vox2vox_stage(1, CROP, Argmax(values=(0, 1, 2, 4)))
    return tumour_spec("vox2vox-calibrated", stage, inputs=(T1, T2, T1C, FLAIR))


RECIPE: Final = weightless(
    name="vox2vox-calibrated",
    summary="brain tumour compartments, Vox2Vox with the labels of BraTS; bring the weights",
    model=one_model(spec, lambda: vox2vox_graphs(1), CARD),
    cohort=COHORT,
)
