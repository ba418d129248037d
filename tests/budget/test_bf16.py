"""bf16 is offered where the CPU computes it natively, and its masks are judged by the budget."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

import msgspec
import pytest
import tiny_package
from cohorts import make_case, save_manifest
from present import present
from tiny_package import PHANTOM, make_package

from brain_edge.engine.segmenter import Segmenter
from brain_edge.evaluation.cohort import Split, load_cohort
from brain_edge.evaluation.evidence import Isa
from brain_edge.image.phantom import make_volume
from brain_edge.machine.options import RuntimeOptions
from brain_edge.package import ModelPackage, NumberFormat, Precision
from brain_edge_conversion.budget import bf16
from brain_edge_conversion.budget.bf16 import judge_bf16, native_bf16
from brain_edge_conversion.budget.budget import AccuracyBudget
from brain_edge_conversion.budget.isa import avx2_record, make_job, measure_under, obstacle
from brain_edge_conversion.budget.measure import write_baseline

if TYPE_CHECKING:
    from pathlib import Path

NATIVE = ("FP32", "BF16", "INT8")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return make_package(tmp_path_factory.mktemp("bf16") / "package")


@pytest.mark.parametrize(("capabilities", "is_offered"), [(NATIVE, True), (("FP32", "INT8"), False)])
def test_bf16_is_offered_where_it_is_native(package, monkeypatch, capabilities, is_offered):
    monkeypatch.setattr(bf16, "cpu_capabilities", lambda: capabilities)
    found = native_bf16(package)
    assert (found is not None) is is_offered
    assert found is None or (found.manifest.precision is Precision.BF16 and found.folder == package.folder)


@pytest.mark.parametrize("change", [{"number_format": NumberFormat.INT8}, {"precision": Precision.BF16}])
def test_a_package_in_another_format_is_not_offered_in_bf16(package, monkeypatch, change):
    monkeypatch.setattr(bf16, "cpu_capabilities", lambda: NATIVE)
    assert native_bf16(ModelPackage(package.folder, msgspec.structs.replace(package.manifest, **change))) is None


@pytest.mark.parametrize("differs", [False, True])
def test_masks_are_judged_by_the_budget(package: ModelPackage, tmp_path: Path, monkeypatch, differs: bool):
    """A package with another threshold stands for one whose masks bf16 has changed.

    On a CPU with native bf16, single voxels of the tiny package change as well.
    """
    monkeypatch.setattr(tiny_package, "MIDDLE", 0.75)
    candidate = make_package(tmp_path / "other") if differs else package
    case = make_case(tmp_path, "p1", Split.VALIDATION, voxels=make_volume(PHANTOM).voxels)
    cases = load_cohort(save_manifest(tmp_path, case)).cases(Split.VALIDATION)
    budget = AccuracyBudget(max_dice_drop=0.01, min_int8_share=0.9)
    in_bf16 = candidate.in_precision(Precision.BF16)
    verdict = judge_bf16(package, in_bf16, cases, budget, RuntimeOptions(threads=1))
    assert bool(verdict.failures) is differs
    if differs:
        assert verdict.failures[0].startswith("mean drop of label")
    else:
        assert present(verdict.worst_mean_disagreement) < 0.01


@pytest.mark.skipif(bool(obstacle(platform.machine())), reason="not an x86 CPU")
def test_under_avx2_a_package_in_bf16_runs_in_f32_and_is_judged(package: ModelPackage, tmp_path: Path):
    """Not one voxel differs there from FP32; OpenVINO itself would end with "object is not initialized"."""
    case = make_case(tmp_path, "p1", Split.VALIDATION, voxels=make_volume(PHANTOM).voxels)
    cases = load_cohort(save_manifest(tmp_path, case)).cases(Split.VALIDATION)
    masks, one_thread = tmp_path / "masks", RuntimeOptions(threads=1)
    masks.mkdir()
    write_baseline(Segmenter.open(package, one_thread), cases, masks, ())
    job = make_job(package.in_precision(Precision.BF16), cases, masks, None, one_thread)
    answer = measure_under(Isa.AVX2, job)
    assert [record.agreement for record in answer.records] == [1.0]
    job = msgspec.structs.replace(job, shapes=answer.executed.shapes)
    record = avx2_record(job, answer, AccuracyBudget(max_dice_drop=0.01, min_int8_share=0.0), lambda: None)
    assert (record.verified, record.met, record.reason) == (True, True, "")
