"""U-Net baseline M3, five levels and PReLU: see `_unet_baseline.py` for what the paper states."""

from __future__ import annotations

from typing import Final

from brain_edge_conversion.recipes._unet_baseline import Baseline

BASELINE: Final = Baseline(
    name="unet-baseline-m3",
    module=__name__,
)

network = BASELINE.network
RECIPE: Final = BASELINE.recipe()
