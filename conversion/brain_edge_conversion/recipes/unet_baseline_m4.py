"""U-Net baseline M4, instance norm: see `_unet_baseline.py` for what the paper states."""

from __future__ import annotations

from functools import partial
from typing import Final

from brain_edge_conversion.recipes._unet_baseline import Baseline

BASELINE: Final = Baseline(
    name="unet-baseline-m4",
    module=__name__,
    channels=16,
    norm="instance",
    activation="LeakyReLU",
    trained={"T1C": "0.624/0.605/0.757"},
)

network = BASELINE.network
network_of_1 = partial(BASELINE.network, 1)
RECIPE: Final = BASELINE.recipe()
