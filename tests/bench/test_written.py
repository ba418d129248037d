"""bench --profile states the bytes of the arrays that the steps around a network really make."""

from __future__ import annotations

import sys
import tracemalloc
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from cli_program import save_phantom
from tiny_package import AFTER, FIT, PHANTOM, SCALE, SPEC, STAGE, make_package

from brain_edge.bench.timed import study_of
from brain_edge.bench.written import BETWEEN, READ, watched
from brain_edge.engine.segmenter import Segmenter
from brain_edge.image.resample import Interpolation
from brain_edge.jobs.case import read_study
from brain_edge.machine.options import RuntimeOptions
from brain_edge.spec.steps import Clip, Linear, Orient, PadToMultiple, ResampleToSpacing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brain_edge.package import ModelPackage
    from brain_edge.spec.steps import BeforeStep

ONE_THREAD = RuntimeOptions(threads=1)
IMAGE = np.zeros((1, *PHANTOM.shape), dtype=np.float32)
SMALL = 2000
"""Bytes of Python's objects around the arrays of a step."""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return make_package(tmp_path_factory.mktemp("package") / "tiny")


def written(package: ModelPackage, before: Sequence[BeforeStep]) -> dict[str, int]:
    """Bytes of each step of a case of the phantom, with other steps before the network."""
    spec = msgspec.structs.replace(SPEC, stages=(msgspec.structs.replace(STAGE, before=tuple(before)),))
    segmenter, study = Segmenter.open(package, ONE_THREAD, spec=spec), study_of(package, {})
    segmenter.run(study)
    with watched() as watch:
        segmenter.run(study)
    found = watch.steps(PHANTOM.shape)
    assert {each.stage for each in found} <= {"tiny: brain", "tiny"}
    return {each.step: each.written_bytes for each in found}


def test_a_step_that_moves_voxels_writes_its_result_and_a_view_writes_nothing(package):
    found = written(package, (Orient(axes="LPS"), PadToMultiple(multiple_of=8)))
    padded = np.zeros((1, *(-(-side // 8) * 8 for side in PHANTOM.shape)), dtype=np.float32)
    assert found["orient"] == 0
    assert found["pad_to_multiple"] == pytest.approx(padded.nbytes, abs=SMALL)


def test_voxel_wise_steps_make_one_pass_however_many_they_are(package):
    """Each block of each step stays in the caches; only the volume that the pass fills counts."""
    found = written(package, (*FIT, Clip(lower="low", upper="high"), SCALE, Linear(multiply=2.0, add=-0.1)))
    assert found["clip, rescale_to_unit, linear"] == pytest.approx(IMAGE.nbytes, abs=SMALL)


def test_arrays_on_the_way_count_though_they_are_gone_before_the_step_ends(package):
    """Each axis is resampled in turn, the last one first, and a percentile sorts a copy of the volume.

    The voxel-wise step after them takes the place of the resampled volume and writes nothing new.
    """
    i, j, k = PHANTOM.shape
    finer = ResampleToSpacing(spacing_mm=(2.0, 2.0, 2.0), interpolation=Interpolation.LINEAR)
    found = written(package, (finer, *FIT, SCALE))
    on_the_way = [np.empty(shape, np.float32) for shape in ((i, j, 2 * k), (i, 2 * j, 2 * k), (2 * i, 2 * j, 2 * k))]
    assert found["resample_to_spacing"] == pytest.approx(sum(each.nbytes for each in on_the_way), abs=SMALL)
    assert found["fit_percentile"] == pytest.approx(2 * on_the_way[-1].nbytes, abs=2 * SMALL)
    assert found["rescale_to_unit"] == 0


def test_a_watched_case_has_all_steps_in_their_order_and_the_same_mask(package):
    segmenter, study, before = Segmenter.open(package, ONE_THREAD), study_of(package, {}), sys.gettrace()
    expected = segmenter(study).mask.labels
    with watched() as watch:
        found = segmenter(study).mask.labels
    np.testing.assert_array_equal(found, expected)
    assert sys.gettrace() is before
    assert not tracemalloc.is_tracing()
    names = [each.step for each in watch.steps(PHANTOM.shape)]
    steps = ["orient", "resample_to_spacing", "fit_percentile", "rescale_to_unit", "pad_to_multiple"]
    steps += [str(step.__struct_config__.tag) for step in AFTER[1:]]
    assert [name for name in names if name not in ("network, argmax", BETWEEN, "assemble")] == steps


def test_reading_counts_and_what_is_outside_of_a_case_does_not(tmp_path):
    head = save_phantom(tmp_path / "head.nii.gz")
    read_study({"T1": head})  # imports
    with watched() as watch:
        study = read_study({"T1": head})
        outside = [array.copy() for array in (IMAGE, IMAGE)]
    (found,) = watch.steps(PHANTOM.shape)
    assert (found.stage, found.step) == ("", READ)
    assert study.volumes["T1"].voxels.nbytes <= found.written_bytes
    assert len(outside) == 2
