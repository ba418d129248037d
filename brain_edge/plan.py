"""The cheapest way to the same labels: what a stage needs not compute because of what follows it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from brain_edge.spec import Activation, WholeVolume
from brain_edge.steps import Threshold

if TYPE_CHECKING:
    from brain_edge.spec import Stage


def without_activation(stage: Stage) -> Stage:
    """An equivalent stage that compares logits, where a stage compares sigmoids with a threshold at once.

    sigmoid(z) > t exactly where z > log(t / (1 - t)). That holds for a single pass over a whole volume; where
    probabilities are averaged (members, mirrorings, windows) or interpolated before the threshold, they are needed.
    """
    network, first = stage.network, stage.after[0]
    plain = network.passes == 1 and isinstance(network.execution, WholeVolume)
    if not (plain and network.activation is Activation.SIGMOID and isinstance(first, Threshold)):
        return stage
    if not 0 < first.above < 1:
        return stage
    on_logits = msgspec.structs.replace(first, above=math.log(first.above / (1 - first.above)))
    return msgspec.structs.replace(
        stage,
        network=msgspec.structs.replace(network, activation=Activation.NONE),
        after=(on_logits, *stage.after[1:]),
    )
