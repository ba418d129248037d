"""U-Net baseline M1, the smallest: see `_unet_baseline.py` for what the paper states."""

from __future__ import annotations

from typing import Final

from brain_edge_conversion.recipes._unet_baseline import Baseline

BASELINE: Final = Baseline(
    name="unet-baseline-m1",
    module=__name__,
    blocks=3,
    patch=64,
    activation="ReLU",
    figures="Dice ET/TC/WT 0.304/0.412/0.305 on 312 training cases of BraTS 2021, T1w alone (the paper)",
)

network = BASELINE.network
RECIPE: Final = BASELINE.recipe()
