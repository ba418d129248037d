"""What a distillation gets of a search: inputs of the search data, its folder, and the trial that was fitted before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from outlier_package import phantom_cohort
from tiny_package import make_package
from trial_setup import made_up, prepared

from brain_edge.evaluation.cohort import Split
from brain_edge.machine.options import RuntimeOptions
from brain_edge_conversion.budget.budget import AccuracyBudget
from brain_edge_conversion.quantize.ladder import MENDED
from brain_edge_conversion.quantize.policy import Group, Trial
from brain_edge_conversion.quantize.space import Int8Space
from brain_edge_conversion.search.options import SearchOptions

if TYPE_CHECKING:
    from pathlib import Path

    from brain_edge.package import ModelPackage

OPTIONS = SearchOptions(budget=AccuracyBudget(max_dice_drop=0.02), runtime=RuntimeOptions(threads=1))
DISTILLED = msgspec.structs.replace(MENDED[0], distilled=True)


@pytest.fixture(scope="module")
def fp32(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return make_package(tmp_path_factory.mktemp("fp32") / "package")


def test_held_out_inputs_come_from_the_validation_cases_once_and_the_fitted_trial_is_the_start(
    fp32: ModelPackage, tmp_path: Path
):
    cohort = phantom_cohort(tmp_path, (Split.CALIBRATION, Split.VALIDATION, Split.TEST))
    space = Int8Space(fp32, (MENDED[0], DISTILLED))
    setup = prepared(space, cohort, tmp_path, OPTIONS, [made_up(Trial(setting=MENDED[0]), 0.1)])
    tuition = space._tuition(Trial(setting=DISTILLED))
    assert tuition is not None
    assert (tuition.work, tuition.fitted) == (setup.journal.folder, setup.journal.trial_folder(0))
    (held_out,) = tuition.held_out["tiny"]
    assert held_out.parent == setup.scratch / "held-out"
    with_float_layers = Trial(setting=DISTILLED, reverted=(Group(graph="tiny", layers=("head",)),))
    again = space._tuition(with_float_layers)
    assert again is not None
    assert again.held_out is tuition.held_out
    assert again.fitted is None
    assert space._tuition(Trial(setting=MENDED[0])) is None


def test_a_demonstration_on_one_head_examines_the_calibration_inputs(fp32: ModelPackage, tmp_path: Path):
    cohort = phantom_cohort(tmp_path, (Split.CALIBRATION, Split.TEST), demo=True)
    space = Int8Space(fp32, (DISTILLED,))
    prepared(space, cohort, tmp_path, OPTIONS, [])
    tuition = space._tuition(Trial(setting=DISTILLED))
    assert tuition is not None
    assert tuition.held_out == space._inputs


def test_only_a_search_with_a_distillation_depends_on_the_version_of_pytorch(fp32: ModelPackage):
    assert "torch" in Int8Space(fp32, (MENDED[0], DISTILLED)).traits.tools
    assert "torch" not in Int8Space(fp32, MENDED).traits.tools
