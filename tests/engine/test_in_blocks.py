"""Steps in blocks: the same bits in the same memory order as one step after the other."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.array_utils import byte_bounds
from phantoms import ORIENTATIONS

from brain_edge.engine import in_blocks
from brain_edge.engine.in_blocks import applied
from brain_edge.errors import InputError
from brain_edge.image.geometry import Geometry, axis_moves
from brain_edge.image.resample import Interpolation
from brain_edge.io.nifti import read_volume
from brain_edge.spec.steps import (
    Clip,
    FitPercentile,
    Frame,
    Linear,
    Normalise,
    Orient,
    RescaleToUnit,
    ResizeTo,
    ZScore,
)
from brain_edge.spec.steps.intensity import Region
from brain_edge.spec.steps.moves import reorder
from brain_edge.spec.steps.step import ChannelStep
from brain_edge_conversion.recipes.deepbet import SPEC as DEEPBET

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brain_edge.spec.steps import BeforeStep

SHAPE = (9, 14, 11)
FITS = (FitPercentile(name="low", percent=2.0), FitPercentile(name="high", percent=97.0))
STEPS: tuple[BeforeStep, ...] = (
    Clip(lower="low", upper="high"),
    Clip(),
    Normalise(subtract="low", divide=3.7),
    RescaleToUnit(lower="low", upper="high"),
    ZScore(),
    ZScore(region=Region.NONZERO),
    Linear(multiply=0.226, add=0.449),
    FitPercentile(name="low", percent=5.0),
)


class TakesFinding(ChannelStep, frozen=True):
    """A step that passes on what the first stage found."""

    def apply(self, frame: Frame) -> Frame:
        return frame.with_voxels(frame.findings["first"].voxels)


def one_after_the_other(steps: Sequence[BeforeStep], frame: Frame) -> Frame:
    """What a stage did before it worked in blocks."""
    for step in steps:
        frame = step.apply(frame)
    return frame


def assert_same(found: Frame, expected: Frame) -> None:
    assert found.statistics == expected.statistics
    assert found.voxels.dtype == expected.voxels.dtype
    assert found.voxels.shape == expected.voxels.shape
    # a sum over the volume is taken in the order of its memory, and its last digits depend on that order
    wide = [axis for axis, side in enumerate(found.voxels.shape) if side > 1]
    assert [found.voxels.strides[axis] for axis in wide] == [expected.voxels.strides[axis] for axis in wide]
    np.testing.assert_array_equal(found.voxels, expected.voxels)


def head(channels: int, orientation: str, *, is_fortran: bool) -> Frame:
    """Skewed noise with a few zeros, whose axes are a view in another order."""
    rng = np.random.default_rng(1)
    voxels = (rng.gamma(2, 90, (channels, *SHAPE)) * (rng.random((channels, *SHAPE)) > 0.1)).astype(np.float32)
    if is_fortran:
        voxels = np.asfortranarray(voxels[0])[np.newaxis] if channels == 1 else np.asfortranarray(voxels)
    voxels = reorder(voxels, axis_moves("RAS", orientation))
    return Frame(voxels, Geometry(voxels[0].shape, np.diag([1.0, 1.0, 1.0, 1.0])))


@pytest.mark.parametrize("is_fortran", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_every_orientation_in_small_blocks_is_one_step_after_the_other(orientation, channels, is_fortran, monkeypatch):
    monkeypatch.setattr(in_blocks, "BLOCK_BYTES", 1000)
    frame = head(channels, orientation, is_fortran=is_fortran)
    steps = (*FITS, RescaleToUnit(lower="low", upper="high"), ZScore(), Linear(multiply=0.226, add=0.449))
    assert_same(applied(steps, frame), one_after_the_other(steps, frame))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(STEPS), max_size=6), st.sampled_from([1, 900, 4000, 2**18]))
def test_any_steps_in_blocks_of_any_size_are_one_step_after_the_other(steps, block_bytes):
    frame = one_after_the_other(FITS, head(2, "RAS", is_fortran=False))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(in_blocks, "BLOCK_BYTES", block_bytes)
        try:
            expected = one_after_the_other(steps, frame)
        except InputError as error:
            with pytest.raises(InputError, match=str(error)[:40]):
                applied(steps, frame)
            return
        assert_same(applied(steps, frame), expected)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_each_voxel_is_in_one_block_and_a_block_is_one_piece_of_memory(orientation, monkeypatch):
    """A block that is spread over the volume would not stay in the caches, nor would a larger one."""
    monkeypatch.setattr(in_blocks, "BLOCK_BYTES", 1500)
    voxels = head(1, orientation, is_fortran=False).voxels
    visits, extents = np.zeros(voxels.shape, dtype=int), []
    for place in in_blocks._places(voxels):
        visits[place] += 1
        low, high = byte_bounds(voxels[place])
        extents.append((high - low, voxels[place].nbytes))
    assert visits.min() == visits.max() == 1
    assert all(extent == size <= 1500 for extent, size in extents)
    assert len(extents) >= voxels.nbytes // 1500


def test_the_voxels_that_were_read_stay_as_they_are():
    frame = one_after_the_other(FITS, head(1, "LPS", is_fortran=True))
    before = frame.voxels.copy()
    applied((RescaleToUnit(lower="low", upper="high"), ZScore(), Linear(multiply=2.0)), frame)
    np.testing.assert_array_equal(frame.voxels, before)


FINER = ResizeTo(shape=(12, 14, 16), interpolation=Interpolation.LINEAR)
SAME = ResizeTo(shape=SHAPE, interpolation=Interpolation.LINEAR)
CHAIN = (*FITS, RescaleToUnit(lower="low", upper="high"), ZScore(), Linear(multiply=2.0))


@pytest.mark.parametrize("before", [(), (Orient(axes="PSR"),), (FINER,), (SAME,)])
def test_a_block_takes_the_place_of_its_input_unless_the_image_lies_there(before, monkeypatch):
    """Orientation is a view, and a grid that stays gives the image itself; a new grid is memory of the stage alone."""
    monkeypatch.setattr(in_blocks, "BLOCK_BYTES", 1000)
    frame = head(1, "LPS", is_fortran=True)
    image, made = frame.voxels.copy(), list[np.ndarray]()
    empty_like = np.empty_like

    def counted(*given: Any, **named: Any) -> np.ndarray:
        made.append(empty_like(*given, **named))
        return made[-1]

    steps = (*before, *CHAIN)
    expected = one_after_the_other(steps, frame)
    with monkeypatch.context() as patch:
        patch.setattr(in_blocks.np, "empty_like", counted)
        assert_same(applied(steps, frame), expected)
    np.testing.assert_array_equal(frame.voxels, image)
    assert len(made) == (0 if before == (FINER,) else 1)


def test_what_an_earlier_stage_found_stays_as_it_is():
    """A step may pass on the very voxels of an earlier stage."""
    found = head(1, "RAS", is_fortran=False)
    before = found.voxels.copy()
    frame = replace(head(1, "RAS", is_fortran=False), findings={"first": found})
    applied((TakesFinding(), Linear(multiply=2.0)), frame)
    np.testing.assert_array_equal(found.voxels, before)


@pytest.mark.data
@pytest.mark.parametrize(
    "name",
    [  # ten seconds of the steps one after the other
        "brainchop_t1/t1_crop.nii.gz",
        pytest.param("ms_longitudinal/patient01/study1_T1W.nii.gz", marks=pytest.mark.full),
    ],
)
def test_deepbet_sees_a_real_head_to_the_bit(mri, name):
    volume = read_volume(mri(name))
    frame = Frame(volume.voxels[np.newaxis], volume.geometry)
    box, brain = DEEPBET.stages
    expected = one_after_the_other(box.before, frame)
    assert_same(applied(box.before, frame), expected)
    cut = replace(frame, statistics=expected.statistics)
    steps = tuple(step for step in brain.before if not step.stages_used())
    assert_same(applied(steps, cut), one_after_the_other(steps, cut))
