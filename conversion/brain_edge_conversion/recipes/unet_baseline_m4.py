"""U-Net baseline M4, instance norm: see `_unet_baseline.py` for what the paper states."""

from __future__ import annotations

from typing import Final

from brain_edge_conversion.recipes._unet_baseline import Baseline

BASELINE: Final = Baseline(
    name="unet-baseline-m4",
    module=__name__,
    channels=16,
    norm="instance",
    activation="LeakyReLU",
    figures="Dice ET/TC/WT 0.624/0.605/0.757 on 312 training cases of BraTS 2021, T1w after contrast alone (the paper)",
)

network = BASELINE.network
RECIPE: Final = BASELINE.recipe()
