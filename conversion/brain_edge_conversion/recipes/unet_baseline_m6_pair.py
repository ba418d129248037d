"""U-Net baseline M6 of two sequences, which the paper finds as good as M6 of four; see `_unet_baseline.py`."""

from __future__ import annotations

from typing import Final

from brain_edge_conversion.recipes._tumour import FLAIR, T1C
from brain_edge_conversion.recipes._unet_baseline import PAIR, Baseline

BASELINE: Final = Baseline(
    name="unet-baseline-m6-pair",
    module=__name__,
    channels=16,
    preactivation=True,
    trained={PAIR: "0.623/0.791/0.779"},
    inputs=(T1C, FLAIR),
)

network = BASELINE.network
RECIPE: Final = BASELINE.recipe()
