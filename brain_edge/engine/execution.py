"""Execution of a stage: the result of its steps one after the other, in less memory.

The plan is made before an image is read, from the facts that each step declares. A step that declares none is applied
to the whole volume, in its order. See `docs/concepts/execution.md`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import numpy as np

from brain_edge.engine.in_blocks import applied
from brain_edge.engine.inference import predict, predicted_blocks
from brain_edge.engine.windows import Source
from brain_edge.image.resample import Interpolation, nearest_indices, resize
from brain_edge.spec.plan import copied_from
from brain_edge.spec.steps.moves import Resized, Rest
from brain_edge.spec.steps.step import Scope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from brain_edge.engine.agreement import MemberLabels
    from brain_edge.image.geometry import Shape
    from brain_edge.runtime.protocol import Session
    from brain_edge.spec import Stage
    from brain_edge.spec.steps import AfterStep, BeforeStep, Frame, Step
    from brain_edge.spec.steps.frame import Array

SLAB_BYTES: Final = 2**26
"""Bytes of restored probabilities in memory at a time; at least one plane."""


class Decision(StrEnum):
    """Point at which probabilities become labels."""

    AT_THE_END = "at the end"
    """After the network: its steps are applied to the whole volume, one after the other."""
    IN_BLOCKS = "in blocks"
    """At each finished block of probabilities; only labels are stored for the whole volume."""
    ON_THE_WAY_BACK = "on the way back"
    """At each restored slab; the probabilities are kept on the network's grid and restored slab by slab."""


@dataclass(frozen=True)
class StagePlan:
    """The steps of a stage, sorted by how they are executed.

    Attributes:
        whole: steps before the network that are applied to the whole volume, in order.
        copied: a step that copies voxels to a finer grid and all later steps, which are applied before it; or none.
        in_windows: later steps before the network that are applied to each window as it is cut.
        decision: point at which probabilities become labels.
        decide: step that makes the labels; None for `AT_THE_END`.
        restore: step before `decide` for `ON_THE_WAY_BACK`; else None.
        after: remaining steps, in order.
    """

    whole: tuple[BeforeStep, ...]
    copied: tuple[BeforeStep, ...]
    in_windows: tuple[BeforeStep, ...]
    decision: Decision
    decide: AfterStep | None
    restore: AfterStep | None
    after: tuple[AfterStep, ...]

    def all_at_once(self, frame: Frame) -> tuple[StagePlan, Frame]:
        """Return the plan with every step on the whole volume, and the complete frame after these steps."""
        later = (*self.copied, *self.in_windows)
        frame = applied(later, frame)
        return replace(self, whole=(*self.whole, *later), copied=(), in_windows=()), frame.complete()

    def sides_given(self, before: Shape) -> Shape:
        """Return the sides of what a session is given, which may copy planes itself; see `sides_after`."""
        i, j, k = self.sides_after(before)
        return (i, j, min(k, before[2]) if self.copied else k)

    def sides_after(self, before: Shape) -> Shape:
        """Return the sides (I, J, K) of the network's input, given those after the steps on the whole volume."""
        return before if not self.copied else self.copied[0].copies_to or before


def plan_stage(stage: Stage, *, keep_probabilities: bool = False) -> StagePlan:
    """Make the plan of a stage; with `keep_probabilities`, the probabilities of the whole volume are kept."""
    lazy = _pointwise_from(stage.before) if stage.network.execution.is_streamed else len(stage.before)
    few = copied_from(stage)
    whole, copied = (stage.before[:lazy], ()) if few is None else (stage.before[:few], stage.before[few:])
    steps = (whole, copied, stage.before[lazy:])
    first, *others = stage.after or (None,)
    if keep_probabilities:
        return StagePlan(*steps, Decision.AT_THE_END, None, None, stage.after)
    if first is not None and _decides_any_block(first):
        return StagePlan(*steps, Decision.IN_BLOCKS, first, None, tuple(others))
    if first is not None and first.way_back() is not None and others and _decides_any_block(others[0]):
        return StagePlan(*steps, Decision.ON_THE_WAY_BACK, others[0], first, tuple(others[1:]))
    return StagePlan(*steps, Decision.AT_THE_END, None, None, stage.after)


def source_of(plan: StagePlan, frame: Frame) -> tuple[Source, Frame]:
    """Return the source of the network's input, and its frame, given the frame after the steps on the whole volume."""
    if plan.copied:
        return _source_of_copies(plan, frame)
    finishers = [step.fitted(frame) for step in plan.in_windows]

    def finish(cut: Array) -> Array:
        for finisher in finishers:
            cut = finisher(cut)
        return cut

    return Source(frame.voxels, finish), frame


def _source_of_copies(plan: StagePlan, frame: Frame) -> tuple[Source, Frame]:
    """Apply the steps on voxels that the network copies, and return their planes and the frame of the copies.

    Along an axis that becomes coarser, neighbours are taken at once, so that no step sees more voxels than the network.
    """
    later = plan.copied[1:]
    sides = plan.sides_after(frame.geometry.shape)
    few = tuple(min(pair) for pair in zip(frame.voxels.shape[1:], sides, strict=True))
    voxels = resize(frame.voxels, few, Interpolation.NEAREST)
    planes = [nearest_indices(source, target) for source, target in zip(few, sides, strict=True)]
    i, j, k = (np.bincount(each, minlength=source) for each, source in zip(planes, few, strict=True))
    for step in later:
        voxels = step.fitted_to_copies(frame.with_voxels(voxels), (i, j, k))(voxels)
    voxels = np.ascontiguousarray(resize(voxels, (*sides[:2], few[2]), Interpolation.NEAREST), dtype=np.float32)
    grid = frame.geometry.resized(sides)
    # a number in the place of voxels that only the network makes
    none = np.broadcast_to(np.float32(0), (len(voxels), *sides))
    return Source(voxels, planes=planes[2]), frame.moved(none, grid, Resized(frame.geometry))


def execute(
    plan: StagePlan,
    stage: Stage,
    sessions: Mapping[str, Session],
    frame: Frame,
    tick: Callable[[], None] | None = None,
    members: MemberLabels | None = None,
) -> Frame:
    """Run the network and the decision of a stage; the steps `plan.after` remain to be applied to the returned frame.

    Args:
        plan: plan of this stage.
        stage: stage that owns the network.
        sessions: session of each graph, by graph name.
        frame: frame after the steps `plan.whole`.
        tick: function called after each pass of the network.
        members: receiver of the labels of each pass and of their mean, if passes are several and the plan decides.
    """
    (source, frame), decide = source_of(plan, frame), plan.decide
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
    """Return True if every move of the trail can be undone for a slab."""
    return all(move.in_slabs for move in frame.trail)


def restored_slabs(frame: Frame, interpolation: Interpolation) -> Iterator[tuple[slice, Array]]:
    """Yield `frame.undone(interpolation)` in slabs along the first native axis: the planes, and (C, planes, J, K).

    The slabs equal the whole to float32 rounding (the planes are interpolated along that axis first).
    `brain_edge.spec.steps.moves` determines the input of a slab.
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
    """Return the index of the first step from which all steps can be applied window by window.

    A fitted step reads the whole volume before it, so only the first of these steps may be fitted.
    """
    for position in reversed(range(len(before))):
        if before[position].scope is Scope.VOLUME:
            return position + 1
        if before[position].scope is Scope.FITTED:
            return position
    return 0
