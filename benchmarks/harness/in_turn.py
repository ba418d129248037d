"""Two requests of OpenVINO in turn, so that other programs on the machine hit both alike."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from brain_edge.image.volume import FloatArray


def time_ratios(changed: Any, plain: Any, data: FloatArray, rounds: int) -> list[float]:
    """Time of one request over that of another, round by round; which of them begins changes with the round.

    Args:
        changed: warm infer request whose time is divided.
        plain: that of the other graph.
        data: the only input of both.
        rounds: in which both run once.
    """
    ratios = []
    for number in range(rounds):
        taken = {name: _seconds(request, data) for name, request in _in_turn(changed, plain, number)}
        ratios.append(taken["changed"] / taken["plain"])
    return ratios


def _in_turn(changed: Any, plain: Any, number: int) -> tuple[tuple[str, Any], ...]:
    pair = ("changed", changed), ("plain", plain)
    return pair if number % 2 == 0 else pair[::-1]


def _seconds(request: Any, data: FloatArray) -> float:
    start = time.perf_counter()
    request.infer({0: data}, share_inputs=True, share_outputs=True)
    return time.perf_counter() - start
