"""quantize: from an FP32 package to an INT8 package within a Dice budget, or to a refusal.

NNCF's own accuracy control neither guarantees its limit nor raises, so it is not used: settings are tried on search
data, the choice is frozen, and then measured once through `Segmenter` in the precision in which it will run. The
decision is ours (`docs/decisions/0005-budget-is-measured-through-segmenter.md`).
"""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import msgspec

from brain_edge.engine.stage_zero import with_stage_zero
from brain_edge.errors import BudgetError, UsageError
from brain_edge.evaluation.cohort import Split, load_case, require_cases, study_for
from brain_edge.evaluation.cohort.manifest import person_key
from brain_edge.evaluation.evidence import spelt
from brain_edge.evaluation.report.accuracy_page import write_page
from brain_edge.evaluation.report.accuracy_report import pseudonymous, with_pictures, write_report
from brain_edge.jobs.pictures.sheet import require_matplotlib
from brain_edge.machine.atomic_folder import atomic_folder
from brain_edge.machine.cpu import default_threads
from brain_edge.machine.description import arithmetic_of, this_machine
from brain_edge.machine.options import RuntimeOptions
from brain_edge.package import ModelPackage, NumberFormat
from brain_edge.package.digest import sha256_of
from brain_edge.package.trained import require_trained
from brain_edge_conversion.budget.budget import AccuracyBudget, judge
from brain_edge_conversion.budget.capture import capture_inputs
from brain_edge_conversion.budget.coverage import kernel_shares
from brain_edge_conversion.budget.isa import AVX2, isa_record, make_job
from brain_edge_conversion.budget.kernels import input_shapes
from brain_edge_conversion.budget.measure import measure, subject_numbers, write_baseline
from brain_edge_conversion.budget.pictures import draw_cases, worst_cases
from brain_edge_conversion.budget.statement import speaks_of_patients
from brain_edge_conversion.budget.subjects import require_confidence
from brain_edge_conversion.budget.test_looks import Look, images_sha256, record_look
from brain_edge_conversion.budget.work_folder import draft_folder, forget_search, scratch_folder, work_folder
from brain_edge_conversion.convert.convert import tool_versions
from brain_edge_conversion.convert.self_test import write_self_test
from brain_edge_conversion.quantize.journal import Journal, Question
from brain_edge_conversion.quantize.ladder import Preset, ladder_from
from brain_edge_conversion.quantize.policy import best
from brain_edge_conversion.quantize.record import (
    Judgement,
    accuracy_record,
    accuracy_report,
    trial_record,
)
from brain_edge_conversion.quantize.search import Problem, candidate_in, float_layers, search
from brain_edge_conversion.sealing.writer import seal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from brain_edge.evaluation.cohort import Case, Cohort
    from brain_edge.evaluation.evidence import Accuracy, AccuracyCase, IsaRecord
    from brain_edge.image.volume import Study, Volume
    from brain_edge.spec import ModelSpec
    from brain_edge_conversion.quantize.journal import Entry
    from brain_edge_conversion.quantize.policy import Stop

__all__ = ["Preset", "QuantizeOptions", "quantize"]


@dataclass(frozen=True, kw_only=True)
class QuantizeOptions:
    """How to quantise and how to judge.

    Attributes:
        budget: what the masks may lose.
        preset: of NNCF that the search begins with.
        runtime: threads for the measurements.
        report: told what is being done, one line at a time.
        report_folder: where the report goes, with its page and pictures of the worst cases; None writes one only
            where the budget is missed, beside the package to be and without patients.
        without_patients: the report names no subject and shows no picture.
        time_limit_min: minutes after which no trial begins; what was found until then is judged. It is no part of the
            question that a search answers: with more time an ended one goes on.

    Raises:
        UsageError: a time limit that is not above zero.
    """

    budget: AccuracyBudget = field(default_factory=AccuracyBudget)
    preset: Preset = Preset.PERFORMANCE
    runtime: RuntimeOptions = field(default_factory=RuntimeOptions)
    report: Callable[[str], None] = lambda _line: None
    report_folder: Path | None = None
    without_patients: bool = False
    time_limit_min: float | None = None

    def __post_init__(self) -> None:
        if self.time_limit_min is not None and not 0 < self.time_limit_min < math.inf:
            raise UsageError(f"expected a time limit above 0 minutes, got {self.time_limit_min:g}")


@dataclass(frozen=True)
class QuantizePlan:
    """Which cases of a cohort are used for what.

    Attributes:
        cohort: the whole.
        calibration: the ranges of activations are taken from them.
        searched: trials are judged on them.
        judged: the frozen candidate is judged on them, once.
    """

    cohort: Cohort
    calibration: tuple[Case, ...]
    searched: tuple[Case, ...]
    judged: tuple[Case, ...]

    @property
    def searched_on(self) -> Split:
        """The split of the trials."""
        return self.searched[0].entry.split


def quantize(package: ModelPackage, cohort: Cohort, target: Path, options: QuantizeOptions) -> ModelPackage:
    """Quantise every graph of a package and write the result if, and only if, it meets the budget.

    Args:
        package: FP32, checked against PyTorch.
        cohort: its calibration split sets the ranges of the activations, its validation split judges the trials of
            the search, its test split (else its validation split) the result.
        target: the folder of the INT8 package; it appears whole or not at all.
        options: budget and preset.

    Raises:
        UsageError: the package is quantised already, or the budget would not bind a label.
        WeightsError: the weights are random.
        InputError: the cohort lacks a split that is needed, or one of its files is refused.
        BudgetError: the budget was missed, or the confidence needs more subjects; no package is written.
    """
    _require_float(package)
    require_trained(package, "so that no budget can be judged; --for-speed quantises it for measuring how fast it is")
    _require_labels(package, options.budget)
    # candidates lie in folders of their own, beside which there is no stage 0
    runtime = with_stage_zero(package, options.runtime)
    options = replace(options, runtime=replace(runtime, threads=runtime.threads or default_threads()))
    if options.report_folder is not None and not options.without_patients:
        require_matplotlib()
    plan = plan_cases(cohort)
    _require_subjects(plan, options.budget)
    require_cases(tuple({case.number: case for case in _all_cases(plan)}.values()), package.spec, options.report)
    place = target.resolve()
    with scratch_folder(place) as scratch:
        with atomic_folder(target, draft=draft_folder(place)) as draft:
            journal = Journal(work_folder(place), _question(package, plan, options))
            sealed = _Quantisation(package, plan, options, journal, scratch).run(draft, place)
        forget_search(place)
    return ModelPackage(target, sealed.manifest)


def plan_cases(cohort: Cohort) -> QuantizePlan:
    """Who is used for what.

    Raises:
        InputError: no calibration case; no validation case, unless this is a demonstration on one head.
    """
    calibration, counts = cohort.cases(Split.CALIBRATION), cohort.counts()
    is_one_head = cohort.manifest.demo and not counts[Split.VALIDATION]
    searched = calibration if is_one_head else cohort.cases(Split.VALIDATION)
    judged = cohort.cases(Split.TEST) if counts[Split.TEST] else searched
    return QuantizePlan(cohort, calibration, searched, judged)


class _Quantisation:
    """One run, from calibration inputs to a sealed package in a draft folder."""

    def __init__(
        self, package: ModelPackage, plan: QuantizePlan, options: QuantizeOptions, journal: Journal, scratch: Path
    ) -> None:
        self._package = package
        self._plan = plan
        self._options = options
        self._journal = journal
        self._scratch = scratch
        self._subjects = subject_numbers(plan.cohort)

    def run(self, draft: Path, target: Path) -> ModelPackage:
        """Search, freeze, judge, report; the sealed package, or a refusal."""
        problem = self._prepare()
        stop = search(problem, self._journal)
        if stop.chosen is None:
            judgement, folder = self._judge_search()
            raise self._refused(judgement, stop, candidate_in(folder, self._package), target)
        entry = self._journal.entries[stop.chosen]
        shutil.copytree(self._journal.trial_folder(stop.chosen) / "graphs", draft / "graphs")
        candidate = candidate_in(draft, self._package)
        judgement = self._judge(candidate, entry, problem, target.parent)
        if judgement.failures:
            raise self._refused(judgement, stop, candidate, target)
        sealed = self._seal(candidate, accuracy_record(judgement))
        if self._options.report_folder is not None:
            self._write_report(judgement, stop, sealed, self._options.report_folder)
        return sealed

    def _prepare(self) -> Problem:
        """Calibration inputs and the baseline's masks, on disk."""
        options, plan = self._options, self._plan
        options.report(f"collecting network inputs from {len(plan.calibration)} calibration case(s)")
        studies = _studies(plan.calibration, self._package.spec)
        inputs = capture_inputs(self._package, studies, self._scratch, options.runtime)
        options.report("segmenting with FP32, the baseline of every comparison")
        for cases in {plan.searched[0].entry.split: plan.searched, plan.judged[0].entry.split: plan.judged}.values():
            write_baseline(self._package, cases, self._scratch, options.runtime, options.budget.unbound)
        return Problem(
            package=self._package,
            inputs=inputs,
            cases=plan.searched,
            subjects=self._subjects,
            masks=self._scratch,
            budget=options.budget,
            ladder=ladder_from(options.preset),
            runtime=options.runtime,
            report=options.report,
            time_limit_min=options.time_limit_min,
        )

    def _judge(self, candidate: ModelPackage, entry: Entry, problem: Problem, results: Path) -> Judgement:
        """Measure the frozen candidate once, here and with the instructions of an older CPU."""
        cases, options = self._plan.judged, self._options
        earlier = record_look(results, _look(candidate, cases)) if cases[0].entry.split is Split.TEST else 0
        options.report(f"judging the choice on {len(cases)} {cases[0].entry.split} case(s)")
        if cases == self._plan.searched:
            return self._judgement(entry, entry.records, entry.isas, earlier)
        records = measure(candidate, cases, self._scratch, self._subjects, options.runtime)
        options.report(f"judging it again with {AVX2} instructions")
        job = make_job(candidate, cases, self._scratch, input_shapes(problem.inputs), options.runtime)
        isa = isa_record(AVX2, job, entry.layers, options.budget)
        return self._judgement(entry, records, (isa,), earlier)

    def _judge_search(self) -> tuple[Judgement, Path]:
        """The closest trial and its folder, on search data: the test split was not looked at."""
        outcomes = [entry.outcome for entry in self._journal.entries]
        closest = best(outcomes, self._options.budget.min_int8_share) or max(outcomes, key=lambda each: each.int8_share)
        number = outcomes.index(closest)
        entry = self._journal.entries[number]
        return self._judgement(entry, entry.records, entry.isas, 0), self._journal.trial_folder(number)

    def _judgement(
        self, entry: Entry, records: Sequence[AccuracyCase], isas: Sequence[IsaRecord], earlier: int
    ) -> Judgement:
        budget, share = self._options.budget, entry.outcome.int8_share
        trials = [
            trial_record(each.outcome, judge(each.records, each.outcome.int8_share, budget))
            for each in self._journal.entries
        ]
        return Judgement(
            cohort=self._plan.cohort,
            budget=budget,
            records=records,
            share=share,
            verdict=judge(records, share, budget),
            isas=isas,
            searched_on=self._plan.searched_on,
            earlier=earlier,
            trials=trials,
            floats=float_layers(entry),
            kernels=kernel_shares([layer for graph in entry.layers.values() for layer in graph]),
            threads=self._options.runtime.threads or default_threads(),
            mark=self._package.manifest.mark,
        )

    def _seal(self, candidate: ModelPackage, accuracy: Accuracy) -> ModelPackage:
        package = _described(candidate, self._package)
        write_self_test(package)
        return seal(package.folder, msgspec.structs.replace(package.manifest, accuracy=spelt(accuracy)))

    def _refused(self, judgement: Judgement, stop: Stop, candidate: ModelPackage, target: Path) -> BudgetError:
        """Write the report of a missed budget; without a folder of its own it shows no patient."""
        folder = self._options.report_folder or target.with_name(f"{target.name}-report")
        self._write_report(judgement, stop, candidate, folder)
        return _refusal(judgement)

    def _write_report(self, judgement: Judgement, stop: Stop, candidate: ModelPackage, folder: Path) -> None:
        report = accuracy_report(self._package, judgement, stop.reason, None if judgement.failures else candidate)
        folder.mkdir(parents=True, exist_ok=True)
        if self._options.without_patients or self._options.report_folder is None:
            report = pseudonymous(report)
        else:
            worst = worst_cases(judgement.records)
            cases = [case for case in self._plan.cohort.cases() if case.number in worst]
            drawn = draw_cases(candidate, cases, self._scratch, folder, self._options.runtime)
            report = with_pictures(report, drawn)
        write_report(report, folder)
        self._options.report(f"report: {write_page(report, folder)}")


def _refusal(judgement: Judgement) -> BudgetError:
    reasons = filter(None, [*judgement.failures, judgement.smallest_budget])
    return BudgetError(f"the accuracy budget is not met: {'; '.join(reasons)}; no package was written")


def _described(candidate: ModelPackage, package: ModelPackage) -> ModelPackage:
    """A candidate that says what it was made of and with."""
    manifest = msgspec.structs.replace(
        package.manifest, number_format=NumberFormat.INT8, made_with=tool_versions(), converted_from=package.digest
    )
    return ModelPackage(candidate.folder, manifest)


def _question(package: ModelPackage, plan: QuantizePlan, options: QuantizeOptions) -> Question:
    return Question(
        package=package.digest,
        cohort=plan.cohort.sha256,
        budget=options.budget,
        ladder=ladder_from(options.preset),
        versions=tool_versions(),
        threads=options.runtime.threads or default_threads(),
        machine=arithmetic_of(this_machine()),
    )


def _require_labels(package: ModelPackage, budget: AccuracyBudget) -> None:
    labels = package.spec.label_names()
    if unknown := sorted(set(budget.unbound) - set(labels)):
        raise UsageError(
            f"expected --unbound to name a label of {package.spec.name} ({', '.join(map(str, labels))}), "
            f"got {unknown[0]}"
        )


def _look(candidate: ModelPackage, cases: Sequence[Case]) -> Look:
    graphs = (candidate.graph_file(graph) for graph in candidate.spec.graphs)
    hashes = "+".join(sha256_of(file.with_suffix(suffix)) for file in graphs for suffix in (".xml", ".bin"))
    return Look(test_images=images_sha256(cases), candidate=hashes)


def _all_cases(plan: QuantizePlan) -> tuple[Case, ...]:
    return (*plan.calibration, *plan.searched, *plan.judged)


def _require_subjects(plan: QuantizePlan, budget: AccuracyBudget) -> None:
    """Refuse a confidence that the test split cannot give."""
    judged = [case for case in plan.judged if case.has_reference] or plan.judged
    people = {person_key(case.entry.subject) for case in judged}
    counts = speaks_of_patients(plan.cohort, plan.judged[0].entry.split)
    require_confidence(budget.confidence, len(people) if counts else 0, f"the cohort {plan.cohort.called}")


def _studies(cases: Sequence[Case], spec: ModelSpec) -> Iterator[Study | Volume]:
    for case in cases:
        yield study_for(load_case(case)[0], spec)


def _require_float(package: ModelPackage) -> None:
    if package.manifest.number_format is not NumberFormat.FP32:
        raise UsageError(
            f"{package.folder}: expected an FP32 package, this one is {package.manifest.number_format} already"
        )
