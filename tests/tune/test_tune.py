"""tune writes a cheaper package whose masks stay within the budget, or no package at all."""

from __future__ import annotations

import itertools
import json
import os
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from present import present
from tiny_ensemble import FIXED, PATIENT, make_cohort, make_ensemble
from tiny_package import PHANTOM, SPEC, make_package

from brain_edge.engine.segmenter import Segmenter
from brain_edge.errors import BudgetError, InputError, PackageError, UsageError, WeightsError
from brain_edge.evaluation.cohort import Cohort, Split
from brain_edge.evaluation.compare import compare_masks
from brain_edge.evaluation.evaluate import evaluate
from brain_edge.evaluation.evidence import evidence_in
from brain_edge.image.phantom import make_study
from brain_edge.jobs.verify import verify
from brain_edge.machine.options import RuntimeOptions
from brain_edge.package import ModelPackage, NumberFormat, WeightsStatus, open_package
from brain_edge.runtime.session import cpu_capabilities
from brain_edge_conversion.budget import bf16
from brain_edge_conversion.budget.budget import AccuracyBudget
from brain_edge_conversion.tune.report import TuningReport
from brain_edge_conversion.tune.tune import TuneOptions, tune

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ONE_THREAD = RuntimeOptions(threads=1)
ROOM = 0.3
TIGHT = 1e-5


def options(max_dice_drop: float, **changes: Any) -> TuneOptions:
    budget = AccuracyBudget(
        max_dice_drop=max_dice_drop, max_case_drop=0.9, max_hd95_increase_mm=1000.0, min_int8_share=0.0
    )
    return replace(TuneOptions(budget=budget, rounds=0, runtime=ONE_THREAD), **changes)


@pytest.fixture(scope="module", autouse=True)
def without_bf16() -> Iterator[None]:
    """A CPU that computes FP32 and INT8 natively, whatever this one can: bf16 is one more setting where it is there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bf16, "cpu_capabilities", lambda: ("FP32", "INT8"))
        yield


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return make_ensemble(tmp_path_factory.mktemp("full") / "package")


@pytest.fixture(scope="module")
def cohort(package: ModelPackage, tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return make_cohort(tmp_path_factory.mktemp("cohort"), package)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tuned")


@pytest.fixture(scope="module")
def tuned(package: ModelPackage, cohort: Cohort, folder: Path) -> ModelPackage:
    return tune(package, cohort, folder / "package", options(ROOM, rounds=1))


# --- a budget that is met


def test_the_package_is_one_plain_pass_without_needless_padding(tuned: ModelPackage, package: ModelPackage):
    """The head of the phantom fills its image: a crop saves nothing, so that it is tried and not taken."""
    manifest = open_package(tuned.folder).manifest
    assert manifest.spec.stages[0].network.passes == 1
    assert present(evidence_in(manifest)).changes == (
        "1 of 2 members",
        "1 of 2 mirrorings",
        "padded to the multiple only",
    )
    assert present(evidence_in(manifest)).baseline == package.digest
    assert [record.graph for record in manifest.weights] == ["first"]
    assert sorted(path.name for path in (tuned.folder / "graphs").iterdir()) == ["first.bin", "first.xml"]


def test_its_self_test_is_its_own(tuned: ModelPackage):
    assert verify(open_package(tuned.folder), ONE_THREAD).dice > 0.999


def test_the_figures_are_those_of_the_package_that_was_written(
    tuned: ModelPackage, package: ModelPackage, cohort: Cohort
):
    """Each drop is the difference of two evaluations, made by another part of the program."""
    dice = [
        {
            case.case: present(case.scores[0].dice)
            for case in evaluate(each, cohort, Split.TEST, options=ONE_THREAD).cases
        }
        for each in (package, open_package(tuned.folder))
    ]
    found = {case.case: case for case in present(evidence_in(tuned.manifest)).cases}
    assert set(found) == set(dice[0]) == {2, 3}
    for number, case in found.items():
        assert case.dice_baseline == dice[0][number]
        assert case.dice_candidate == dice[1][number]
        assert case.drop == pytest.approx(dice[0][number] - dice[1][number], abs=1e-12)


def test_its_mask_agrees_with_the_full_one_as_recorded(tuned: ModelPackage, package: ModelPackage):
    volume = make_study(msgspec.structs.replace(PHANTOM, seed=2), ["T1"]).volumes["T1"]
    first, second = (Segmenter.open(each, ONE_THREAD)(volume).mask for each in (package, open_package(tuned.folder)))
    (compared,) = compare_masks(first, second, None, (1,))
    (case,) = (case for case in present(evidence_in(tuned.manifest)).cases if case.case == 2)
    assert case.agreement == compared.agreement
    assert 0.5 < present(case.agreement) < 1.0


def test_operations_are_those_of_passes_and_voxels(tuned: ModelPackage):
    """64^3 voxels four times, against 44 x 52 x 52 once; 3^3 weights from one channel to two."""
    tuning = present(evidence_in(tuned.manifest))
    assert tuning.operations_baseline == 4 * 64**3 * 27 * 2
    assert tuning.operations_candidate == 44 * 52 * 52 * 27 * 2


def test_every_trial_has_its_figures_in_the_order_of_the_search(tuned: ModelPackage):
    trials = present(evidence_in(tuned.manifest)).trials
    assert [len(trial.changes) for trial in trials] == [4, 3, 3, 3, 3]
    assert all(trial.met for trial in trials)
    cheapest = present(trials[0].operations)
    assert [present(trial.operations) / cheapest for trial in trials[1:3]] == [2, 2]
    assert trials[3].operations == 64**3 * 27 * 2
    assert trials[4].operations == cheapest


def test_the_model_card_names_the_changes_and_the_drop(tuned: ModelPackage):
    card = (tuned.folder / "README.md").read_text(encoding="utf-8")
    assert "## Effect of tuning on the masks" in card
    assert "- 1 of 2 mirrorings" in card
    assert present(evidence_in(tuned.manifest)).statement in card


def test_no_name_of_a_patient_is_in_the_package_or_its_report(tuned: ModelPackage, folder: Path):
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {
        "manifest.json",
        "accuracy.json",
        "accuracy.html",
        "tuning.json",
        "tuning.md",
        "front.svg",
        "front.png",
    } <= {path.name for path in files}
    assert tuned.folder in {path.parent for path in files}
    assert not [path for path in files if PATIENT.encode() in path.read_bytes()]


def test_the_report_has_a_time_and_a_peak_of_every_setting(tuned: ModelPackage, folder: Path):
    report = msgspec.json.decode((folder / "package-report/tuning.json").read_bytes(), type=TuningReport)
    assert report.candidate == tuned.digest
    assert [len(setting.samples) for setting in report.settings] == [1] * 6
    assert all(present(setting.latency_ms) > 0 for setting in report.settings)
    assert any(setting.on_front for setting in report.settings)
    assert report.settings[0].changes == ()
    table = (folder / "package-report/tuning.md").read_text(encoding="utf-8")
    assert len(re.findall(r"^\| \d", table, re.MULTILINE)) == 6


def test_nothing_of_the_search_is_left_when_the_package_is_written(tuned: ModelPackage, folder: Path):
    assert {path.name for path in folder.iterdir()} == {
        "package",
        "package-report",
    }
    assert tuned.folder == folder / "package"


def test_a_tuned_package_that_is_evaluated_says_on_which_cases_it_was_tuned(tuned: ModelPackage, cohort: Cohort):
    limits = evaluate(tuned, cohort, Split.VALIDATION, options=ONE_THREAD).limits
    assert any("were chosen on cases of this cohort" in limit for limit in limits)


# --- a budget that is missed


@pytest.mark.full  # one more search
def test_where_nothing_cheaper_will_do_there_is_a_report_and_no_package(cohort: Cohort, tmp_path: Path):
    """The members differ, and the networks are lopsided, so that each mirroring says something else."""
    fixed = make_ensemble(tmp_path / "fixed", FIXED)
    tight = options(TIGHT, budget=AccuracyBudget(max_dice_drop=TIGHT, min_int8_share=0.0))
    with pytest.raises(BudgetError, match=r"no setting that is cheaper .* meets the budget.*no package was written"):
        tune(fixed, cohort, tmp_path / "package", tight)
    assert not (tmp_path / "package").exists()
    report = json.loads((tmp_path / "package-report/tuning.json").read_bytes())
    assert [setting["met"] for setting in report["settings"]] == [True, False, False, False]
    assert (report["chosen"], report["candidate"]) == (None, None)


@pytest.mark.full
def test_what_changes_no_mask_is_within_every_budget(package: ModelPackage, cohort: Cohort, tmp_path: Path):
    """Less padding is no matter to a network that sees three voxels."""
    tight = options(TIGHT, budget=AccuracyBudget(max_dice_drop=TIGHT, min_int8_share=0.0))
    result = tune(package, cohort, tmp_path / "package", tight)
    assert present(evidence_in(result.manifest)).changes == ("padded to the multiple only",)
    assert {case.drop for case in present(evidence_in(result.manifest)).cases} == {0.0}


# --- refusals


def test_random_weights_have_no_accuracy_to_keep(tmp_path: Path, cohort: Cohort):
    untrained = make_ensemble(tmp_path / "untrained", weights_status=WeightsStatus.RANDOM)
    with pytest.raises(WeightsError, match="the weights of this package are random"):
        tune(untrained, cohort, tmp_path / "package", options(ROOM))


def test_a_model_with_nothing_to_make_cheaper(tmp_path: Path, cohort: Cohort):
    before = tuple(step for step in SPEC.stages[0].before if type(step).__name__ not in ("ResampleToSpacing",))
    fixed = msgspec.structs.replace(
        SPEC,
        stages=(msgspec.structs.replace(SPEC.stages[0], before=(*before, _fixed_grid())),),
    )
    plain = make_package(tmp_path / "plain", fixed)
    with pytest.raises(UsageError, match=r"nothing can be tuned \(one member, no mirroring, no windows, a fixed grid"):
        tune(plain, cohort, tmp_path / "package", options(ROOM))
    quantised = ModelPackage(plain.folder, msgspec.structs.replace(plain.manifest, number_format=NumberFormat.INT8))
    with pytest.raises(UsageError, match=r"nothing can be tuned .*, a fixed grid\); it is INT8 already"):
        tune(quantised, cohort, tmp_path / "package", options(ROOM))


def _fixed_grid():
    from brain_edge.image.resample import Interpolation
    from brain_edge.spec.steps import ResizeTo

    return ResizeTo(shape=(32, 32, 32), interpolation=Interpolation.NEAREST)


def test_a_cohort_without_validation_cases(package: ModelPackage, tmp_path: Path):
    cohort = make_cohort(tmp_path, package, (Split.TEST,))
    with pytest.raises(InputError, match="has no validation case"):
        tune(package, cohort, tmp_path / "package", options(ROOM))


def test_an_int8_package_of_another_network(package: ModelPackage, cohort: Cohort, tmp_path: Path):
    other = make_ensemble(tmp_path / "other", number_format=NumberFormat.INT8, converted_from="0" * 64)
    with pytest.raises(UsageError, match=r"expected an INT8 package quantised from .*package.*made from 0000"):
        tune(package, cohort, tmp_path / "package", options(ROOM), other)


def test_a_damaged_package_is_not_tuned(tmp_path: Path):
    copy = make_ensemble(tmp_path / "copy")
    os.truncate(copy.folder / "graphs/first.bin", 8)
    with pytest.raises(PackageError, match="the package is damaged"):
        open_package(copy.folder)


# --- interruptions and time


class PowerCutError(Exception):
    """The process is gone."""


def test_an_interrupted_search_goes_on_where_it_was_and_ends_with_the_same_package(
    package: ModelPackage, cohort: Cohort, tmp_path: Path, tuned: ModelPackage
):
    """The same byte by byte: no time is in it, and no order of chance."""
    said: list[str] = []

    def until_trial_3(line: str) -> None:
        said.append(line)
        if line.startswith("trial 3"):
            raise PowerCutError

    with pytest.raises(PowerCutError):
        tune(package, cohort, tmp_path / "package", options(ROOM, report=until_trial_3))
    assert not (tmp_path / "package").exists()
    lines: list[str] = []
    again = tune(package, cohort, tmp_path / "package", options(ROOM, report=lines.append))
    assert [line[:7] for line in lines if line.startswith("trial")] == ["trial 3", "trial 4", "trial 5"]
    assert not [line for line in lines if line.startswith("segmenting case 1")]
    assert again.digest == tuned.digest


@pytest.mark.full  # one more search
def test_a_time_limit_ends_the_search_with_the_best_so_far_and_says_so(
    package: ModelPackage, cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Each look at the clock takes half a minute, so that a trial does."""
    clock = itertools.count(0.0, 30.0)
    monkeypatch.setattr("brain_edge_conversion.tune.space.time.monotonic", lambda: next(clock))
    said: list[str] = []
    result = tune(package, cohort, tmp_path / "package", options(ROOM, time_limit_min=1.0, report=said.append))
    assert "the time limit of 1 minutes was over after 2 trial(s)" in said
    assert len(present(evidence_in(result.manifest)).trials) == 2
    report = json.loads((tmp_path / "package-report/tuning.json").read_bytes())
    assert report["reason"].startswith("the time limit")


@pytest.mark.skipif("BF16" not in cpu_capabilities(), reason="this CPU has no bf16")
def test_bf16_is_one_more_setting_where_the_cpu_has_it(package, cohort, tmp_path, monkeypatch):
    monkeypatch.setattr(bf16, "cpu_capabilities", lambda: ("FP32", "BF16", "INT8"))
    tune(package, cohort, tmp_path / "bf16", options(ROOM))
    assert "networks in bf16" in present(evidence_in(open_package(tmp_path / "bf16").manifest)).changes
