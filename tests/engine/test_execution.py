"""However a stage is executed, its result is that of its steps, one after the other, on the whole volume."""

from __future__ import annotations

import re
import tracemalloc
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from phantoms import OBLIQUE
from scipy import ndimage
from strategies import shapes, voxels

from brain_edge.engine.execution import (
    Decision,
    can_be_restored_in_slabs,
    execute,
    plan_stage,
    restored_slabs,
)
from brain_edge.engine.inference import predict
from brain_edge.errors import InputError
from brain_edge.image.geometry import Geometry
from brain_edge.image.resample import Interpolation
from brain_edge.spec import Activation, Blending, Network, SlidingWindow, Stage, Starts, WholeVolume
from brain_edge.spec.steps import (
    Argmax,
    Clip,
    CropOrPadTo,
    DecodeStep,
    FitPercentile,
    Frame,
    GridStep,
    IntensityStep,
    LargestComponent,
    Linear,
    Normalise,
    Orient,
    PadToMultiple,
    Region,
    RescaleToUnit,
    ResizeTo,
    Restore,
    Threshold,
    ZScore,
)
from brain_edge.spec.steps.moves import Move, Rest

NEAREST, LINEAR, CUBIC = (Restore(interpolation=each) for each in Interpolation)
WINDOWS = SlidingWindow(shape=(5, 6, 4))


DECIDED = (Argmax(), NEAREST)


def stage(before=(), after=DECIDED, execution=None, **network) -> Stage:
    parameters = {"graphs": ("n",), "channels_in": 1, "channels_out": 3, "activation": Activation.SOFTMAX, **network}
    made = Network(execution=execution or WholeVolume(), **parameters)
    return Stage(name="s", before=tuple(before), network=made, after=tuple(after))


def three_classes(batch: np.ndarray) -> np.ndarray:
    """A network that sees its neighbours and knows its axes: windows disagree where they overlap."""
    smooth = np.stack([ndimage.uniform_filter(c, (3, 1, 2), mode="constant") for c in batch[0]])
    return np.stack([smooth[0], batch[0, 0], np.roll(smooth[0], 1, axis=2)])[np.newaxis].astype(np.float32)


def frame_of(shape: tuple[int, int, int], seed: int) -> Frame:
    return Frame(voxels(shape, seed)[np.newaxis], Geometry(shape, OBLIQUE))


def one_after_the_other(stage: Stage, frame: Frame) -> Frame:
    """The steps as they stand, without any plan."""
    for step in stage.before:
        frame = step.apply(frame)
    frame = frame.with_voxels(predict(stage.network, {"n": three_classes}, frame.voxels))
    for last in stage.after:
        frame = last.apply(frame)
    return frame


def equal_to_rounding(labels: np.ndarray, stage: Stage, frame: Frame) -> np.ndarray:
    """Voxels whose label the restored scores allow: exactly one, but where scores tie to rounding.

    A tie is not rare: a saturated sigmoid is 1 in every class, and stays 1 to the last bit when it is interpolated.
    """
    restore, decide = stage.after
    scores = one_after_the_other(structs.replace(stage, after=(restore,)), frame).voxels
    rounding = 1e-5 * np.abs(scores).max()
    if isinstance(decide, Threshold):
        score = scores[decide.channel]
        return np.where(labels == 1, score > decide.above - rounding, score <= decide.above + rounding)
    assert isinstance(decide, Argmax)
    values = decide.values or range(len(scores))
    chosen = np.select([labels == value for value in values], list(scores), default=-np.inf)
    return chosen >= scores.max(axis=0) - rounding


def as_planned(stage: Stage, frame: Frame, session=three_classes) -> Frame:
    plan = plan_stage(stage)
    for step in plan.whole:
        frame = step.apply(frame)
    frame = execute(plan, stage, {"n": session}, frame)
    for last in plan.after:
        frame = last.apply(frame)
    return frame


PERCENTILES = (FitPercentile(name="low", percent=2.0), FitPercentile(name="high", percent=98.0))
INTENSITIES = st.sampled_from(
    [
        (ZScore(),),
        (ZScore(region=Region.ABOVE_MEAN), Clip(lower=-1.0, upper=2.0)),
        (Clip(lower=0.0), ZScore(region=Region.NONZERO), Linear(multiply=2.0, add=1.0)),
        (*PERCENTILES, RescaleToUnit(lower="low", upper="high")),
        (*PERCENTILES, Clip(lower="low", upper="high"), Normalise(subtract="low", divide="high")),
        (),
    ]
)
GRIDS = st.sampled_from(
    [
        (),
        (Orient(axes="SPL"),),
        (Orient(axes="ASR"), ResizeTo(shape=(9, 7, 8), interpolation=Interpolation.LINEAR)),
        (ResizeTo(shape=(6, 11, 5), interpolation=Interpolation.CUBIC), Orient(axes="LIP")),
        (CropOrPadTo(shape=(8, 9, 7)),),
        (PadToMultiple(multiple_of=4), Orient(axes="SRA"), CropOrPadTo(shape=(6, 6, 6))),
    ]
)
AFTER = st.sampled_from(
    [
        (Argmax(), NEAREST),
        (Argmax(values=(3, 0, 7)), NEAREST),
        (Threshold(channel=1, above=0.4), NEAREST),
        (LINEAR, Argmax()),
        (CUBIC, Argmax(values=(2, 0, 1))),
        (NEAREST, Threshold(channel=2, above=0.3)),
    ]
)
"""No largest component: of two that are equally large cc3d takes one by the order in memory."""

EXECUTIONS = st.one_of(
    st.just(WholeVolume()),
    st.builds(
        SlidingWindow,
        shape=shapes(2, 9),
        overlap=st.floats(0, 0.8),
        blending=st.sampled_from([each for each in Blending if each is not Blending.LAST]),
    ),
    st.builds(
        SlidingWindow,
        shape=shapes(2, 9),
        overlap=st.floats(0, 0.8),
        blending=st.just(Blending.LAST),
        starts=st.just(Starts.FIXED_STEP),
    ),
)
FLIPS = st.sampled_from([((),), ((1,),), ((), (0,), (1, 2))])


class TestAnyStage:
    @given(st.data(), shapes(2, 12), st.integers(0, 99))
    @settings(max_examples=150)
    def test_gives_the_labels_of_its_steps(self, data, shape, seed):
        """But for voxels where two classes are equal to rounding, as an interpolation between them leaves some."""
        planned = stage(
            (*data.draw(GRIDS), *data.draw(INTENSITIES)),
            data.draw(AFTER),
            data.draw(EXECUTIONS),
            flips=data.draw(FLIPS),
            activation=data.draw(st.sampled_from(Activation)),
        )
        frame = frame_of(shape, seed)
        try:
            theirs = one_after_the_other(planned, frame)
        except InputError as error:  # an image without contrast is refused either way
            with pytest.raises(InputError, match=re.escape(str(error))):
                as_planned(planned, frame)
            return
        ours = as_planned(planned, frame)
        assert ours.voxels.dtype == theirs.voxels.dtype == np.uint8
        assert ours.geometry.same_grid(theirs.geometry)
        assert ours.trail == theirs.trail
        if plan_stage(planned).decision is Decision.ON_THE_WAY_BACK:
            assert equal_to_rounding(ours.voxels[0], planned, frame).all()
        else:
            np.testing.assert_array_equal(ours.voxels, theirs.voxels)

    @given(GRIDS, shapes(2, 12), st.sampled_from(Interpolation), st.integers(0, 99), st.data())
    def test_is_restored_slab_by_slab_as_a_whole(self, grids, shape, interpolation, seed, data):
        frame = frame_of(shape, seed)
        for step in grids:
            frame = step.apply(frame)
        frame = frame.with_voxels(voxels((2, *frame.geometry.shape), seed + 1))
        whole = frame.undone(interpolation).voxels
        axis = data.draw(st.integers(0, 2))
        first = data.draw(st.integers(0, shape[axis] - 1))
        last = data.draw(st.integers(first + 1, shape[axis]))
        slab = Rest(frame.voxels, frame.trail, interpolation).slab(axis, (first, last))
        expected = np.moveaxis(np.moveaxis(whole, axis + 1, 0)[first:last], 0, axis + 1)
        np.testing.assert_allclose(slab, expected, atol=3e-6 * np.abs(frame.voxels).max(), rtol=0)
        if interpolation is Interpolation.NEAREST:
            np.testing.assert_array_equal(slab, expected)


class TestPlan:
    def test_labels_on_the_networks_grid_are_decided_in_blocks(self):
        plan = plan_stage(stage((Orient(axes="RAS"), ZScore()), (Argmax(), NEAREST, LargestComponent()), WINDOWS))
        assert plan.decision is Decision.IN_BLOCKS
        assert plan.decide == Argmax()
        assert plan.after == (NEAREST, LargestComponent())

    def test_interpolated_probabilities_are_decided_on_the_way_back(self):
        plan = plan_stage(stage((), (LINEAR, Argmax(), LargestComponent())))
        assert plan.decision is Decision.ON_THE_WAY_BACK
        assert (plan.restore, plan.decide, plan.after) == (LINEAR, Argmax(), (LargestComponent(),))

    def test_probabilities_that_are_asked_for_are_kept_whole(self):
        asked = stage((), (Argmax(), NEAREST))
        plan = plan_stage(asked, keep_probabilities=True)
        assert (plan.decision, plan.after) == (Decision.AT_THE_END, asked.after)

    def test_only_windows_take_intensities_with_them(self):
        before = (Orient(axes="RAS"), *PERCENTILES, Clip(lower="low"), ZScore(), Linear())
        assert plan_stage(stage(before)).in_windows == ()
        plan = plan_stage(stage(before, execution=WINDOWS))
        assert plan.whole == before[:-2], "the z-score is of the clipped volume"
        assert plan.in_windows == before[-2:]

    def test_a_step_that_says_nothing_stays_where_it_is(self):
        class Blur(IntensityStep, frozen=True):
            def apply(self, frame):
                return ZScore().apply(frame)

        class Merge(DecodeStep, frozen=True):
            def apply(self, frame):
                return Argmax().apply(frame)

        unknown = stage((Blur(), Linear()), (Merge(), NEAREST), WINDOWS)
        plan = plan_stage(unknown)
        assert (plan.whole, plan.in_windows) == ((Blur(),), (Linear(),))
        assert (plan.decision, plan.after) == (Decision.AT_THE_END, unknown.after)
        frame = frame_of((7, 8, 9), 1)
        np.testing.assert_array_equal(as_planned(unknown, frame).voxels, one_after_the_other(unknown, frame).voxels)

    def test_a_move_that_says_nothing_is_undone_as_a_whole(self):
        class Rotated(Move):
            def undo(self, array, interpolation):  # noqa: ARG002
                return array[:, ::-1]

        class Rotate(GridStep, frozen=True):
            def apply(self, frame):
                return frame.moved(frame.voxels[:, ::-1], frame.geometry, Rotated(frame.geometry))

        rotated = stage((Rotate(),), (LINEAR, Argmax()))
        frame = frame_of((7, 8, 9), 2)
        assert not can_be_restored_in_slabs(Rotate().apply(frame))
        np.testing.assert_array_equal(as_planned(rotated, frame).voxels, one_after_the_other(rotated, frame).voxels)


class TestMemory:
    """What is never there at the same time, seen by a network that looks around."""

    SIDES: ClassVar = (40, 36, 32)

    def test_probabilities_of_the_whole_volume_never_exist(self):
        """20 channels in windows: traced by Python's own counter, which numpy reports to."""
        windows = SlidingWindow(shape=(8, 8, 8))
        sliding = stage((ZScore(),), (Argmax(), NEAREST), windows, channels_out=20)
        channels = np.linspace(0.5, 1.5, 20, dtype=np.float32).reshape(1, 20, 1, 1, 1)
        frame = frame_of(self.SIDES, 3)
        tracemalloc.start()
        as_planned(sliding, frame, lambda batch: batch * channels)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        whole = 20 * np.prod(self.SIDES) * 4
        assert peak < 0.35 * whole

    def test_restored_probabilities_are_a_slab_at_a_time(self, monkeypatch):
        monkeypatch.setattr("brain_edge.engine.execution.SLAB_BYTES", 3 * 3 * 36 * 32 * 4)
        frame = ResizeTo(shape=(10, 9, 8), interpolation=Interpolation.LINEAR).apply(frame_of(self.SIDES, 4))
        frame = frame.with_voxels(voxels((3, 10, 9, 8), 5))
        slabs = list(restored_slabs(frame, Interpolation.LINEAR))
        assert {slab.shape for _, slab in slabs} == {(3, 3, 36, 32), (3, 1, 36, 32)}
        assert [planes.start for planes, _ in slabs] == [*range(0, 40, 3)]


def test_the_same_step_is_applied_to_absent_sequences_afterwards():
    """An absent sequence is zeros after all steps: a constant added to the others is not added to it."""
    plan = plan_stage(stage((Linear(add=1.0),), execution=WINDOWS))
    frame = frame_of((6, 7, 8), 6)
    eager, complete = plan.all_at_once(replace(frame, absent=(1,)))
    assert eager.in_windows == ()
    np.testing.assert_array_equal(complete.voxels[0], frame.voxels[0] + 1)
    assert not complete.voxels[1].any()


@pytest.mark.parametrize("execution", [WholeVolume(), WINDOWS])
def test_the_image_is_not_changed(execution):
    frame = frame_of((9, 8, 7), 7)
    frame.voxels.setflags(write=False)
    as_planned(stage((ZScore(region=Region.NONZERO), RescaleToUnit(lower=-1.0, upper=1.0)), execution=execution), frame)
