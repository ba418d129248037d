"""U-Net baseline M2, M1 in larger patches: see `_unet_baseline.py` for what the paper states."""

from __future__ import annotations

from typing import Final

from brain_edge_conversion.recipes._unet_baseline import Baseline

BASELINE: Final = Baseline(
    name="unet-baseline-m2",
    module=__name__,
    blocks=3,
    activation="ReLU",
    figures="Dice ET/TC/WT 0.536/0.715/0.705 on 312 training cases of BraTS 2021 (the paper)",
)

network = BASELINE.network
RECIPE: Final = BASELINE.recipe()
