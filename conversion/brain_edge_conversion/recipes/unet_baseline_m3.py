"""U-Net baseline M3, five levels and PReLU: see `_unet_baseline.py` for what the paper states."""

from __future__ import annotations

from functools import partial
from typing import Final

from brain_edge_conversion.recipes._unet_baseline import PAIR, Baseline

BASELINE: Final = Baseline(
    name="unet-baseline-m3",
    module=__name__,
    trained={"T1C": "0.577/0.497/0.684", PAIR: "0.608/0.753/0.757"},
)

network = BASELINE.network
network_of_1 = partial(BASELINE.network, 1)
network_of_2 = partial(BASELINE.network, 2)
RECIPE: Final = BASELINE.recipe()
