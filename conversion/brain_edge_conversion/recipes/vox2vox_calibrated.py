"""Calibrated Vox2Vox: the generator of Vox2Vox, trained with a Tversky loss for a study of glioblastoma.

Described by its differences to Vox2Vox (see `vox2vox.py` for what the two share):

- Method: dropout of 0.25 and a Tversky loss in place of the generalised Dice, both for training only; patches of 128^3
  in training.
- Data: BraTS 2020, so the label table is 0, 1 necrotic and non-enhancing core, 2 oedema, 4 enhancing.
- Results: ensembles of ten models, `--members all`; one is the default here.

Not stated, chosen here: the steps around the network (those of Vox2Vox), and that the channels are in the order of the
labels. What "calibrated" does to the probabilities at run
time is training alone: nothing is rescaled here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from brain_edge.spec.steps import Argmax
from brain_edge_conversion.recipes._tumour import COHORT, FLAIR, T1, T1C, T2, first_members, tumour_spec, weightless
from brain_edge_conversion.recipes.vox2vox import CARD as VOX2VOX_CARD
from brain_edge_conversion.recipes.vox2vox import CROP, vox2vox_graphs, vox2vox_stage

if TYPE_CHECKING:
    from brain_edge.spec import ModelSpec

MEMBERS: Final = 10
CARD: Final = msgspec.structs.replace(
    VOX2VOX_CARD,
    summary="Brain tumour compartments of four sequences by a Vox2Vox generator that was trained with a Tversky loss.",
    published_figures="median Dice WT/TC/ET 93.4/92.6/87.2 % on its training data, ten models (the paper)",
)


def spec(members: int = 1) -> ModelSpec:
    """The steps of Vox2Vox with the labels of BraTS."""
    stage = vox2vox_stage(members, CROP, Argmax(values=(0, 1, 2, 4)))
    return tumour_spec("vox2vox-calibrated", stage, inputs=(T1, T2, T1C, FLAIR))


RECIPE: Final = weightless(
    name="vox2vox-calibrated",
    summary="brain tumour compartments, Vox2Vox with the labels of BraTS, 1 to 10 models; bring the weights",
    model=first_members(spec, vox2vox_graphs, CARD),
    cohort=COHORT,
    members=MEMBERS,
)
