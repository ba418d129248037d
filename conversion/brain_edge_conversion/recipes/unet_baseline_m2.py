"""U-Net baseline M2, M1 in larger patches: see `_unet_baseline.py` for what the paper states."""

from __future__ import annotations

from functools import partial
from typing import Final

from brain_edge_conversion.recipes._unet_baseline import ALL, Baseline

BASELINE: Final = Baseline(
    name="unet-baseline-m2",
    module=__name__,
    blocks=3,
    activation="ReLU",
    trained={ALL: "0.536/0.715/0.705", "T1C": "0.560/0.500/0.679"},
)

network = BASELINE.network
network_of_1 = partial(BASELINE.network, 1)
RECIPE: Final = BASELINE.recipe()
