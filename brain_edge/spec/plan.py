"""Execution plan: the cheapest way to the same labels, and the facts that are known before an image is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from brain_edge.spec import Activation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from brain_edge.image.geometry import Shape
    from brain_edge.spec import ModelSpec, Stage
    from brain_edge.spec.steps import Step


def without_activation(stage: Stage) -> Stage:
    """Return an equivalent stage that decides on logits (`on_logits`) if its first step after the network decides.

    This requires a single pass without overlapping windows. If probabilities are averaged (members, mirrorings,
    windows) or interpolated before the decision, the stage is returned unchanged.
    """
    network = stage.network
    averages = network.passes > 1 or network.execution.averages
    if averages or network.activation is Activation.NONE or not stage.after:
        return stage
    decision = stage.after[0].on_logits(network.activation)
    if decision is None:
        return stage
    return msgspec.structs.replace(
        stage,
        network=msgspec.structs.replace(network, activation=Activation.NONE),
        after=(decision, *stage.after[1:]),
    )


def cost_in_words(spec: ModelSpec) -> str | None:
    """State the number of passes of the networks for one case, before they run; None if one network runs once."""
    passes = {stage.name: stage.network.passes for stage in spec.stages}
    total = sum(passes.values())
    if total == 1:
        return None
    each = ", ".join(f"{name} {count}" for name, count in passes.items())
    return f"{total} passes of a network ({each}), each over the whole volume or all of its windows"


def known_inputs(spec: ModelSpec) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield the graphs whose input shape, such as (1, C, I, J, K), does not depend on the image, with that shape."""
    for stage in spec.stages:
        network = stage.network
        shape = network.execution.known_input(network.channels_in, fixed_sides(stage.before))
        if shape is not None:
            yield from ((graph, shape) for graph in network.graphs)


def copied_from(stage: Stage) -> int | None:
    """Return the position of the last step before the network, if its only work is to copy voxels to a finer grid.

    Only steps that treat each voxel alike may follow. The network sees the whole volume, once and unmirrored, so that
    it can make the copies itself: it gets fewer voxels, and the steps that follow treat each voxel once.
    """
    network, before = stage.network, stage.before
    if not network.execution.sees_volume or network.passes > 1 or network.flips != ((),):
        return None
    for position in reversed(range(len(before))):
        if before[position].copies_to is not None:
            return position
        if not before[position].counts_copies:
            return None
    return None


def copying_graphs(spec: ModelSpec) -> frozenset[str]:
    """Return the graphs that copy voxels to a finer grid themselves (`copied_from`)."""
    return frozenset(graph for stage in spec.stages if copied_from(stage) is not None for graph in stage.network.graphs)


def fixed_sides(before: Iterable[Step]) -> Shape | None:
    """Return the sides (I, J, K) that the steps before a network give to any image; None if the image decides."""
    sides: Shape | None = None
    for step in before:
        sides = step.sides_after(sides)
    return sides
