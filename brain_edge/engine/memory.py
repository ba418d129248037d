"""Memory that a stage will need, compared with the memory available, before the network runs.

A prediction starts from the measured memory of this process. It adds what is still to come: windows, sums and labels
are known exactly, and OpenVINO's share comes from the compiled graph. `docs/concepts/execution.md` compares predictions
with measured peaks.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Final, Self

from brain_edge.engine.execution import SLAB_BYTES, Decision
from brain_edge.errors import MemoryShortError, UsageError
from brain_edge.image.geometry import require_few_voxels
from brain_edge.machine.process import MIB, available, peak_rss_bytes, return_free_memory, rss_bytes
from brain_edge.runtime.protocol import MeasuredSession
from brain_edge.spec.steps.step import GridStep

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from brain_edge.engine.execution import StagePlan
    from brain_edge.image.geometry import Shape
    from brain_edge.runtime.protocol import Session
    from brain_edge.spec import Network, Stage
    from brain_edge.spec.steps import BeforeStep, Frame

FLOAT_BYTES: Final = 4

LABEL_STEP_BYTES: Final = 8
"""Bytes per voxel of the native grid while labels are restored and cleaned: the label maps before and after a step, and
the component numbers (uint32)."""

ORDINARY_CHANNELS: Final = 100
"""Intermediate results of a segmentation network, in multiples of a float32 channel of its input: 84 for HD-BET. If
that many fit easily, no prediction is made."""

MARGIN: Final = 1.05
"""Factor for memory that the allocator keeps between two blocks."""

STEP_COPIES: Final = 2
"""Copies of its result that a step on the whole volume makes on the way: a result, and what it is made from."""
GRID_COPIES: Final = 4
"""The same of a step that interpolates or pads, beside a contiguous copy of what it is given."""

ADVISED: Final = 1.05
"""Factor from the current need to the limit that a refusal advises: at a later stage or case, a process holds a little
more than is known now, and whoever follows the advice must not be refused there."""

KEPT_LATER_BYTES: Final = 24 * 2**20
"""Bytes between the current need and the limit that a refusal advises. After its first cases, a process holds about
20 MiB more: heaps of its threads, and modules that the first mask loads. Two starts differ by 1 MiB."""


@dataclass(frozen=True)
class MemoryLimit:
    """Memory limit of this process.

    Attributes:
        limit_bytes: limit that the user sets, in bytes; None for the available memory of the machine.

    Raises:
        UsageError: the user sets a limit, and this system does not report the memory of a process.
    """

    limit_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.limit_bytes is not None and rss_bytes() is None:
            raise UsageError(
                "--max-memory needs a system that reports the memory of a process (Linux: /proc), "
                "and this system does not; remove --max-memory"
            )

    def require(self, stages: Iterable[Ahead], native: Shape, sessions: Mapping[str, Session]) -> bool:
        """Make sure that stages fit in memory, and reduce what the sessions take only as far as needed.

        Args:
            stages: stages of known input.
            native: sides of the image in voxels.
            sessions: session of each graph, by graph name.

        Returns:
            True if memory is so short that unused memory must be released at once.

        Raises:
            MemoryShortError: even the smallest need exceeds the limit.
        """
        wanted = list(stages)
        limit = self._bound_bytes()
        if limit is None or self.is_ample(wanted, native):
            return False
        # a peak that has passed counts against the user's limit, and not against the memory that is free now
        predict = predicted_bytes if self.limit_bytes is None else predicted_peak_bytes
        needed = predict(wanted, native, sessions)
        while needed is not None and needed > limit:
            if not any(isinstance(each, MeasuredSession) and each.spare() for each in sessions.values()):
                raise MemoryShortError(self._refusal(needed))
            return_free_memory()
            needed = predict(wanted, native, sessions)
        return True

    def is_ample(self, stages: Sequence[Ahead], native: Shape) -> bool:
        """Return True if the user sets no limit, and memory exceeds the need of ordinary networks by far."""
        limit = self._bound_bytes()
        return limit is not None and self.limit_bytes is None and _fits_easily(stages, native, limit)

    def require_steps(self, stages: Iterable[Ahead], native: Shape, sessions: Mapping[str, Session]) -> None:
        """Make sure that memory suffices for the steps before a network, before the first one makes a larger grid.

        Args:
            stages: stages of known input from the one whose steps come next.
            native: sides of the image in voxels.
            sessions: session of each graph, by graph name.

        Raises:
            MemoryShortError: memory does not suffice; the advice counts the networks after the steps, too.
        """
        coming = iter(stages)
        first = next(coming)
        held, limit = rss_bytes(), self._bound_bytes()
        if held is None or limit is None or held + first.steps_bytes <= limit:
            return
        needed, there = held + first.steps_bytes, available()
        if self.limit_bytes is not None and (there is None or needed <= there.size_bytes):
            predicted = predicted_peak_bytes([first, *coming], native, sessions)
            if predicted is None:  # as `require` judges it
                return
            needed = max(needed, predicted)
        raise MemoryShortError(self._refusal(needed))

    def _bound_bytes(self) -> int | None:
        """Return the limit of the user or the available memory, whichever is less; None if neither is known."""
        there = available()
        known = [size for size in (self.limit_bytes, None if there is None else there.size_bytes) if size is not None]
        return min(known, default=None)

    def _refusal(self, needed: int) -> str:
        least = -(-int(needed * ADVISED + KEPT_LATER_BYTES) // (10 * MIB)) * 10
        there = available()
        if there is not None and (self.limit_bytes is None or least * MIB > there.size_bytes):
            return (
                f"this case needs about {least} MiB of memory, and {there.size_bytes // MIB} MiB are available; "
                f"{there.advice(least * MIB)}"
            )
        return (
            f"this case needs at least about {least} MiB of memory, and --max-memory allows "
            f"{(self.limit_bytes or 0) // MIB} MiB; "
            f"set --max-memory {least}M or more, or use a package with smaller windows or fewer labels"
        )


@dataclass(frozen=True)
class Ahead:
    """A stage that is to come, as far as its memory goes.

    Attributes:
        stage: the stage.
        plan: its plan.
        sides: sides (I, J, K) in voxels of its network's input.
        steps_bytes: most bytes that its steps on the whole volume will hold; 0 after them.
        frame_bytes: bytes of the frame that they will make; 0 after them.
    """

    stage: Stage
    plan: StagePlan
    sides: Shape
    steps_bytes: int = 0
    frame_bytes: int = 0

    @classmethod
    def of(cls, stage: Stage, plan: StagePlan, frame: Frame) -> Self:
        """Return a stage before its steps, of which the first gets this frame.

        Raises:
            GeometryError: a step makes more voxels than any image may have.
        """
        taken, sides = steps_bytes(plan.whole, frame)
        require_few_voxels(plan.sides_after(sides))
        channel = frame.voxels.shape[0] * FLOAT_BYTES
        given = channel * prod(plan.sides_given(sides))
        if not plan.copied:
            return cls(stage, plan, sides, taken, given)
        # the planes are the input itself, and count with the tensors of the graph
        return cls(stage, plan, plan.sides_after(sides), max(taken, channel * prod(sides) + STEP_COPIES * given))


def steps_bytes(steps: Sequence[BeforeStep], frame: Frame) -> tuple[int, Shape]:
    """Return the most bytes that steps on the whole volume hold beside their frame, and the sides after them.

    Raises:
        GeometryError: a step makes more voxels than any image may have.
    """
    channel, grid = frame.voxels.shape[0] * FLOAT_BYTES, frame.geometry
    most, given = 0, 0
    for step in steps:
        after = step.grid_after(grid)
        require_few_voxels(after.shape)
        made, source = prod(after.shape) * channel, prod(grid.shape) * channel
        if made != source:
            most, given = max(most, given + source + GRID_COPIES * made), made
        elif step.follows_content or not isinstance(step, GridStep):  # a step that reorders axes makes a view
            most, given = max(most, given + STEP_COPIES * made), made
        grid = after
    return most, grid.shape


def predicted_peak_bytes(stages: Iterable[Ahead], native: Shape, sessions: Mapping[str, Session]) -> int | None:
    """Predict the peak resident memory of this process from its start; see `predicted_bytes`."""
    coming, so_far = predicted_bytes(stages, native, sessions), peak_rss_bytes()
    return None if coming is None or so_far is None else max(so_far, coming)


def predicted_bytes(stages: Iterable[Ahead], native: Shape, sessions: Mapping[str, Session]) -> int | None:
    """Predict the peak of what is still to come in bytes; None if the process or a session cannot report it.

    Args:
        stages: stages of known input; see `MemoryLimit.require`.
        native: sides of the image in voxels.
        sessions: session of each graph, by graph name.
    """
    increments = []
    for each in stages:
        network = each.stage.network
        graphs = graph_memory(network, each.sides, sessions)
        if graphs is None:
            return None
        running = network_bytes(network, each.plan, each.sides, graphs)
        after = after_bytes(each.stage, each.plan, each.sides, native)
        increments.append(max(each.steps_bytes, each.frame_bytes + max(running, after)))
    now = rss_bytes()  # last, so that it includes the compiled graphs
    return None if now is None else int((now + max(increments, default=0)) * MARGIN)


def graph_memory(network: Network, sides: Shape, sessions: Mapping[str, Session]) -> int | None:
    """Return peak bytes of a stage's largest graph (graphs run sequentially); None if it takes no volume or window."""
    seen = network.execution.seen(sides)
    if seen is None:
        return None
    largest = 0
    for graph in network.graphs:
        session = sessions[graph]
        if not isinstance(session, MeasuredSession):
            return None
        largest = max(largest, session.memory((1, network.channels_in, *seen)).total_bytes)
    return largest


def network_bytes(network: Network, plan: StagePlan, sides: Shape, graph_bytes: int) -> int:
    """Return the bytes in use while the network runs: graph, sums of windows, and the kept part of its output."""
    output = network.channels_out * prod(sides) * FLOAT_BYTES
    sums, tiling = 0, network.execution.tiling(sides)
    if tiling is not None:
        window = prod(network.execution.seen(sides) or sides) * FLOAT_BYTES
        cells = tiling.peak_cell_voxels() * FLOAT_BYTES
        # the sums and their weights; one window times its weights; the output for a constant window
        sums = cells * (network.channels_out + 1) + window * (network.channels_out * 2 + network.channels_in * 2)
    keeps_all = network.passes > 1 or (sums > 0 and plan.decision is not Decision.IN_BLOCKS)
    # the labels of the mean, and the labels of each pass if there are several
    labels = prod(sides) * (1 + (network.passes if network.passes > 1 else 0))
    return graph_bytes + sums + (output if keeps_all else 0) + labels


def after_bytes(stage: Stage, plan: StagePlan, sides: Shape, native: Shape) -> int:
    """Return the bytes in use after the network: probabilities still in memory, restored slabs, label maps."""
    output = stage.network.channels_out * prod(sides) * FLOAT_BYTES
    if plan.decision is Decision.IN_BLOCKS:
        return prod(native) * LABEL_STEP_BYTES
    if plan.decision is Decision.ON_THE_WAY_BACK:
        plane = stage.network.channels_out * native[1] * native[2] * FLOAT_BYTES
        return output + 3 * max(SLAB_BYTES, plane) + prod(native) * LABEL_STEP_BYTES
    # probabilities of the whole native grid, and those from which they were resampled
    return output + 3 * stage.network.channels_out * prod(native) * FLOAT_BYTES


def _fits_easily(stages: Iterable[Ahead], native: Shape, limit: int) -> bool:
    """Return True if memory exceeds the need of an ordinary network so far that a prediction is not worth its time."""
    roughly = 0
    for each in stages:
        network = each.stage.network
        seen = network.execution.seen(each.sides) or each.sides
        graphs = 2 * ORDINARY_CHANNELS * FLOAT_BYTES * prod(seen)
        sums = 2 * network.channels_out * prod(each.sides) * FLOAT_BYTES
        after = after_bytes(each.stage, each.plan, each.sides, native)
        roughly = max(roughly, each.steps_bytes, each.frame_bytes + max(graphs + sums, after))
    return (rss_bytes() or 0) + roughly < limit
