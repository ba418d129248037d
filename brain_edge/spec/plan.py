"""The execution plan: the cheapest way to the same labels, and what is known before an image is read."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from brain_edge.spec import Activation
from brain_edge.spec.execution import SlidingWindow, StridedWindows, known_input
from brain_edge.spec.steps import Argmax, CropAroundStage, CropOrPadTo, GridStep, ResizeTo, Threshold

if TYPE_CHECKING:
    from collections.abc import Iterator

    from brain_edge.image.geometry import Shape
    from brain_edge.spec import ModelSpec, Stage
    from brain_edge.spec.steps import AfterStep


def without_activation(stage: Stage) -> Stage:
    """An equivalent stage that decides on logits, where a stage decides on probabilities at once.

    - argmax: softmax and sigmoid keep the order of the logits of a voxel.
    - threshold: sigmoid(z) > t exactly where z > log(t / (1 - t)). A softmax depends on the other channels.

    That holds for a single pass without windows that overlap; where probabilities are averaged (members, mirrorings,
    windows) or interpolated before the decision, they are needed.
    """
    network = stage.network
    averages = network.passes > 1 or isinstance(network.execution, SlidingWindow | StridedWindows)
    if averages or network.activation is Activation.NONE or not stage.after:
        return stage
    decision = _on_logits(stage.after[0], network.activation)
    if decision is None:
        return stage
    return msgspec.structs.replace(
        stage,
        network=msgspec.structs.replace(network, activation=Activation.NONE),
        after=(decision, *stage.after[1:]),
    )


def _on_logits(step: AfterStep, activation: Activation) -> AfterStep | None:
    """The step that decides on logits what `step` decides on probabilities; None where there is none."""
    if isinstance(step, Argmax):
        return step
    if isinstance(step, Threshold) and activation is Activation.SIGMOID and 0 < step.above < 1:
        return msgspec.structs.replace(step, above=math.log(step.above / (1 - step.above)))
    return None


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
        shape = known_input(network.execution, network.channels_in, _fixed_sides(stage))
        if shape is not None:
            yield from ((graph, shape) for graph in network.graphs)


def _fixed_sides(stage: Stage) -> Shape | None:
    """The sides (I, J, K) that the steps give, where the last change of grid fixes them."""
    last = next((step for step in reversed(stage.before) if isinstance(step, GridStep)), None)
    return last.shape if isinstance(last, ResizeTo | CropOrPadTo | CropAroundStage) else None
