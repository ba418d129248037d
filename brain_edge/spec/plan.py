"""The execution plan: the cheapest way to the same labels, and what is known before an image is read."""

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
    """An equivalent stage that decides on logits, where a stage decides on probabilities at once, by `on_logits`.

    That holds for a single pass without windows that overlap; where probabilities are averaged (members, mirrorings,
    windows) or interpolated before the decision, they are needed.
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
    """How often networks run for one case, said before they do; None where one network runs once."""
    passes = {stage.name: stage.network.passes for stage in spec.stages}
    total = sum(passes.values())
    if total == 1:
        return None
    each = ", ".join(f"{name} {count}" for name, count in passes.items())
    return f"a case takes {total} passes of a network ({each}), each over the whole volume or all of its windows"


def known_inputs(spec: ModelSpec) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Graphs whose input shape, (1, C, I, J, K) of a volume, does not depend on the image, in their order."""
    for stage in spec.stages:
        network = stage.network
        shape = network.execution.known_input(network.channels_in, fixed_sides(stage.before))
        if shape is not None:
            yield from ((graph, shape) for graph in network.graphs)


def fixed_sides(before: Iterable[Step]) -> Shape | None:
    """The sides (I, J, K) that the steps before a network give, whatever the image; None where the image decides."""
    sides: Shape | None = None
    for step in before:
        sides = step.sides_after(sides)
    return sides
