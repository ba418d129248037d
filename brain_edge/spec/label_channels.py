"""Which channels of the last network make up each label: what a mask of probabilities can be written from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brain_edge.spec.steps import Argmax, PrependBackground, Restore, Threshold

if TYPE_CHECKING:
    from brain_edge.spec.model import Stage


def label_channels(last: Stage) -> dict[int, tuple[int, ...]]:
    """Label -> channels of a stage's network whose probabilities add up to it; empty where labels have none.

    Only one channel above a threshold, or the most probable of all, gives labels such probabilities. Regions that are
    painted over each other, looked up in a table, voted on or averaged over stages do not: the network says how
    probable a region is, or several networks do, and not how probable a label is.
    """
    channels: list[tuple[int, ...]] = [(channel,) for channel in range(last.network.channels_out)]
    for step in last.after:
        match step:
            case Threshold():
                return {1: channels[step.channel]}
            case Argmax():
                return _won(channels, step.values or tuple(range(len(channels))))
            case PrependBackground():
                channels = [(), *channels]
            case Restore():
                pass
            case _:
                return {}
    return {}


def _won(channels: list[tuple[int, ...]], values: tuple[int, ...]) -> dict[int, tuple[int, ...]]:
    """Several channels may have the same label."""
    found: dict[int, tuple[int, ...]] = {}
    for value, own in zip(values, channels, strict=True):
        found[value] = found.get(value, ()) + own
    return {value: own for value, own in found.items() if value}
