"""tune: from a package to the same model in cheaper settings within a Dice budget, or to a refusal.

Settings are tried on validation cases, the choice is frozen and then judged once on test cases, by the same judge as a
quantisation. Operations that were counted decide which setting is cheaper; times are measured and reported
(`docs/decisions/0020-tune-counts-operations.md`).
"""

from __future__ import annotations

import importlib.metadata
import math
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import UNSET

from brain_edge.bench.counted import Input
from brain_edge.engine.stage_zero import with_stage_zero
from brain_edge.errors import BrainEdgeError, BudgetError, MissingExtraError, UsageError
from brain_edge.evaluation.cohort import Split, require_cases
from brain_edge.evaluation.evidence import spelt
from brain_edge.machine.atomic_folder import atomic_folder
from brain_edge.machine.cpu import default_threads
from brain_edge.machine.description import arithmetic_of, this_machine
from brain_edge.machine.options import RuntimeOptions
from brain_edge.package import ModelPackage, NumberFormat, Precision
from brain_edge.package.digest import sha256_of
from brain_edge.package.trained import require_trained
from brain_edge.runtime.session import cpu_capabilities
from brain_edge_conversion.budget.budget import AccuracyBudget, judge, smallest_budget
from brain_edge_conversion.budget.isa import AVX2, isa_record, make_job
from brain_edge_conversion.budget.measure import measure, subject_numbers, write_baseline, write_mask_of
from brain_edge_conversion.budget.test_looks import Look, images_sha256, record_look
from brain_edge_conversion.budget.work_folder import draft_folder, forget_search, scratch_folder, work_folder
from brain_edge_conversion.convert.self_test import write_self_test
from brain_edge_conversion.sealing.writer import seal
from brain_edge_conversion.tune.candidate import Candidate, Ledger
from brain_edge_conversion.tune.evidence import ALL_ALLOWED, Judgement, evidence
from brain_edge_conversion.tune.journal import Entry, Full, Journal, Question, Round
from brain_edge_conversion.tune.policy import SettingOutcome, Stop, cheapest, next_setting
from brain_edge_conversion.tune.report import SettingReport, TuningReport, with_times, write_report
from brain_edge_conversion.tune.settings import Arithmetic, space_of
from brain_edge_conversion.tune.timed import time_candidate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from brain_edge.evaluation.cohort import Case, Cohort
    from brain_edge.package import Manifest
    from brain_edge_conversion.tune.settings import Setting, Space

TOOLS: Final = ("openvino", "brain-edge")


@dataclass(frozen=True, kw_only=True)
class TuneOptions:
    """How to tune and how to judge.

    Attributes:
        budget: what the masks may lose against the package as it is.
        rounds: cold runs of each setting for the times in the report.
        time_limit_s: after which no trial and no further round begins; None for no limit.
        runtime: threads of all measurements.
        report: told what is being done, one line at a time.
        report_folder: where figures go; beside the package to be unless given.
    """

    budget: AccuracyBudget = field(default_factory=lambda: AccuracyBudget(min_int8_share=0.0))
    rounds: int = 3
    time_limit_s: float | None = None
    runtime: RuntimeOptions = field(default_factory=RuntimeOptions)
    report: Callable[[str], None] = lambda _line: None
    report_folder: Path | None = None


def tune(
    package: ModelPackage, cohort: Cohort, target: Path, options: TuneOptions, int8: ModelPackage | None = None
) -> ModelPackage:
    """Find the cheapest setting of a package that keeps within a budget, and write it as a package of its own.

    Args:
        package: trained.
        cohort: its validation split judges the trials, its test split (else its validation split) the choice.
        target: the folder of the tuned package; it appears whole or not at all.
        options: budget, times, threads.
        int8: a package that was quantised from this one, whose graphs may then be taken.

    Raises:
        UsageError: there is nothing to tune, or the packages do not belong together.
        WeightsError: the weights are random.
        InputError: no validation case, or a file of the cohort is refused.
        BudgetError: nothing cheaper meets the budget; a report is written, no package.
    """
    space = _space(package, int8)
    # candidates lie in folders of their own, beside which there is no stage 0
    runtime = with_stage_zero(package, options.runtime)
    options = replace(options, runtime=replace(runtime, threads=runtime.threads or default_threads()))
    searched = cohort.cases(Split.VALIDATION)
    judged = cohort.cases(Split.TEST) if cohort.counts()[Split.TEST] else searched
    require_cases(tuple({case.number: case for case in (*searched, *judged)}.values()), package.spec, options.report)
    place = target.resolve()
    with scratch_folder(place):
        with atomic_folder(target, draft=draft_folder(place)) as draft:
            journal = Journal(work_folder(place), _question(package, int8, cohort, space, options))
            sealed = _Tuning(package, int8, space, cohort, options, journal).run(searched, judged, draft, place)
        forget_search(place)
    return ModelPackage(target, sealed.manifest)


class _Tuning:
    """One run, from the masks of the package as it is to a sealed package in a draft folder."""

    def __init__(
        self,
        package: ModelPackage,
        int8: ModelPackage | None,
        space: Space,
        cohort: Cohort,
        options: TuneOptions,
        journal: Journal,
    ) -> None:
        self._package = package
        self._int8 = int8
        self._space = space
        self._cohort = cohort
        self._options = options
        self._journal = journal
        self._ledger = Ledger()
        self._subjects = subject_numbers(cohort)
        self._start = time.monotonic()

    def run(self, searched: Sequence[Case], judged: Sequence[Case], draft: Path, target: Path) -> ModelPackage:
        """Search, freeze, judge, report; the sealed package, or a refusal."""
        self._segment_full(searched)
        stop = self._search(searched)
        settings = self._timed(searched)
        report = partial(self._report, searched[0].entry.split, settings, stop)
        folder = self._options.report_folder or target.with_name(f"{target.name}-tuning")
        if stop.chosen is None:
            failures = (stop.reason, *self._closest())
            self._write(report(failures=failures), folder)
            raise _refusal(failures)
        self._segment_full(judged)
        candidate, judgement = self._judge(stop.chosen, searched, judged, draft, target.parent)
        if judgement.failures:
            failures = (*judgement.failures, *_proposal(judgement))
            self._write(report(failures=failures, judgement=judgement), folder)
            raise _refusal(failures)
        manifest = msgspec.structs.replace(candidate.manifest, tuning=spelt(evidence(judgement)))
        write_self_test(candidate)
        sealed = seal(draft, manifest)
        self._write(report(judgement=judgement, digest=sealed.digest), folder)
        return sealed

    def _segment_full(self, cases: Sequence[Case]) -> None:
        """The masks of the package as it is, the baseline of every comparison, and what they take."""
        masks, count = self._journal.masks, Counter[Input]()
        segmenter = self._candidate(self._space.full).open(self._options.runtime, count)
        for case in cases:
            if case.number not in self._journal.full:
                self._options.report(f"segmenting case {case.number} with the package as it is, the baseline")
                count.clear()
                write_mask_of(segmenter, case, masks)
                operations = self._ledger.operations(self._package, count)
                self._journal.append_full(Full(case.number, operations))
        write_baseline(segmenter, cases, masks, self._options.runtime)

    def _search(self, cases: Sequence[Case]) -> Stop:
        """Try until the policy stops or the time is up; every trial is in the journal before the next one begins."""
        while True:
            outcomes = self._outcomes()
            decision = next_setting(self._space.sizes, outcomes)
            if isinstance(decision, Stop):
                self._options.report(decision.reason)
                return decision
            if self._time_is_up():
                met = any(outcome.met for outcome in outcomes)
                reason = f"the time limit ended the search after {len(outcomes)} trial(s), before its own end"
                self._options.report(reason)
                return Stop(cheapest(outcomes) if met else None, reason)
            self._options.report(f"trial {len(outcomes) + 1}: {self._space.title(decision)}")
            self._journal.append(self._try(decision, cases))

    def _try(self, setting: Setting, cases: Sequence[Case]) -> Entry:
        start, count = time.monotonic(), Counter[Input]()
        try:
            candidate = self._candidate(setting)
            segmenter = candidate.open(self._options.runtime, count)
            records = measure(segmenter, cases, self._journal.masks, self._subjects, self._options.runtime)
        except (BrainEdgeError, ValueError) as error:
            # a network that cannot take what the setting gives it: a finding about the setting, not a failure of ours
            return Entry(setting, None, (), str(error), time.monotonic() - start)
        operations = self._ledger.operations(candidate.graphs, count)
        return Entry(setting, operations, records, elapsed_s=time.monotonic() - start)

    def _outcomes(self) -> list[SettingOutcome]:
        return [self._outcome(entry) for entry in self._journal.entries]

    def _outcome(self, entry: Entry) -> SettingOutcome:
        resampling = self._space.resampling(entry.setting)
        if entry.operations is None:
            return SettingOutcome(entry.setting, math.inf, resampling, math.inf, met=False)
        verdict = judge(entry.records, ALL_ALLOWED, self._options.budget)
        full = sum(self._journal.full[number] for number in {record.case for record in entry.records})
        # what does as much as the package as it is buys nothing, whatever it keeps
        gains = entry.operations < full or (entry.operations == full and resampling > 0)
        return SettingOutcome(entry.setting, entry.operations, resampling, verdict.excess, met=verdict.met and gains)

    def _timed(self, cases: Sequence[Case]) -> tuple[SettingReport, ...]:
        """Each setting in cold processes, in turn, on the first case."""
        ran = tuple(entry.setting for entry in self._journal.entries if entry.operations is not None)
        settings = (self._space.full, *ran)
        rounds = [timed for timed in self._journal.rounds if timed.settings == settings]
        while len(rounds) < self._options.rounds and not (rounds and self._time_is_up()):
            self._options.report(f"timing {len(settings)} settings, round {len(rounds) + 1} of {self._options.rounds}")
            candidates = (self._candidate(setting) for setting in settings)
            samples = tuple(time_candidate(each, cases[0], self._options.runtime) for each in candidates)
            rounds.append(Round(settings, samples))
            self._journal.append_round(rounds[-1])
        samples_of = {setting: [timed.samples[place] for timed in rounds] for place, setting in enumerate(settings)}
        rows = [self._full_report(cases), *(self._setting_report(entry) for entry in self._journal.entries)]
        order = [self._space.full, *(entry.setting for entry in self._journal.entries)]
        return with_times(rows, [samples_of.get(setting, ()) for setting in order])

    def _full_report(self, cases: Sequence[Case]) -> SettingReport:
        return SettingReport(
            title=self._space.title(self._space.full),
            changes=(),
            operations=self._operations_full(cases),
            mean_drop=0.0,
            worst_drop=0.0,
            mean_disagreement=0.0,
            met=True,
        )

    def _setting_report(self, entry: Entry) -> SettingReport:
        title, changes = self._space.title(entry.setting), self._space.changes(entry.setting)
        if entry.operations is None:
            return SettingReport(
                title=title,
                changes=changes,
                operations=None,
                mean_drop=None,
                worst_drop=None,
                mean_disagreement=None,
                met=False,
                problem=entry.problem,
            )
        verdict = judge(entry.records, ALL_ALLOWED, self._options.budget)
        return SettingReport(
            title=title,
            changes=changes,
            operations=entry.operations,
            mean_drop=verdict.worst_mean_drop,
            worst_drop=verdict.worst_case_drop,
            mean_disagreement=verdict.worst_mean_disagreement,
            met=verdict.met,
        )

    def _judge(
        self, setting: Setting, searched: Sequence[Case], judged: Sequence[Case], draft: Path, results: Path
    ) -> tuple[ModelPackage, Judgement]:
        """Write the choice as it will be deployed and measure that once, here and under an older CPU's instructions."""
        options, chosen = self._options, self._candidate(setting)
        chosen.write_graphs(draft)
        candidate = ModelPackage(draft, _manifest(chosen, self._package))
        split = judged[0].entry.split
        earlier = record_look(results, _look(candidate, judged)) if split is Split.TEST else 0
        options.report(f"judging {self._space.title(setting)} on {len(judged)} {split} case(s)")
        count = Counter[Input]()
        segmenter = Candidate(candidate, candidate.spec).open(options.runtime, count)
        records = measure(segmenter, judged, self._journal.masks, self._subjects, options.runtime)
        options.report(f"judging it again with {AVX2} instructions")
        shapes = {seen.graph: seen.shape for seen in count}
        job = make_job(candidate, judged, self._journal.masks, shapes, options.runtime)
        layers = {graph: self._ledger.layers(candidate, Input(graph, shapes[graph])) for graph in shapes}
        (entry,) = (entry for entry in self._journal.entries if entry.setting == setting)
        return candidate, Judgement(
            package=self._package,
            int8=self._int8 if self._space.numbers(setting) is Arithmetic.INT8 else None,
            cohort=self._cohort,
            budget=options.budget,
            space=self._space,
            setting=setting,
            searched_on=searched[0].entry.split,
            entries=self._journal.entries,
            operations=(self._operations_full(searched), entry.operations or 0.0),
            records=records,
            isas=(isa_record(AVX2, job, layers, options.budget),),
            earlier=earlier,
            threads=options.runtime.threads or default_threads(),
        )

    def _report(
        self,
        searched_on: str,
        settings: tuple[SettingReport, ...],
        stop: Stop,
        *,
        failures: tuple[str, ...] = (),
        judgement: Judgement | None = None,
        digest: str | None = None,
    ) -> TuningReport:
        return TuningReport(
            model=self._package.spec.name,
            package_digest=self._package.digest,
            max_dice_drop=self._options.budget.max_dice_drop,
            max_case_drop=self._options.budget.case_limit,
            cohort_sha256=self._cohort.sha256,
            searched_on=searched_on,
            judged_on=None if judgement is None else judgement.split,
            reason=stop.reason,
            failures=failures,
            chosen=None if stop.chosen is None else self._space.title(stop.chosen),
            tuned_digest=digest,
            settings=settings,
            evidence=None if judgement is None else evidence(judgement),
            machine=this_machine(),
            threads=self._options.runtime.threads or default_threads(),
            versions=_versions(),
        )

    def _write(self, report: TuningReport, folder: Path) -> None:
        """The report, and its plot where matplotlib is installed."""
        from brain_edge_conversion.tune.plot import draw

        folder.mkdir(parents=True, exist_ok=True)
        self._options.report(f"report: {write_report(report, folder)}")
        try:
            draw(report, folder)
        except MissingExtraError as error:
            self._options.report(f"no plot: {error}")

    def _closest(self) -> tuple[str, ...]:
        """What the trial that came nearest to the budget would have needed, in words."""
        tried = [entry for entry in self._journal.entries if entry.operations is not None]
        verdicts = [judge(entry.records, ALL_ALLOWED, self._options.budget) for entry in tried]
        if not verdicts:
            return ()
        nearest = min(verdicts, key=lambda verdict: verdict.excess)
        return (*nearest.failures, *filter(None, [smallest_budget(nearest, self._options.budget)]))

    def _candidate(self, setting: Setting) -> Candidate:
        return Candidate.of(self._space, setting, self._package, self._int8)

    def _operations_full(self, cases: Sequence[Case]) -> float:
        return sum(self._journal.full[case.number] for case in cases)

    def _time_is_up(self) -> bool:
        limit_s = self._options.time_limit_s
        return limit_s is not None and time.monotonic() - self._start > limit_s


def _space(package: ModelPackage, int8: ModelPackage | None) -> Space:
    """The settings of a package.

    Raises:
        UsageError: it has none, it makes images, or the INT8 package was not made of it.
        WeightsError: its weights are random.
    """
    if package.spec.makes_images:
        raise UsageError(f"{package.folder}: the model {package.spec.name} makes images; a Dice budget binds masks")
    require_trained(package, "so that its masks have no accuracy to keep; convert the model with trained weights")
    if int8 is not None:
        _require_same_network(package, int8)
    space = space_of(package.spec, tuple(_arithmetic(package, int8)))
    if space.is_empty:
        is_int8 = package.manifest.number_format is NumberFormat.INT8
        advice = "it is INT8 already" if is_int8 else "quantise it and give the result with --int8"
        raise UsageError(
            f"{package.folder}: nothing can be tuned: one member, no mirroring, no windows, a fixed grid; {advice}"
        )
    return space


def _require_same_network(package: ModelPackage, int8: ModelPackage) -> None:
    if int8.manifest.number_format is not NumberFormat.INT8 or int8.manifest.converted_from != package.digest:
        raise UsageError(
            f"{int8.folder}: expected an INT8 package that was quantised from {package.folder} (digest "
            f"{package.digest[:12]}...), this one is {int8.manifest.number_format}, made of "
            f"{(int8.manifest.converted_from or 'no other')[:12]}; quantise {package.folder} first"
        )


def _arithmetic(package: ModelPackage, int8: ModelPackage | None) -> list[Arithmetic]:
    """The numbers in which a package can be computed here, its own first, the fastest last."""
    offered = [Arithmetic.OWN]
    is_f32 = package.manifest.number_format is NumberFormat.FP32 and package.manifest.precision is Precision.F32
    if is_f32 and "BF16" in cpu_capabilities():
        offered.append(Arithmetic.BF16)
    return [*offered, Arithmetic.INT8] if int8 is not None else offered


def _manifest(chosen: Candidate, package: ModelPackage) -> Manifest:
    """What the tuned package says of itself, before it is judged: only what still holds of its graphs and steps."""
    graphs, manifest = set(chosen.spec.graphs), chosen.graphs.manifest
    parity = manifest.parity
    if parity is not None:
        kept = tuple(each for each in parity.graphs if each.graph in graphs)
        parity = msgspec.structs.replace(parity, graphs=kept)
    return msgspec.structs.replace(
        manifest,
        spec=chosen.spec,
        weights=tuple(each for each in manifest.weights if each.graph in graphs),
        parity=parity,
        accuracy=None,
        tuning=UNSET,
        made_with={**manifest.made_with, **_versions()},
        converted_from=manifest.converted_from or package.digest,
        files={},
    )


def _question(
    package: ModelPackage, int8: ModelPackage | None, cohort: Cohort, space: Space, options: TuneOptions
) -> Question:
    return Question(
        package=package.digest,
        int8=None if int8 is None else int8.digest,
        cohort=cohort.sha256,
        dials=(
            *((dial.stage, *(level.title for level in dial.levels)) for dial in space.dials),
            tuple(map(str, space.arithmetic)),
        ),
        threads=options.runtime.threads or default_threads(),
        machine=arithmetic_of(this_machine()),
        versions=_versions(),
    )


def _look(candidate: ModelPackage, cases: Sequence[Case]) -> Look:
    """The candidate by its graphs, whose files carry the spec."""
    files = (candidate.graph_file(graph) for graph in candidate.spec.graphs)
    hashes = "+".join(sha256_of(file.with_suffix(suffix)) for file in files for suffix in (".xml", ".bin"))
    return Look(test_images=images_sha256(cases), candidate=hashes)


def _versions() -> dict[str, str]:
    return {tool: importlib.metadata.version(tool) for tool in TOOLS}


def _proposal(judgement: Judgement) -> tuple[str, ...]:
    return tuple(filter(None, [smallest_budget(judgement.verdict, judgement.budget)]))


def _refusal(failures: Sequence[str]) -> BudgetError:
    return BudgetError(f"the accuracy budget is not met: {'; '.join(failures)}; no package was written")
