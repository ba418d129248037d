"""The stages around a network: reading, resampling, all steps before, all steps after. Each is checked first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import nibabel
import numpy as np
import pytest
from scipy import ndimage
from skimage.transform import resize

from benchmarks.second_head import second_heads
from brain_edge.engine.assembly import assemble
from brain_edge.engine.segmenter import Segmenter
from brain_edge.image.phantom import Phantom, make_study, make_volume
from brain_edge.io.nifti import read_volume, write_image
from brain_edge.machine.options import RuntimeOptions
from brain_edge.package import NumberFormat
from brain_edge.spec.steps import FillHoles, LargestComponent, ResampleToSpacing
from brain_edge_conversion.recipes import hd_bet_v1

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.harness.timing import Timing
    from brain_edge.package import ModelPackage
    from brain_edge.spec.steps import Frame

SMALL = Phantom(shape=(44, 52, 50), spacing_mm=4.0)
SPEC = hd_bet_v1.spec(("fold0",), ((),))
STEPS = SPEC.stages[0]
ROUNDS = 7


@pytest.fixture(params=["phantom", "MNI152"])
def image(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A small phantom and a real head of 1 mm, as `.nii.gz`."""
    if request.param == "MNI152":
        return Path(request.getfixturevalue("head"))
    path = tmp_path / "phantom.nii.gz"
    write_image(make_volume(SMALL), path)
    return path


@pytest.fixture
def frame(image: Path) -> Frame:
    """The image as the first step gets it."""
    return assemble(read_volume(image), SPEC)


def test_read(timing: Timing, image: Path) -> None:
    """A `.nii.gz` to float32 voxels, checked against nibabel."""
    assert np.array_equal(read_volume(image).voxels, nibabel.load(image).get_fdata(dtype=np.float32))
    timing.call(lambda: read_volume(image), rounds=ROUNDS, precision="f32")


def test_resample(timing: Timing, frame: Frame) -> None:
    """Cubic resampling to 1.5 mm, checked against scikit-image, which the published HD-BET uses."""
    step = next(step for step in STEPS.before if isinstance(step, ResampleToSpacing))
    resampled = step.apply(frame).voxels[0]
    judge = resize(frame.voxels[0], resampled.shape, order=3, mode="edge", clip=False, anti_aliasing=False)
    assert np.abs(resampled - judge).max() <= 1e-4 * np.abs(judge).max()
    timing.call(lambda: step.apply(frame), rounds=ROUNDS, precision="f32")


def test_before(timing: Timing, frame: Frame) -> None:
    """All steps of HD-BET v1 before the network, checked for what its network is trained on."""
    prepared = _before(frame)
    assert all(side % 16 == 0 and side >= 128 for side in prepared.voxels.shape[1:])
    inside = prepared.voxels[prepared.voxels != 0]
    assert abs(inside.mean()) < 1e-3
    assert abs(inside.std() - 1) < 1e-3
    timing.call(lambda: _before(frame), rounds=ROUNDS, precision="f32")


def test_after(timing: Timing, frame: Frame) -> None:
    """Argmax, back to the head's grid, largest component, holes filled; checked against scipy."""
    prepared = _before(frame)
    bright = prepared.voxels > 0
    decided = prepared.with_voxels(np.concatenate([~bright, bright]).astype(np.float32))
    judge = _filled_largest(_after(decided, clean=False).voxels[0] > 0)
    assert np.array_equal(_after(decided, clean=True).voxels[0] > 0, judge)
    timing.call(lambda: _after(decided, clean=True), rounds=ROUNDS, precision="f32")


def test_second_head(timing: Timing, package: Callable[[str, NumberFormat], ModelPackage], threads: int) -> None:
    """A whole warm case of the package's phantom; `second_head` checks the mask and says what the case consists of."""
    opened = package("deepbet", NumberFormat.FP32)
    segmenter = Segmenter.open(opened, RuntimeOptions(threads=threads))
    study = make_study(opened.manifest.self_test.phantom, [opened.spec.inputs[0].name])
    assert all(each.case_ms > each.network_ms > 0 for each in second_heads(segmenter, study, 1))
    timing.call(lambda: segmenter(study), rounds=ROUNDS, precision="f32")


def _before(frame: Frame) -> Frame:
    for step in STEPS.before:
        frame = step.apply(frame)
    return frame


def _after(frame: Frame, *, clean: bool) -> Frame:
    for step in (*STEPS.after, *((LargestComponent(), FillHoles()) if clean else ())):
        frame = step.apply(frame)
    return frame


def _filled_largest(mask: np.ndarray) -> np.ndarray:
    labels, _ = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    largest = labels == np.bincount(labels.ravel())[1:].argmax() + 1
    return ndimage.binary_fill_holes(largest)
