"""Parts of the recipes whose images are matched to a histogram that was fitted when the network was trained.

The landmarks of a histogram belong to the weights and are not in a state dict. No registry holds them. So these recipes
have a stand-in, straight lines from the percentiles to 0..100, that is good for random weights alone. Weights are
refused: with other landmarks than those of their training a network sees other images, and nothing would say so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from brain_edge.errors import WeightsError
from brain_edge.spec.steps import MatchLandmarks, Region
from brain_edge_conversion.recipes._tumour import loader

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import nn

PERCENTS: Final = (1.0, 10.0, 20.0, 25.0, 30.0, 40.0, 50.0, 60.0, 70.0, 75.0, 80.0, 90.0, 99.0)
"""Nyul's, as TorchIO's HistogramStandardization fits them: deciles, quartiles, and 1 % at both ends."""

NO_LANDMARKS: Final = (
    "shared by the paper, in no registry: --random-weights to measure speed; weights of your own come with their "
    "landmarks, by --spec"
)


def stand_in_landmarks(sequences: int) -> MatchLandmarks:
    """Return the step for so many sequences, with landmarks that nothing was fitted to."""
    first, last = PERCENTS[0], PERCENTS[-1]
    row = tuple(round(100 * (percent - first) / (last - first), 3) for percent in PERCENTS)
    return MatchLandmarks(percents=PERCENTS, landmarks=(row,) * sequences, region=Region.NONZERO)


def only_random(build: Callable[[], nn.Module], attribute: str) -> Callable[[Path | None], Any]:
    """Return a function for `GraphSource.build` that takes random weights alone.

    Args:
        build: function that makes the network.
        attribute: `module:attribute` of a function that makes the network, for those who have weights and landmarks.
    """

    def load(weights: Path | None) -> nn.Module:
        if weights is not None:
            raise WeightsError(
                f"{weights.name}: weights alone are not enough: the landmarks from the training are also needed. "
                "Take the specification of a package made with --random-weights (`spec` in manifest.json). Put the "
                f"landmarks into its step match_landmarks, then convert {attribute} with --spec, --weights and --trust"
            )
        network: nn.Module = loader(build)(None)
        return network

    return load
