"""A network that every setting breaks is repaired by its weights, all of it in INT8; killed and resumed alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from openvino import Core
from outlier_package import make_outlier_package, phantom_cohort

from brain_edge.errors import BudgetError
from brain_edge.evaluation.cohort import Split
from brain_edge.evaluation.evidence import evidence_in
from brain_edge.machine.options import RuntimeOptions
from brain_edge_conversion.budget.budget import AccuracyBudget
from brain_edge_conversion.budget.capture import capture_inputs
from brain_edge_conversion.budget.work_folder import work_folder
from brain_edge_conversion.quantize import quantize as command
from brain_edge_conversion.quantize.ladder import LADDER, MENDED, Weights
from brain_edge_conversion.quantize.policy import Trial
from brain_edge_conversion.quantize.quantize import QuantizeOptions, quantize
from brain_edge_conversion.quantize.space import quantise_package
from brain_edge_conversion.search.journal import hashes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from brain_edge.evaluation.cohort import Cohort
    from brain_edge.package import ModelPackage

# nncf reads its configuration with a deprecated corner of a library of its own
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

ONE_THREAD = RuntimeOptions(threads=1)
EQUALISED = next(setting for setting in MENDED if setting.weights is Weights.EQUALISED)


class Killed(BaseException):
    """What a test kills a search with."""


def options(report: Callable[[str], None], *, weight_changes: bool = True) -> QuantizeOptions:
    budget = AccuracyBudget(max_dice_drop=0.02, min_int8_share=1.0)
    return QuantizeOptions(budget=budget, runtime=ONE_THREAD, report=report, weight_changes=weight_changes)


@pytest.fixture(scope="module")
def fp32(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return make_outlier_package(tmp_path_factory.mktemp("fp32") / "package")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return phantom_cohort(tmp_path_factory.mktemp("cohort"), (Split.CALIBRATION, Split.VALIDATION))


@pytest.fixture(scope="module")
def mended(fp32: ModelPackage, cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelPackage, int]:
    """The package of a search that was killed while it fitted weights, and how many trials the second attempt made."""
    target = tmp_path_factory.mktemp("mended") / "int8"
    lines: list[str] = []

    def kill(line: str) -> None:
        if line.startswith("layer 3 of 4"):
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "ladder_from", lambda _preset: LADDER[:1])
        patch.setattr(command, "MENDED", (EQUALISED,))
        with pytest.raises(Killed):
            quantize(fp32, cohort, target, options(kill))
        package = quantize(fp32, cohort, target, options(lines.append))
    assert not work_folder(target).exists()
    return package, sum(line.startswith("trial") for line in lines)


@pytest.mark.full  # ten seconds; in CI a search without a fit is killed and goes on
def test_a_killed_fit_begins_anew_and_no_trial_before_it_does(mended: tuple[ModelPackage, int]):
    assert mended[1] == 1


def test_all_of_the_network_is_in_int8_and_the_package_says_how_its_weights_were_changed(
    mended: tuple[ModelPackage, int],
):
    package, _ = mended
    evidence = evidence_in(package.manifest)
    assert evidence is not None
    assert [(trial.met, trial.reverted) for trial in evidence.trials] == [(False, ()), (True, ())]
    assert (evidence.int8_share, evidence.float_layers) == (1.0, ())
    words = "scales moved between neighbouring convolutions, weights, biases and ranges fitted to the outputs of the"
    assert words in evidence.changes[0]
    assert words in (package.folder / "README.md").read_text(encoding="utf-8")


def test_killed_and_resumed_gives_the_bytes_of_a_fit_at_once(
    mended: tuple[ModelPackage, int], fp32: ModelPackage, cohort: Cohort, tmp_path: Path
):
    from brain_edge.evaluation.cohort import load_case

    study, _ = load_case(cohort.cases(Split.CALIBRATION)[0])
    inputs = capture_inputs(fp32, [study.volumes["T1"]], tmp_path, ONE_THREAD)
    quantise_package(Trial(setting=EQUALISED), fp32, inputs, tmp_path / "once", options(lambda _line: None))
    assert hashes(tmp_path / "once", ["tiny"]) == hashes(mended[0].folder, ["tiny"])


def test_the_graph_has_the_operations_of_plain_int8(
    mended: tuple[ModelPackage, int], fp32: ModelPackage, cohort: Cohort, tmp_path: Path
):
    from brain_edge.evaluation.cohort import load_case

    study, _ = load_case(cohort.cases(Split.CALIBRATION)[0])
    inputs = capture_inputs(fp32, [study.volumes["T1"]], tmp_path, ONE_THREAD)
    plain = Trial(setting=LADDER[1])
    quantise_package(plain, fp32, inputs, tmp_path / "plain")
    kinds = [
        [
            (node.get_type_name(), str(node.get_output_element_type(0)))
            for node in Core().read_model(path).get_ordered_ops()
        ]
        for path in (mended[0].graph_file("tiny"), tmp_path / "plain/graphs/tiny.xml")
    ]
    assert kinds[0] == kinds[1]


@pytest.mark.full  # a whole search; in CI the policy is asked what follows a ladder without changes of weights
def test_without_weight_changes_the_same_budget_is_refused(
    fp32: ModelPackage, cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(command, "ladder_from", lambda _preset: LADDER[:1])
    lines: list[str] = []
    with pytest.raises(BudgetError, match="the accuracy budget is not met"):
        quantize(fp32, cohort, tmp_path / "int8", options(lines.append, weight_changes=False))
    assert not [line for line in lines if "fitted" in line]
