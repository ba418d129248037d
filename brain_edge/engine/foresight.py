"""Compilation of a graph while the steps before the network run, if the grid of the image fixes the network's input."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from brain_edge.runtime.protocol import ForeseeingSession
from brain_edge.spec.plan import fixed_sides

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from brain_edge.engine.memory import Ahead
    from brain_edge.runtime.protocol import Session
    from brain_edge.spec import Stage


@contextmanager
def compiling(ahead: Ahead, sessions: Mapping[str, Session]) -> Iterator[None]:
    """Compile the first graph of a stage while the steps before its network run; give that up if a step fails.

    Args:
        ahead: stage before its steps.
        sessions: session of each graph, by graph name.
    """
    session, shape = sessions[ahead.stage.network.graphs[0]], foreseen_input(ahead)
    if shape is None or not isinstance(session, ForeseeingSession):
        yield
        return
    session.foresee(shape)
    try:
        yield
    except BaseException:
        session.forget(shape)
        raise


def foreseen_input(ahead: Ahead) -> tuple[int, ...] | None:
    """Return the shape of the network's input that the grid of the image fixes.

    None if the content of the image decides, or if every image gives the same shape: such a graph is compiled when the
    package is opened.
    """
    stage = ahead.stage
    if any(step.follows_content for step in ahead.plan.whole) or _same_for_every_image(stage):
        return None
    return stage.network.execution.known_input(stage.network.channels_in, ahead.sides)


def _same_for_every_image(stage: Stage) -> bool:
    network = stage.network
    return network.execution.known_input(network.channels_in, fixed_sides(stage.before)) is not None
