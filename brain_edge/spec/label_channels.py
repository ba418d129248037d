"""Which channels of the last network make up each label: what a mask of probabilities can be written from."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from brain_edge.spec.model import Stage
    from brain_edge.spec.steps.step import Sources


def label_channels(last: Stage) -> dict[int, tuple[int, ...]]:
    """Label -> channels of a stage's network whose probabilities add up to it; empty where labels have none.

    Only one channel above a threshold, or the most probable of all, gives labels such probabilities. Regions that are
    painted over each other, looked up in a table, voted on or averaged over stages do not: the network says how
    probable a region is, or several networks do, and not how probable a label is.
    """
    sources: Sources = tuple((channel,) for channel in range(last.network.channels_out))
    for step in last.after:
        found = step.channels_of(sources)
        if not isinstance(found, tuple):
            return dict(found)
        sources = found
    return {}
