"""A head without its skull says nothing about a skull-stripper: it is told before the figures, and beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from cohorts import file_entry, save, save_manifest
from tiny_package import PHANTOM, make_package

from brain_edge.evaluation.cohort import CaseEntry, CheckedCase, Cohort, Split, check_cohort, load_cohort
from brain_edge.evaluation.evaluate import evaluate
from brain_edge.image.phantom import make_volume
from brain_edge.spec import Task
from brain_edge.spec.plausibility import FlagKind
from brain_edge_conversion.budget.budget import AccuracyBudget
from brain_edge_conversion.search.splits import Splits, require_search

if TYPE_CHECKING:
    from pathlib import Path

    from brain_edge.package import ModelPackage

WORDS = (
    "tiny was made for heads with their skull, but case(s) 2 look already skull-stripped: their figures do not hold "
    "for images it was made for."
)


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> ModelPackage:
    """A skull-stripper."""
    return make_package(tmp_path_factory.mktemp("tiny") / "tiny")


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    """A phantom, and another of which a ball of 1.1 litres is left."""
    entries = []
    for number in (1, 2):
        voxels = make_volume(msgspec.structs.replace(PHANTOM, seed=number)).voxels.copy()
        if number == 2:
            away = np.stack(np.meshgrid(*[np.arange(side) - (side - 1) / 2 for side in voxels.shape], indexing="ij"))
            voxels[(away**2).sum(axis=0) * PHANTOM.spacing_mm**2 > 65.0**2] = 0
        path = save(tmp_path / f"head{number}.nii.gz", voxels, PHANTOM.spacing_mm)
        entries.append(
            CaseEntry(subject=f"person{number}", split=Split.TEST, inputs={"T1": file_entry(path, tmp_path)})
        )
    return load_cohort(save_manifest(tmp_path, *entries, sequences=("T1",)))


def test_the_check_for_a_skull_stripper_flags_it(package: ModelPackage, cohort: Cohort):
    first, second = (each for each in check_cohort(cohort, None, package.spec) if isinstance(each, CheckedCase))
    assert first.stripped is None
    assert "looks already skull-stripped" in next(flag.message for flag in second.flags)


def test_it_is_no_matter_to_other_models(package: ModelPackage, cohort: Cohort):
    lesions = msgspec.structs.replace(package.spec, task=Task.LESION)
    for spec in (None, lesions):
        assert all(isinstance(each, CheckedCase) and not each.flags for each in check_cohort(cohort, None, spec))


def test_a_search_says_it_before_the_first_trial(package: ModelPackage, cohort: Cohort):
    lines: list[str] = []
    splits = Splits(cohort, (), cohort.cases(), cohort.cases())
    require_search(splits, package.spec, AccuracyBudget(max_dice_drop=0.01), lines.append)
    assert f"warning: {WORDS}" in lines


def test_an_evaluation_states_it_once_per_case_and_among_its_limits(package: ModelPackage, cohort: Cohort):
    found = evaluate(package, cohort)
    assert WORDS in found.limits
    flagged = {
        case.case: [flag.kind for flag in case.flags].count(FlagKind.STRIPPED) for case in found.without_reference
    }
    assert flagged == {1: 0, 2: 1}
