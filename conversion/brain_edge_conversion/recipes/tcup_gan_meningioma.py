"""TCuP-GAN for meningiomas: the generator of `tcup_gan`, with the post-processing's thresholds of that cohort.

Mantha, Sankar, Fortson, BraTS 2023 (arXiv 2311.14148), post-processing: mean areas above 125, 125, 25 pixels for WT,
TC, ET. The weights were trained on that cohort, too, so they are others than those of `tcup-gan`.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from brain_edge_conversion.recipes._tumour import weightless
from brain_edge_conversion.recipes.tcup_gan import MeanAreas, for_cohort

NAME: Final = "tcup-gan-meningioma"
AREAS: Final = MeanAreas(125.0, 125.0, 25.0)

RECIPE: Final = weightless(
    name=NAME,
    summary="the same for meningiomas",
    model=partial(for_cohort, NAME, AREAS, "0.67/0.68/0.68"),
)
