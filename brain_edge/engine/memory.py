"""Memory that a stage will need, compared with the memory available, before the network runs.

A prediction starts from the measured memory of this process. It adds what is still to come: windows, sums and labels
are known exactly, and OpenVINO's share comes from the compiled graph. `docs/concepts/execution.md` compares predictions
with measured peaks.
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
"""Bytes per voxel of the native grid while labels are restored and cleaned: the label maps before and after a step, and
the component numbers (uint32)."""

ORDINARY_CHANNELS: Final = 100
"""Intermediate results of a segmentation network, in multiples of a float32 channel of its input: 84 for HD-BET. If
that many fit easily, no prediction is made."""

MARGIN: Final = 1.05
"""Factor for memory that the allocator keeps between two blocks."""

STARTS_DIFFER_BYTES: Final = 4 * 2**20
"""Bytes between the current need and the limit that a refusal advises. The advice is for the next start, and two starts
of one command differ by up to 1 MiB."""


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

    def require(
        self, stages: Iterable[tuple[Stage, StagePlan, Shape]], native: Shape, sessions: Mapping[str, Session]
    ) -> bool:
        """Make sure that stages fit in memory, and reduce what the sessions take only as far as needed.

        Args:
            stages: stages of known input, each with its plan and the sides in voxels of its network's input.
            native: sides of the image in voxels.
            sessions: session of each graph, by graph name.

        Returns:
            True if memory is so short that unused memory must be released at once.

        Raises:
            InputError: even the smallest need exceeds the limit.
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
        """Make sure that memory suffices for one copy of an image, which the steps before the network make.

        Raises:
            InputError: memory does not suffice.
        """
        # the user's limit is judged after these steps, when the smallest need is known
        limit, held = available_bytes(), rss_bytes()
        if self.limit_bytes is None and limit is not None and held is not None and held + size_bytes > limit:
            raise InputError(self._refusal(held + size_bytes, limit))

    def _refusal(self, needed: int, limit: int) -> str:
        least = -(-(needed + STARTS_DIFFER_BYTES) // (10 * 2**20)) * 10
        if self.limit_bytes is None:
            return (
                f"this case needs about {least} MiB of memory, and {limit // 2**20} MiB are available; "
                "close other programs, or use a machine with more memory"
            )
        return (
            f"this case needs at least about {least} MiB of memory, and --max-memory allows {limit // 2**20} MiB; "
            f"set --max-memory {least}M or more, or use a package with smaller windows or fewer labels"
        )


def predicted_peak_bytes(
    stages: Iterable[tuple[Stage, StagePlan, Shape]], native: Shape, sessions: Mapping[str, Session]
) -> int | None:
    """Predict the peak resident memory of this process in bytes; None if the process or a session cannot report it.

    Args:
        stages: stages of known input; see `MemoryLimit.require`.
        native: sides of the image in voxels.
        sessions: session of each graph, by graph name.
    """
    increments = []
    for stage, plan, sides in stages:
        graphs = graph_memory(stage.network, sides, sessions)
        if graphs is None:
            return None
        increments.append(
            max(network_bytes(stage.network, plan, sides, graphs), after_bytes(stage, plan, sides, native))
        )
    now = rss_bytes()  # last, so that it includes the compiled graphs
    so_far = peak_rss_bytes()
    if now is None or so_far is None:
        return None
    return max(so_far, int((now + max(increments, default=0)) * MARGIN))


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


def _fits_easily(stages: Iterable[tuple[Stage, StagePlan, Shape]], native: Shape, limit: int) -> bool:
    """Return True if memory exceeds the need of an ordinary network so far that a prediction is not worth its time."""
    roughly = 0
    for stage, plan, sides in stages:
        seen = stage.network.execution.seen(sides) or sides
        graphs = 2 * ORDINARY_CHANNELS * FLOAT_BYTES * prod(seen)
        sums = 2 * stage.network.channels_out * prod(sides) * FLOAT_BYTES
        roughly = max(roughly, graphs + sums, after_bytes(stage, plan, sides, native))
    return (rss_bytes() or 0) + roughly < limit
