"""U-Net baseline M5, norm and activation first: see `_unet_baseline.py` for what the paper states."""

from __future__ import annotations

from functools import partial
from typing import Final

from brain_edge_conversion.recipes._unet_baseline import PAIR, Baseline

BASELINE: Final = Baseline(
    name="unet-baseline-m5",
    module=__name__,
    preactivation=True,
    trained={PAIR: "0.616/0.778/0.763"},
)

network = BASELINE.network
network_of_2 = partial(BASELINE.network, 2)
RECIPE: Final = BASELINE.recipe()
