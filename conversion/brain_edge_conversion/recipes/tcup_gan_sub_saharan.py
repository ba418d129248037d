"""TCuP-GAN for the sub-Saharan gliomas: the generator of `tcup_gan`, with the thresholds of that cohort.

Mantha, Sankar, Fortson, BraTS 2023 (arXiv 2311.14148), post-processing: mean areas above 75, 100, 5 pixels for WT, TC,
ET. The weights were trained on that cohort, too, so they are others than those of `tcup-gan`.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from brain_edge_conversion.recipes._tumour import weightless
from brain_edge_conversion.recipes.tcup_gan import MeanAreas, for_cohort

NAME: Final = "tcup-gan-sub-saharan"
AREAS: Final = MeanAreas(75.0, 100.0, 5.0)

RECIPE: Final = weightless(
    name=NAME,
    summary="the same for gliomas of the sub-Saharan cohort",
    model=partial(for_cohort, NAME, AREAS, "0.67/0.64/0.63"),
)
