"""U-Net baseline M6, the best one: see `_unet_baseline.py` for what the paper states."""

from __future__ import annotations

from functools import partial
from typing import Final

from brain_edge_conversion.recipes._unet_baseline import ALL, PAIR, Baseline

BASELINE: Final = Baseline(
    name="unet-baseline-m6",
    module=__name__,
    channels=16,
    preactivation=True,
    trained={ALL: "0.621/0.785/0.766", PAIR: "0.623/0.791/0.779"},
)

network = BASELINE.network
network_of_2 = partial(BASELINE.network, 2)
RECIPE: Final = BASELINE.recipe()
