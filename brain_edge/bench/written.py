"""Bytes that the steps around the networks write at full size, counted while a case runs.

Memory that is new to a process costs more than the arithmetic of a step. An array counts if a step allocates it and if
it has at least one byte per voxel of the image or of the network's grid, whichever is smaller: the result of the step,
and each array on the way. A view, a change in place and a block that stays in the caches do not count. Memory that
OpenVINO takes does not count either; the layers of a profile state what they move.

NumPy reports its memory to tracemalloc. Most arrays are free again before their step ends, so that the counters are
read after each operation of Python. The run itself has no code for this.
"""

from __future__ import annotations

import sys
import tracemalloc
from contextlib import contextmanager
from math import prod
from typing import TYPE_CHECKING, Any, Final

import msgspec

from brain_edge.engine.assembly import assemble
from brain_edge.engine.execution import execute
from brain_edge.engine.in_blocks import BLOCK_BYTES, applied
from brain_edge.engine.segmenter import Segmenter
from brain_edge.engine.stage_zero import BrainMasker
from brain_edge.jobs.case import read_study
from brain_edge.spec.steps.step import Step

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from types import FrameType
    from typing import TypeAlias

    from brain_edge.engine.execution import StagePlan

    Place: TypeAlias = tuple[str, str]
    """Model with its stage, and step."""

READ: Final = "read"
BETWEEN: Final = "between the steps"
BEGIN: Final = frozenset({"apply", "fitted", "fitted_to_copies"})
"""Names of the functions of a step that work on voxels."""


class StepBytes(msgspec.Struct, frozen=True, kw_only=True):
    """Step of the chain around the networks, or steps that make one pass together.

    Attributes:
        stage: model and stage; empty for the reading of the images.
        step: names of the steps, as in the specification.
        written_bytes: bytes of all arrays of full size that the step allocates.
    """

    stage: str
    step: str
    written_bytes: int


class Watch:
    """Sizes of the arrays that a case allocates, by stage and step, in order of execution."""

    def __init__(self) -> None:
        self._sizes: dict[Place, list[int]] = {}
        self._grids: list[int] = []
        self._held = 0

    def steps(self, image: Sequence[int]) -> tuple[StepBytes, ...]:
        """Return the bytes of each step, given the sides (I, J, K) of the image in voxels."""
        full = min([prod(image), *self._grids])
        return tuple(
            StepBytes(stage=stage, step=step, written_bytes=sum(size for size in sizes if size >= full))
            for (stage, step), sizes in self._sizes.items()
        )

    def trace(self, frame: FrameType, event: str, _value: object) -> Any:
        """Note what the last operation of Python has allocated; a function for `sys.settrace`."""
        if event == "call":
            frame.f_trace_lines, frame.f_trace_opcodes = False, True
            self._begin(frame)
        held, most = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        size, self._held = most - self._held, held
        if size > BLOCK_BYTES and (place := _place(frame)) is not None:  # a block of a pass stays in the caches
            self._sizes.setdefault(place, []).append(size)
        return self.trace

    def _begin(self, frame: FrameType) -> None:
        """Note a step that may allocate nothing, and the grid of a network."""
        if frame.f_code is execute.__code__:
            grid = frame.f_locals["frame"].geometry.shape
            self._grids.append(prod(frame.f_locals["plan"].sides_after(grid)))
        is_step = frame.f_code.co_name in BEGIN and isinstance(frame.f_locals.get("self"), Step)
        if is_step and (place := _place(frame)) is not None:
            self._sizes.setdefault(place, [])


@contextmanager
def watched() -> Iterator[Watch]:
    """Watch a case that runs in this thread, after a first case: imports take memory, too, and would take minutes.

    The case becomes slower, so that no time may be measured meanwhile.
    """
    watch, before, is_tracing = Watch(), sys.gettrace(), tracemalloc.is_tracing()
    if not is_tracing:
        tracemalloc.start(1)
    sys.settrace(watch.trace)
    try:
        yield watch
    finally:
        sys.settrace(before)
        if not is_tracing:
            tracemalloc.stop()


def _place(frame: FrameType | None) -> Place | None:
    """Return the stage and the outermost step that a frame of Python works for; None outside of a case."""
    step = ""
    while frame is not None:
        local = frame.f_locals
        owner = local.get("self")
        if isinstance(owner, Segmenter):
            stage = local.get("stage")
            return owner.spec.name + (f": {stage.name}" if stage is not None else ""), step or BETWEEN
        if frame.f_code is read_study.__code__:
            return "", READ
        step = _step(frame, local) or step
        frame = frame.f_back
    return None


def _step(frame: FrameType, local: Mapping[str, Any]) -> str:
    """Return the name of the step, or of the steps in one pass, that a frame executes itself; empty for others."""
    if frame.f_code is applied.__code__:
        return _words(local.get("run", ()))
    if frame.f_code is execute.__code__:
        return _network(local["plan"])
    if frame.f_code is assemble.__code__:
        return "assemble"
    owner = local.get("self")
    if isinstance(owner, BrainMasker):
        return "stage 0"
    return _words([owner]) if isinstance(owner, Step) else ""


def _network(plan: StagePlan) -> str:
    """Return the name of the network with the steps around it that have no pass of their own over the volume."""
    before = (*plan.copied, *plan.in_windows)
    after = [step for step in (plan.restore, plan.decide) if step is not None]
    return ", ".join(part for part in (_words(before), "network", _words(after)) if part)


def _words(steps: Iterable[Step]) -> str:
    return ", ".join(str(step.__struct_config__.tag) for step in steps)
