"""How much memory a stage will take, and whether that is there: asked before the network runs.

A prediction starts from what this process holds now, which is measured, and adds what is still to come, which is
known exactly where it is ours (windows, sums, labels) and from the compiled graph where it is OpenVINO's. See
`docs/concepts/execution.md` for how well it meets the measured peak.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Final

from brain_edge.engine.execution import SLAB_BYTES, Decision
from brain_edge.errors import InputError, UsageError
from brain_edge.machine.process import available_bytes, peak_rss_bytes, return_free_memory, rss_bytes
from brain_edge.runtime.protocol import MeasuredSession

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from brain_edge.engine.execution import StagePlan
    from brain_edge.image.geometry import Shape
    from brain_edge.runtime.protocol import Session
    from brain_edge.spec import Network, Stage

FLOAT_BYTES: Final = 4

LABEL_STEP_BYTES: Final = 8
"""Per voxel of the native grid, while labels are restored and cleaned: the label maps before and after a step, and the
component numbers (uint32)."""

ORDINARY_CHANNELS: Final = 100
"""Intermediate results of a segmentation network, in multiples of a float32 channel of its input: 84 for HD-BET. Where
that many fit easily nothing is computed about it."""

MARGIN: Final = 1.05
"""For what the allocator keeps between two blocks."""

STARTS_DIFFER_BYTES: Final = 4 * 2**20
"""Room between what is needed now and the limit that a refusal advises: two starts of one command differ by up to
1 MiB, and the advice is for the next start."""


@dataclass(frozen=True)
class MemoryLimit:
    """The most that this process may take.

    Attributes:
        limit_bytes: what the user allows; None for what the machine has to give.

    Raises:
        UsageError: the user allows something, and this system does not say what a process takes.
    """

    limit_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.limit_bytes is not None and rss_bytes() is None:
            raise UsageError(
                "--max-memory: this system does not say what a process takes (on Linux /proc does), so that no limit "
                "can be kept; leave it out"
            )

    def require(
        self, stages: Iterable[tuple[Stage, StagePlan, Shape]], native: Shape, sessions: Mapping[str, Session]
    ) -> bool:
        """Make sure that stages fit, in the most sparing way that is needed.

        Args:
            stages: those whose input is known, each with its plan and the sides that its network sees.
            native: sides of the image.
            sessions: by graph.

        Returns:
            Whether memory is so short that what is not needed any more is to be given back at once.

        Raises:
            InputError: not even the least fits.
        """
        wanted = list(stages)
        limit = self.limit_bytes or available_bytes()
        if limit is None or (self.limit_bytes is None and _fits_easily(wanted, native, limit)):
            return False
        needed = predicted_peak_bytes(wanted, native, sessions)
        while needed is not None and needed > limit:
            if not any(isinstance(each, MeasuredSession) and each.spare() for each in sessions.values()):
                raise InputError(self._refusal(needed, limit))
            return_free_memory()
            needed = predicted_peak_bytes(wanted, native, sessions)
        return True

    def require_copy(self, size_bytes: int) -> None:
        """Make sure that one copy of an image can be made, which the steps before the network do.

        Raises:
            InputError: it cannot.
        """
        # what the user allows is judged when the least that would do is known, after these steps
        limit, held = available_bytes(), rss_bytes()
        if self.limit_bytes is None and limit is not None and held is not None and held + size_bytes > limit:
            raise InputError(self._refusal(held + size_bytes, limit))

    def _refusal(self, needed: int, limit: int) -> str:
        least = -(-(needed + STARTS_DIFFER_BYTES) // (10 * 2**20)) * 10
        if self.limit_bytes is None:
            return (
                f"this needs about {least} MiB of memory and {limit // 2**20} MiB are free for it; "
                "close other programs, or take a machine with more memory"
            )
        return (
            f"this needs about {least} MiB of memory at the least, and --max-memory allows {limit // 2**20} MiB; "
            f"say --max-memory {least}M or more, or take a package with smaller windows or fewer labels"
        )


def predicted_peak_bytes(
    stages: Iterable[tuple[Stage, StagePlan, Shape]], native: Shape, sessions: Mapping[str, Session]
) -> int | None:
    """The greatest resident memory of this process when it ends; None where it or a session cannot say.

    Args:
        stages: see `MemoryLimit.require`.
        native: sides of the image.
        sessions: by graph.
    """
    increments = []
    for stage, plan, sides in stages:
        graphs = graph_memory(stage.network, sides, sessions)
        if graphs is None:
            return None
        increments.append(
            max(network_bytes(stage.network, plan, sides, graphs), after_bytes(stage, plan, sides, native))
        )
    now = rss_bytes()  # only now: what is compiled is in it
    so_far = peak_rss_bytes()
    if now is None or so_far is None:
        return None
    return max(so_far, int((now + max(increments, default=0)) * MARGIN))


def graph_memory(network: Network, sides: Shape, sessions: Mapping[str, Session]) -> int | None:
    """Of the largest graph of a stage; they run one after the other. None where its input is no volume or window."""
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
    """While the network runs: graph, sums of windows, and what is kept of its output."""
    output = network.channels_out * prod(sides) * FLOAT_BYTES
    sums, tiling = 0, network.execution.tiling(sides)
    if tiling is not None:
        window = prod(network.execution.seen(sides) or sides) * FLOAT_BYTES
        cells = tiling.peak_cell_voxels() * FLOAT_BYTES
        # the sums and their weights; a window times its weights; the output for a constant window
        sums = cells * (network.channels_out + 1) + window * (network.channels_out * 2 + network.channels_in * 2)
    keeps_all = network.passes > 1 or (sums > 0 and plan.decision is not Decision.IN_BLOCKS)
    # the labels of all together, and those of each pass where there are several
    labels = prod(sides) * (1 + (network.passes if network.passes > 1 else 0))
    return graph_bytes + sums + (output if keeps_all else 0) + labels


def after_bytes(stage: Stage, plan: StagePlan, sides: Shape, native: Shape) -> int:
    """When the network has run: probabilities that are still there, slabs on the way back, label maps."""
    output = stage.network.channels_out * prod(sides) * FLOAT_BYTES
    if plan.decision is Decision.IN_BLOCKS:
        return prod(native) * LABEL_STEP_BYTES
    if plan.decision is Decision.ON_THE_WAY_BACK:
        plane = stage.network.channels_out * native[1] * native[2] * FLOAT_BYTES
        return output + 3 * max(SLAB_BYTES, plane) + prod(native) * LABEL_STEP_BYTES
    # probabilities of the whole native grid, and those that they were made of on the way
    return output + 3 * stage.network.channels_out * prod(native) * FLOAT_BYTES


def _fits_easily(stages: Iterable[tuple[Stage, StagePlan, Shape]], native: Shape, limit: int) -> bool:
    """Whether there is so much more memory than an ordinary network takes that a closer look is not worth its time."""
    roughly = 0
    for stage, plan, sides in stages:
        seen = stage.network.execution.seen(sides) or sides
        graphs = 2 * ORDINARY_CHANNELS * FLOAT_BYTES * prod(seen)
        sums = 2 * stage.network.channels_out * prod(sides) * FLOAT_BYTES
        roughly = max(roughly, graphs + sums, after_bytes(stage, plan, sides, native))
    return (rss_bytes() or 0) + roughly < limit
