"""How a stage is executed: the same result as its steps one after the other, in less memory.

The plan is made from what the steps say of themselves, before an image is read: one that says nothing is applied to the
whole volume, in its order. See `docs/concepts/execution.md`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import numpy as np

from brain_edge.engine.inference import predict, predicted_blocks
from brain_edge.engine.windows import Source
from brain_edge.spec.steps.moves import Rest
from brain_edge.spec.steps.step import Scope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from brain_edge.engine.agreement import MemberLabels
    from brain_edge.image.resample import Interpolation
    from brain_edge.runtime.protocol import Session
    from brain_edge.spec import Stage
    from brain_edge.spec.steps import AfterStep, BeforeStep, Frame, Step
    from brain_edge.spec.steps.frame import Array

SLAB_BYTES: Final = 2**26
"""Restored probabilities that are in memory at a time; a single plane where that is more."""


class Decision(StrEnum):
    """When probabilities become labels."""

    AT_THE_END = "at the end"
    """The steps after the network are applied to the whole volume, one after the other."""
    IN_BLOCKS = "in blocks"
    """Each finished block of probabilities is decided at once; only labels exist for the whole volume."""
    ON_THE_WAY_BACK = "on the way back"
    """Probabilities of the network's grid are kept, restored slab by slab, and each slab is decided at once."""


@dataclass(frozen=True)
class StagePlan:
    """The steps of a stage, sorted by how they are executed.

    Attributes:
        whole: steps before the network that are applied to the whole volume, in their order.
        in_windows: steps after these that are applied to each window as it is cut.
        decision: when probabilities become labels.
        decide: the step that makes them, unless `AT_THE_END`.
        restore: the step before it, where `ON_THE_WAY_BACK`.
        after: the steps that remain, in their order.
    """

    whole: tuple[BeforeStep, ...]
    in_windows: tuple[BeforeStep, ...]
    decision: Decision
    decide: AfterStep | None
    restore: AfterStep | None
    after: tuple[AfterStep, ...]

    def all_at_once(self, frame: Frame) -> tuple[StagePlan, Frame]:
        """The plan with nothing left to the windows, and the frame to which that has been applied, complete."""
        for step in self.in_windows:
            frame = step.apply(frame)
        return replace(self, whole=(*self.whole, *self.in_windows), in_windows=()), frame.complete()


def plan_stage(stage: Stage, *, keep_probabilities: bool = False) -> StagePlan:
    """The plan of a stage; where the caller wants the probabilities themselves they are kept whole."""
    lazy = _pointwise_from(stage.before) if stage.network.execution.is_streamed else len(stage.before)
    whole, in_windows = stage.before[:lazy], stage.before[lazy:]
    first, *others = stage.after or (None,)
    if keep_probabilities:
        return StagePlan(whole, in_windows, Decision.AT_THE_END, None, None, stage.after)
    if first is not None and _decides_any_block(first):
        return StagePlan(whole, in_windows, Decision.IN_BLOCKS, first, None, tuple(others))
    if first is not None and first.way_back() is not None and others and _decides_any_block(others[0]):
        return StagePlan(whole, in_windows, Decision.ON_THE_WAY_BACK, others[0], first, tuple(others[1:]))
    return StagePlan(whole, in_windows, Decision.AT_THE_END, None, None, stage.after)


def source_of(plan: StagePlan, frame: Frame) -> Source:
    """What the network's windows are cut from, given the frame after the steps on the whole volume."""
    finishers = [step.fitted(frame) for step in plan.in_windows]

    def finish(cut: Array) -> Array:
        for finisher in finishers:
            cut = finisher(cut)
        return cut

    return Source(frame.voxels, finish)


def execute(
    plan: StagePlan,
    stage: Stage,
    sessions: Mapping[str, Session],
    frame: Frame,
    tick: Callable[[], None] | None = None,
    members: MemberLabels | None = None,
) -> Frame:
    """Network and decision of a stage: the frame to which the steps `plan.after` are still to be applied.

    Args:
        plan: of this stage.
        stage: whose network it is.
        sessions: by graph.
        frame: after the steps `plan.whole`.
        tick: called after each pass of the network.
        members: is given the labels of each pass and of all together, where there are several and the plan decides.
    """
    source, decide = source_of(plan, frame), plan.decide
    if decide is None:
        return frame.with_voxels(predict(stage.network, sessions, source, tick))

    def decided(block: Array) -> Array:
        return decide.apply(frame.with_voxels(block)).voxels

    see = members.watcher(decided) if members is not None and stage.network.passes > 1 else None
    if plan.decision is Decision.IN_BLOCKS:
        labels = np.empty((1, *source.sides), dtype=np.uint8)
        for place, block in predicted_blocks(stage.network, sessions, source, tick, see):
            labels[(slice(None), *place)] = decided(block)
        if members is not None:
            members.together = labels[0]
        return frame.with_voxels(labels)
    probabilities = frame.with_voxels(predict(stage.network, sessions, source, tick, see))
    if members is not None and see is not None:
        members.together = decided(probabilities.voxels)[0]
    return _decided_on_the_way_back(plan.restore, decide, probabilities)


def _decided_on_the_way_back(restore: AfterStep | None, decide: AfterStep, probabilities: Frame) -> Frame:
    """Return the labels on the native grid, or without a way back on the network's; in slabs where that is possible."""
    way_back = None if restore is None else restore.way_back()
    if way_back is None or not can_be_restored_in_slabs(probabilities):
        return decide.apply(probabilities if restore is None else restore.apply(probabilities))
    native = probabilities.trail[0].before if probabilities.trail else probabilities.geometry
    labels = np.empty((1, *native.shape), dtype=np.uint8)
    for planes, slab in restored_slabs(probabilities, way_back):
        labels[:, planes] = decide.apply(probabilities.with_voxels(slab)).voxels
    return replace(probabilities, voxels=labels, geometry=native, trail=())


def can_be_restored_in_slabs(frame: Frame) -> bool:
    """Whether every move of the trail is one that can be undone for a slab."""
    return all(move.in_slabs for move in frame.trail)


def restored_slabs(frame: Frame, interpolation: Interpolation) -> Iterator[tuple[slice, Array]]:
    """`frame.undone(interpolation)` in slabs along the first native axis: planes, (C, planes, J, K).

    Equal to the whole to float32 rounding (the planes are interpolated along that axis first).
    `brain_edge.spec.steps.moves` knows what a slab needs.
    """
    native = frame.trail[0].before if frame.trail else frame.geometry
    rest = Rest(frame.voxels, frame.trail, interpolation)
    plane_bytes = frame.voxels.dtype.itemsize * frame.voxels.shape[0] * native.shape[1] * native.shape[2]
    planes = max(1, SLAB_BYTES // plane_bytes)
    for first in range(0, native.shape[0], planes):
        last = min(first + planes, native.shape[0])
        yield slice(first, last), rest.slab(0, (first, last))


def _decides_any_block(step: Step) -> bool:
    return step.decides and step.scope is Scope.VOXEL


def _pointwise_from(before: Sequence[BeforeStep]) -> int:
    """From which step on all steps can be applied window by window.

    One that is fitted looks at the volume that reaches it, so it can only be the first of them.
    """
    for position in reversed(range(len(before))):
        if before[position].scope is Scope.VOLUME:
            return position + 1
        if before[position].scope is Scope.FITTED:
            return position
    return 0
