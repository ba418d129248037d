"""A network that plain INT8 breaks is repaired, an interrupted search goes on, and what cannot be met is refused."""

from __future__ import annotations

import json
import platform
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from outlier_package import BLAMED, make_outlier_package, phantom_cohort
from present import present
from tiny_package import SPEC, make_package

from brain_edge.engine.segmenter import Segmenter
from brain_edge.errors import BrainEdgeError, BudgetError, InputError, OutputError, UsageError
from brain_edge.evaluation.cohort import Cohort, Split, load_case
from brain_edge.evaluation.evaluate import segment_case
from brain_edge.evaluation.evidence import Isa, evidence_in
from brain_edge.evaluation.report.accuracy_report import AccuracyReport, read_report
from brain_edge.image.metrics import dice
from brain_edge.machine.options import RuntimeOptions
from brain_edge.package import ModelPackage, open_package
from brain_edge.spec import Label
from brain_edge_conversion.budget import isa
from brain_edge_conversion.budget.budget import AccuracyBudget
from brain_edge_conversion.budget.capture import capture_inputs
from brain_edge_conversion.budget.looks import LOG, state_folder
from brain_edge_conversion.budget.measure import write_baseline
from brain_edge_conversion.budget.work_folder import work_folder
from brain_edge_conversion.quantize import quantize as command
from brain_edge_conversion.quantize.ladder import LADDER, Setting
from brain_edge_conversion.quantize.policy import Trial
from brain_edge_conversion.quantize.quantize import QuantizeOptions, quantize
from brain_edge_conversion.quantize.space import candidate_in, quantise_package

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


# nncf reads its configuration with a deprecated corner of a library of its own
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

ONE_THREAD = RuntimeOptions(threads=1)
SPLITS = (Split.CALIBRATION, Split.VALIDATION, Split.TEST, Split.TEST)
ROOM = 0.02


def options(report: Callable[[str], None] = lambda _line: None, **limits: Any) -> QuantizeOptions:
    budget = AccuracyBudget(**({"max_dice_drop": ROOM} | limits))
    return QuantizeOptions(budget=budget, runtime=ONE_THREAD, report=report, weight_changes=False)


@pytest.fixture(scope="module")
def fp32(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return make_outlier_package(tmp_path_factory.mktemp("fp32") / "package")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return phantom_cohort(tmp_path_factory.mktemp("cohort"), SPLITS)


@pytest.fixture(autouse=True)
def short_ladder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first two settings only: each of the seven breaks this network in the same way."""
    monkeypatch.setattr(command, "ladder_from", lambda _preset: LADDER[:2])


@pytest.fixture(scope="module")
def repaired(fp32: ModelPackage, cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "ladder_from", lambda _preset: LADDER[:2])
        return quantize(fp32, cohort, tmp_path_factory.mktemp("repaired") / "int8", options())


def drop_on(package: ModelPackage, fp32: ModelPackage, cohort: Cohort, number: int) -> float:
    """Measured here, without anything that searches or judges."""
    study, reference = load_case(cohort.cases()[number - 1])
    assert reference is not None
    masks = [segment_case(Segmenter.open(each, ONE_THREAD), study).mask.labels == 1 for each in (fp32, package)]
    first, second = (present(dice(mask, reference.labels == 1)) for mask in masks)
    return first - second


@pytest.mark.parametrize(
    "setting",
    [setting if n < 2 else pytest.param(setting, marks=pytest.mark.full) for n, setting in enumerate(LADDER)],
    ids=lambda setting: setting.title,
)
def test_plain_nncf_breaks_the_network_at_every_setting(
    setting: Setting, fp32: ModelPackage, cohort: Cohort, tmp_path: Path
):
    study, _ = load_case(cohort.cases()[0])
    inputs = capture_inputs(fp32, [study.volumes["T1"]], tmp_path, ONE_THREAD)
    quantise_package(Trial(setting=setting), fp32, inputs, tmp_path / "plain")
    assert drop_on(candidate_in(tmp_path / "plain", fp32), fp32, cohort, 3) > 0.5


def test_reverting_exactly_the_layer_to_blame_repairs_it(repaired: ModelPackage, fp32: ModelPackage, cohort: Cohort):
    evidence = evidence_in(repaired.manifest)
    assert evidence is not None
    assert [layer.layer for layer in evidence.float_layers] == [BLAMED]
    assert evidence.float_layers[0].reason.startswith("reverted by the search")
    assert [(trial.met, trial.reverted) for trial in evidence.trials] == [
        (False, ()),
        (False, ()),
        (True, (f"tiny: {BLAMED}",)),
    ]
    assert evidence.int8_share > 0.95
    assert drop_on(repaired, fp32, cohort, 3) < ROOM


def test_the_digest_is_that_of_the_files(repaired: ModelPackage):
    """Whatever type a number had when it was computed."""
    assert open_package(repaired.folder).digest == repaired.digest


def test_the_record_is_of_the_test_split_and_says_what_the_search_has_seen(repaired: ModelPackage):
    evidence = evidence_in(repaired.manifest)
    assert evidence is not None
    assert {(record.split, record.subject) for record in evidence.cases} == {("test", 3), ("test", 4)}
    assert (evidence.searched_on, evidence.subjects, evidence.earlier_looks) == ("validation", 2, ())
    assert "of at most 77.6% of all subjects" in evidence.next_patient
    assert evidence.warnings == (
        "2 test subject(s): to show that at most 10 % of all subjects exceed the limit, 29 are needed, 27 more (95 % "
        "confidence).",
    )


@pytest.mark.skipif(bool(isa.obstacle(platform.machine())), reason="not an x86 CPU")
def test_the_package_was_measured_under_older_instructions_too(repaired: ModelPackage):
    evidence = evidence_in(repaired.manifest)
    assert evidence is not None
    assert [(record.isa, record.verified, record.met) for record in evidence.isas] == [("AVX2", True, True)]
    assert evidence.isas[0].worst_mean_drop == pytest.approx(evidence.worst_mean_drop, abs=0.01)


def test_where_older_instructions_cannot_be_measured_the_record_says_why():
    assert isa.obstacle("x86_64") == isa.obstacle("AMD64") == ""
    assert isa.obstacle("aarch64") == "not verified: this CPU is aarch64, not x86"


def test_a_child_that_fails_says_why(repaired: ModelPackage, cohort: Cohort, tmp_path: Path):
    job = isa.make_job(
        repaired, cohort.cases(Split.TEST), tmp_path / "nowhere", {"tiny": (1, 1, 44, 52, 52)}, ONE_THREAD
    )
    with pytest.raises(BrainEdgeError, match=r"the measurement under AVX2 failed \(exit 1\): .*No such file"):
        isa.measure_under(Isa.AVX2, job)


# --- interrupted


class Killed(BaseException):
    """What a test kills a search with."""


POINTS = ("trial 2", "ranking", "judging the choice", "judging it again")
"""What is said just before: one trial is done, both of the ladder, the repaired one, and the first judgement."""


@dataclass(frozen=True)
class Resumed:
    """One search that was killed at every point, one after the other, and then left alone.

    Attributes:
        digest: of the package in the end.
        trials: how many each attempt has begun.
        left: suffixes of the files that lay around after the last kill.
        named: files among them that name a patient.
        cpu_s: processor time of each trial, s.
        done_again: trials begun after half a line was in the log and a graph was damaged.
        tidy: nothing but the package was left in the end.
    """

    digest: str
    trials: list[int]
    left: set[str]
    named: list[str]
    cpu_s: list[float]
    done_again: int
    tidy: bool


@pytest.fixture(scope="module")
def resumed(fp32: ModelPackage, cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Resumed:
    target = tmp_path_factory.mktemp("killed") / "int8"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "ladder_from", lambda _preset: LADDER[:2])
        patch.setattr(isa, "newest_is_avx2", lambda: False)
        trials = [_killed(fp32, cohort, target, point) for point in POINTS]
        files = [path for path in target.parent.rglob("*") if path.is_file()]
        named = [path.name for path in files if b"MUSTERMANN" in path.read_bytes()]
        (journal,) = work_folder(target).glob("*/trials.jsonl")
        cpu_s = [json.loads(line)["cpu_s"] for line in journal.read_bytes().splitlines()]
        with journal.open("ab") as log:
            log.write(b'{"outcome": {"tri')
        (journal.parent / "trial-02/graphs/tiny.bin").write_bytes(b"damaged")
        lines: list[str] = []
        package = quantize(fp32, cohort, target, options(lines.append))
    tidy = not work_folder(target).exists() and [path.name for path in target.parent.iterdir() if path.is_dir()] == [
        "int8"
    ]
    return Resumed(package.digest, trials, {path.suffix for path in files}, named, cpu_s, _begun(lines), tidy)


def _killed(fp32: ModelPackage, cohort: Cohort, target: Path, point: str) -> int:
    """Start or go on until a line is said; how many trials were begun on the way."""
    lines: list[str] = []

    def kill(line: str) -> None:
        if line.startswith(point):
            raise Killed
        lines.append(line)

    with pytest.raises(Killed):
        quantize(fp32, cohort, target, options(kill))
    assert not target.exists()
    return _begun(lines)


def _begun(lines: list[str]) -> int:
    return sum(line.startswith("trial") for line in lines)


@pytest.mark.full  # half a minute; a killed fit in test_changed_weights goes on in the same way
def test_a_search_that_was_killed_goes_on_and_ends_with_the_same_bytes(resumed: Resumed, repaired: ModelPackage):
    """The digest covers every file, the record and the trail of trials."""
    assert resumed.digest == repaired.digest
    assert resumed.tidy


@pytest.mark.full  # two searches; in CI a search is killed and goes on
def test_a_search_whose_time_is_over_is_refused_and_goes_on_when_it_is_given_more(
    fp32: ModelPackage, cohort: Cohort, repaired: ModelPackage, tmp_path: Path
):
    """A limit is no part of the question, so nothing that was measured is measured again."""
    lines: list[str] = []
    with pytest.raises(BudgetError, match="the accuracy budget is not met"):
        quantize(fp32, cohort, tmp_path / "int8", replace(options(lines.append), time_limit_min=1e-6))
    assert lines.count("the time limit of 1e-06 minutes was over after 1 trial(s)") == 1
    assert _begun(lines) == 1
    assert "the time limit of 1e-06 minutes" in (tmp_path / "int8-report/accuracy.json").read_text("utf-8")
    lines.clear()
    assert quantize(fp32, cohort, tmp_path / "int8", options(lines.append)).digest == repaired.digest
    assert _begun(lines) == 2


@pytest.mark.parametrize("minutes", [0.0, -1.0, float("nan"), float("inf")])
def test_a_time_limit_is_above_zero(minutes: float):
    with pytest.raises(UsageError, match="expected --time-limit of more than 0 minutes"):
        replace(options(), time_limit_min=minutes)


def test_no_trial_is_made_twice(resumed: Resumed):
    """Killed before the second, after both, and after the third, which the last attempt has to do nothing for."""
    assert resumed.trials == [1, 1, 1, 0]


def test_each_trial_states_its_processor_time(resumed: Resumed):
    assert len(resumed.cpu_s) == 3
    assert min(resumed.cpu_s) > 0


def test_half_a_line_and_a_damaged_graph_are_done_again(resumed: Resumed):
    assert resumed.done_again == 1


def test_nothing_of_a_patient_is_left_in_the_work_folder(resumed: Resumed):
    assert resumed.left == {".json", ".jsonl", ".xml", ".bin"}
    assert resumed.named == []


# --- refused


def looks() -> int:
    """Lines in the log."""
    log = state_folder() / LOG
    return log.read_bytes().count(b"\n") if log.exists() else 0


def refused(fp32: ModelPackage, cohort: Cohort, target: Path, **limits: Any) -> tuple[str, AccuracyReport]:
    with pytest.raises(BudgetError) as missed:
        quantize(fp32, cohort, target, options(**limits))
    assert missed.value.exit_code == 4
    assert not target.exists()
    return str(missed.value), read_report(target.with_name("int8-report") / "accuracy.json")


@pytest.mark.full  # seventeen seconds; the miss on the test split stays
def test_a_budget_that_cannot_be_met_is_refused_with_a_report_and_without_a_look_at_the_test_split(
    fp32: ModelPackage, cohort: Cohort, tmp_path: Path
):
    before = looks()
    words, report = refused(fp32, cohort, tmp_path / "int8", max_disagreement=1e-5)
    assert "mean disagreement of label 1 with the baseline is 0." in words
    assert (report.met, report.judged_on, report.candidate) == (False, "validation", None)
    assert report.failures
    assert report.evidence.next_patient == "No statement about new patients."
    assert {case.subject for case in report.cases} == {"subject 2"}
    assert not any(b"MUSTERMANN" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert looks() == before


def test_a_budget_that_only_the_test_split_misses_is_refused(fp32: ModelPackage, tmp_path: Path):
    """The search cannot know that the test head is noisier: its choice is judged once, and refused."""
    (tmp_path / "data").mkdir()
    splits = (Split.CALIBRATION, Split.VALIDATION, Split.TEST)
    harder = phantom_cohort(tmp_path / "data", splits, references=False, noisy={3})
    before = looks()
    words, report = refused(fp32, harder, tmp_path / "int8", max_dice_drop=0.03)
    assert "mean drop of label 1 is 0." in words
    assert (report.met, report.judged_on, report.evidence.trials[-1].met) == (False, "test", True)
    assert looks() == before + 1


def test_confidence_without_enough_subjects_is_refused_before_anything_runs(
    fp32: ModelPackage, cohort: Cohort, tmp_path: Path
):
    lines: list[str] = []
    with pytest.raises(BudgetError, match=r"expected 29 test subjects .* the cohort .* has 2; add 27"):
        quantize(fp32, cohort, tmp_path / "int8", options(lines.append, confidence=0.95))
    assert lines == []


def test_confidence_is_refused_where_no_one_speaks_for_patients(fp32: ModelPackage, tmp_path: Path):
    made = phantom_cohort(tmp_path, SPLITS, synthetic=True)
    with pytest.raises(BudgetError, match=r"expected 7 test subjects for --confidence 0\.5 .* has 0; add 7"):
        quantize(fp32, made, tmp_path / "int8", options(confidence=0.5))


def test_a_cohort_without_validation_cases_is_refused(fp32: ModelPackage, tmp_path: Path):
    made = phantom_cohort(tmp_path, (Split.CALIBRATION, Split.TEST))
    with pytest.raises(InputError, match="has no validation case"):
        quantize(fp32, made, tmp_path / "int8", options())


def test_a_label_that_no_case_has_is_refused_before_the_search(cohort: Cohort, tmp_path: Path):
    labels = (*SPEC.labels, Label(value=2, name="lesion"))
    package = make_package(tmp_path / "fp32", msgspec.structs.replace(SPEC, labels=labels))
    lines: list[str] = []
    with pytest.raises(InputError, match=r"label 2 \(lesion\) occurs in no reference and no mask of the baseline"):
        quantize(package, cohort, tmp_path / "int8", options(lines.append))
    assert not any(line.startswith("trial") for line in lines)


# --- how often the test split was looked at


@pytest.mark.full  # a quantisation; tests/budget/test_looks.py tells the same of the log
def test_a_second_package_from_the_same_test_images_says_so_wherever_it_lies(
    repaired: ModelPackage, fp32: ModelPackage, cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    first = evidence_in(repaired.manifest)
    assert first is not None
    monkeypatch.setattr(command, "ladder_from", lambda _preset: LADDER[1:2])
    evidence = evidence_in(quantize(fp32, cohort, tmp_path / "second", options()).manifest)
    assert evidence is not None
    (look,) = evidence.earlier_looks
    assert (look.limits, look.met) == (first.limits, True)
    assert evidence.warnings[0].startswith("1 other candidate(s) of this model were judged on these test images before")
    assert "for this and 1 other candidate(s) together" in evidence.next_patient


def test_a_log_that_cannot_be_trusted_or_written_is_refused_before_anything_runs(
    fp32: ModelPackage, cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    lines: list[str] = []
    monkeypatch.setenv("BRAIN_EDGE_STATE", str(tmp_path / "state"))
    (tmp_path / "state").write_text("a file where the folder would be", encoding="utf-8")
    with pytest.raises(OutputError, match="the log of looks at test images cannot be written here"):
        quantize(fp32, cohort, tmp_path / "int8", options(lines.append))
    (tmp_path / "state").unlink()
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / LOG).write_text("damaged\n", encoding="utf-8")
    with pytest.raises(InputError, match="line 1 has changed"):
        quantize(fp32, cohort, tmp_path / "int8", options(lines.append))
    assert lines == []


@pytest.mark.full  # three quantisations; tests/budget/test_looks.py tells the same of the log
def test_a_budget_that_was_chosen_after_the_look_is_said_in_evidence_card_and_info(fp32: ModelPackage, tmp_path: Path):
    """The same candidate, refused on its test head, is asked for the budget that the refusal names."""
    (tmp_path / "data").mkdir()
    (tmp_path / "elsewhere").mkdir()
    splits = (Split.CALIBRATION, Split.VALIDATION, Split.TEST)
    harder = phantom_cohort(tmp_path / "data", splits, references=False, noisy={3})
    words, _ = refused(fp32, harder, tmp_path / "int8", max_dice_drop=0.03)
    named = re.search(r"smallest --max-dice-drop that these cases meet: ([0-9.]+\d); (.*)", words)
    assert named is not None
    assert named[2].startswith("a budget set now is chosen after a look at the test images")
    package = quantize(fp32, harder, tmp_path / "elsewhere" / "int8", options(max_dice_drop=float(named[1])))
    evidence = evidence_in(package.manifest)
    assert evidence is not None
    (look,) = evidence.earlier_looks
    assert (look.limits.max_dice_drop, look.met) == (0.03, False)
    assert "after 1 earlier look(s) of this model at some of these test images" in evidence.statement
    assert evidence.warnings[0].startswith("No case has a reference mask")
    assert "under another budget (mean drop 0.03, single case 0.06), which it missed" in evidence.warnings[1]
    card = (package.folder / "README.md").read_text(encoding="utf-8")
    assert evidence.statement in card
    assert evidence.warnings[1] in card
    assert evidence.statement in present(package.manifest.found).statement


def test_baseline_masks_are_those_of_the_package(fp32: ModelPackage, cohort: Cohort, tmp_path: Path):
    cases = cohort.cases(Split.TEST)
    write_baseline(Segmenter.open(fp32, ONE_THREAD), cases, tmp_path)
    for case in cases:
        labels = np.load(tmp_path / f"baseline-{case.number}.npz")["labels"]
        study, _ = load_case(case)
        assert (labels == Segmenter.open(fp32, ONE_THREAD)(study.volumes["T1"]).mask.labels).all()
