"""References that are empty, or somebody else's, pay for nobody: the cohorts of an audit, quantised as it did."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING

import msgspec
import nibabel as nib
import numpy as np
import pytest
from cohorts import file_entry, save_manifest
from present import present
from tiny_package import PHANTOM, make_package

from brain_edge.engine.segmenter import Segmenter
from brain_edge.errors import BudgetError, InputError
from brain_edge.evaluation.cohort import CaseEntry, Cohort, Split, load_cohort
from brain_edge.evaluation.evidence import evidence_in
from brain_edge.image.phantom import make_study
from brain_edge.machine.options import RuntimeOptions
from brain_edge_conversion.budget.budget import AccuracyBudget
from brain_edge_conversion.quantize import quantize as command
from brain_edge_conversion.quantize.ladder import LADDER
from brain_edge_conversion.quantize.quantize import QuantizeOptions, quantize

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from brain_edge.package import ModelPackage

# nncf reads its configuration with a deprecated corner of a library of its own
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

ONE_THREAD = RuntimeOptions(threads=1)
WIDE = QuantizeOptions(
    weight_changes=False, budget=AccuracyBudget(max_dice_drop=0.05, min_int8_share=1.0), runtime=ONE_THREAD
)
OWN, FOREIGN, EMPTY = "own", "somebody else's", "empty"
DRAWN: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    OWN: lambda mask: mask,
    FOREIGN: lambda mask: np.roll(mask, 16, axis=1),
    EMPTY: np.zeros_like,
}
HEADS = ((Split.CALIBRATION, OWN), (Split.VALIDATION, OWN), (Split.TEST, OWN), (Split.TEST, OWN))


@pytest.fixture(scope="module")
def fp32(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return make_package(tmp_path_factory.mktemp("fp32") / "package")


@pytest.fixture(autouse=True)
def one_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "ladder_from", lambda _preset: LADDER[:1])


def make_cohort(folder: Path, package: ModelPackage, *more: tuple[Split, str]) -> Cohort:
    """Two true test heads and what else is stated, each a head of its own with a reference that is drawn so."""
    segment = Segmenter.open(package, ONE_THREAD)
    cases = []
    for number, (split, drawn) in enumerate((*HEADS, *more), start=1):
        volume = make_study(msgspec.structs.replace(PHANTOM, seed=number), ["T1"]).volumes["T1"]
        image = folder / f"p{number}" / "T1.nii.gz"
        mask = image.with_name("mask.nii.gz")
        image.parent.mkdir(parents=True)
        for path, voxels in ((image, volume.voxels), (mask, DRAWN[drawn](segment(volume).mask.labels))):
            nib.save(nib.Nifti1Image(voxels, volume.geometry.affine), path)
        inputs = {"T1": file_entry(image, folder)}
        cases.append(CaseEntry(subject=f"p{number}", split=split, inputs=inputs, reference=file_entry(mask, folder)))
    return load_cohort(save_manifest(folder, *cases))


FOREIGNERS = ((Split.VALIDATION, FOREIGN), *((Split.TEST, FOREIGN),) * 3)


@pytest.fixture(scope="module")
def foreign(fp32: ModelPackage, tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return make_cohort(tmp_path_factory.mktemp("foreign"), fp32, *FOREIGNERS)


def test_references_of_somebody_else_neither_lower_the_mean_nor_count_as_subjects(
    fp32: ModelPackage, foreign: Cohort, tmp_path: Path
):
    """They were sealed with 0.4 of the drop, as that of five subjects, without a warning."""
    package = quantize(fp32, foreign, tmp_path / "wide", WIDE)
    evidence = evidence_in(package.manifest)
    assert evidence is not None
    own, others = evidence.cases[:2], evidence.cases[2:]
    assert all(each.dice_baseline == 1 for each in own)
    assert all(0.1 < present(each.dice_baseline) < 0.5 for each in others)
    assert evidence.worst_mean_drop == pytest.approx(fmean(present(each.drop) for each in own))
    assert fmean(present(each.drop) for each in evidence.cases) < 0.5 * evidence.worst_mean_drop
    assert evidence.subjects == 2
    assert "the test cases of 2 subject(s)" in evidence.statement
    assert "case(s) 6, 7, 8 lower no mean, because the baseline finds too little" in evidence.bounds
    (aloud,) = (line for line in evidence.warnings if "another patient" in line)
    assert "in case(s) 6, 7, 8" in aloud
    assert aloud in (package.folder / "README.md").read_text(encoding="utf-8")

    budget = replace(WIDE.budget, max_dice_drop=0.6 * evidence.worst_mean_drop, max_case_drop=0.05)
    with pytest.raises(BudgetError, match=r"mean drop of label 1 is 0\.\d+, the budget is"):
        quantize(fp32, foreign, tmp_path / "tight", replace(WIDE, budget=budget))


@pytest.mark.parametrize("count", [3, 7])
def test_empty_references_are_refused_before_anything_is_computed(fp32: ModelPackage, tmp_path: Path, count: int):
    """Three sealed a budget that two heads miss, and seven gave a confidence of 0.9."""
    (tmp_path / "data").mkdir()
    emptied = make_cohort(tmp_path / "data", fp32, *((Split.TEST, EMPTY),) * count)
    with pytest.raises(
        InputError, match=r"p5 T1: expected a reference mask that is not empty for tiny, got an empty mask"
    ):
        quantize(fp32, emptied, tmp_path / "int8", WIDE)
    assert not (tmp_path / "int8").exists()


@pytest.mark.parametrize(
    ("confidence", "words"),
    [
        pytest.param(0.9, r"0\.9 needs 5 test subjects with .*; 2 were found", marks=pytest.mark.full),
        (0.99, r"expected 10 test subjects .* has 5"),
    ],
)
def test_foreign_references_give_no_confidence(
    fp32: ModelPackage, foreign: Cohort, tmp_path: Path, confidence: float, words: str
):
    """Five subjects would do for 0.9 that at most 40 % exceed the limit, two do not; for 0.99 not even five would."""
    asked = replace(WIDE, budget=replace(WIDE.budget, confidence=confidence, max_exceedance=0.4))
    with pytest.raises(BudgetError, match=words):
        quantize(fp32, foreign, tmp_path / "int8", asked)
