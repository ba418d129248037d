"""U-Net baseline M1, the smallest: see `_unet_baseline.py` for what the paper states."""

from __future__ import annotations

from functools import partial
from typing import Final

from brain_edge_conversion.recipes._unet_baseline import Baseline

BASELINE: Final = Baseline(
    name="unet-baseline-m1",
    module=__name__,
    blocks=3,
    patch=64,
    activation="ReLU",
    trained={
        "T1": "0.304/0.412/0.305",
        "FLAIR": "0.273/0.506/0.323",
        "T2": "0.355/0.539/0.372",
        "T1C": "0.505/0.436/0.609",
    },
)

network = BASELINE.network
network_of_1 = partial(BASELINE.network, 1)
RECIPE: Final = BASELINE.recipe()
