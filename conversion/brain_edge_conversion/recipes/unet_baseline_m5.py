"""U-Net baseline M5, norm and activation first: see `_unet_baseline.py` for what the paper states."""

from __future__ import annotations

from typing import Final

from brain_edge_conversion.recipes._unet_baseline import Baseline

BASELINE: Final = Baseline(
    name="unet-baseline-m5",
    module=__name__,
    preactivation=True,
)

network = BASELINE.network
RECIPE: Final = BASELINE.recipe()
