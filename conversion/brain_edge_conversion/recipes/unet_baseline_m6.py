"""U-Net baseline M6, the best one: see `_unet_baseline.py` for what the paper states."""

from __future__ import annotations

from typing import Final

from brain_edge_conversion.recipes._unet_baseline import Baseline

BASELINE: Final = Baseline(
    name="unet-baseline-m6",
    module=__name__,
    channels=16,
    preactivation=True,
    figures="Dice ET/TC/WT 0.621/0.785/0.766 on 312 training cases of BraTS 2021 (the paper)",
)

network = BASELINE.network
RECIPE: Final = BASELINE.recipe()
