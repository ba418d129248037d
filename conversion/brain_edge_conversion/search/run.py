"""Search for a cheaper package: try, log, freeze, judge once, then write the package or refuse.

The space proposes the trials and never sees the test split; the budget alone decides
(`docs/decisions/0031-one-search-one-evidence.md`).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING, Generic

import msgspec

from brain_edge.engine.prepares import require_preparation
from brain_edge.engine.stage_zero import with_stage_zero
from brain_edge.errors import BudgetError
from brain_edge.evaluation.cohort import Split, limits_of_images
from brain_edge.evaluation.evidence import Isa, Look, spelt
from brain_edge.jobs.pictures.sheet import require_matplotlib
from brain_edge.machine.atomic import require_no_file
from brain_edge.machine.cpu import default_threads
from brain_edge.machine.description import arithmetic_of, this_machine
from brain_edge.package import ModelPackage
from brain_edge_conversion.budget.coverage import int8_share, kernel_shares
from brain_edge_conversion.budget.isa import IsaAnswer, avx2_record, make_job, measure_package
from brain_edge_conversion.budget.looks import LoggedLook, candidate_of, log_look, require_log, weights_of
from brain_edge_conversion.budget.measure import subject_numbers
from brain_edge_conversion.budget.work_folder import draft_folder, forget_search, scratch_folder, work_folder
from brain_edge_conversion.convert.self_test import with_baseline_test
from brain_edge_conversion.convert.versions import tool_versions
from brain_edge_conversion.sealing.place import package_folder, require_other
from brain_edge_conversion.sealing.writer import seal
from brain_edge_conversion.search.evidence import evidence_of, trial_record
from brain_edge_conversion.search.journal import Choice, Journal, Question
from brain_edge_conversion.search.judgement import Judgement, outcome_of
from brain_edge_conversion.search.report import write_search_report
from brain_edge_conversion.search.space import Ending, Stop, TrialSetup
from brain_edge_conversion.search.splits import images_of, require_search, split_cohort
from brain_edge_conversion.search.time_limit import TimeOverError, is_over

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from brain_edge.evaluation.cohort import Cohort
    from brain_edge.evaluation.evidence import AccuracyCase, IsaRecord
    from brain_edge_conversion.search.journal import Entry
    from brain_edge_conversion.search.options import SearchOptions
    from brain_edge_conversion.search.space import Space
    from brain_edge_conversion.search.splits import Checked

MASKS = "masks"
"""Folder of a journal for the baseline's masks, if they are kept over an interruption."""
PREPARED = "prepared"
"""Work folder of the studies that were prepared for this search, so that none is registered twice."""


def find_cheaper(space: Space[Choice], cohort: Cohort, target: Path, options: SearchOptions) -> ModelPackage:
    """Search a space and write the candidate if, and only if, it meets the budget.

    Args:
        space: candidates that can be made from a package.
        cohort: cohort whose validation split judges the trials and whose test split (else validation split) judges the
            choice.
        target: folder of the new package; it appears complete or not at all.
        options: budget, threads, time limit, report.

    Raises:
        UsageError: the budget would not bind a label, or the report's folder is a file.
        InputError: the cohort lacks a needed split, or one of its files is refused.
        BudgetError: the budget was missed, or the confidence needs more subjects; a report is written, no package.
    """
    require_preparation(space.package.spec, options.runtime)
    # candidates lie in folders of their own, without a stage 0 beside them
    runtime = with_stage_zero(space.package, options.runtime)
    prepared = runtime.prepared or work_folder(target.resolve()) / PREPARED
    options = replace(
        options,
        runtime=replace(runtime, threads=runtime.threads or default_threads(), prepared=prepared),
        budget=options.budget.for_labels(space.package.spec.labels),
    )
    if options.report_folder is not None:
        require_no_file(options.report_folder)
    if options.names_patients:
        require_matplotlib()
    splits = split_cohort(cohort, calibrates=space.traits.calibrates)
    if splits.judged_on is Split.TEST:
        require_log()
    checked = require_search(splits, space.package.spec, options.budget, options.report)
    place = target.resolve()
    require_other(target, space.package.folder)
    with scratch_folder(place) as scratch:
        with package_folder(target, overwrite=options.overwrite, draft=draft_folder(place)) as draft:
            journal = Journal(work_folder(place), question_of(space, cohort, options), space.traits.entry)
            masks = journal.folder / MASKS if space.traits.keeps_masks else scratch
            masks.mkdir(exist_ok=True)
            setup = TrialSetup(
                splits=splits,
                subjects=subject_numbers(cohort),
                masks=masks,
                scratch=scratch,
                journal=journal,
                options=options,
            )
            sealed = _Search(space, setup, checked).run(draft, place)
        forget_search(place)
    return ModelPackage(target, sealed.manifest)


def question_of(space: Space[Choice], cohort: Cohort, options: SearchOptions) -> Question:
    """Return the question that a search on this machine answers; its trials are those of no other question."""
    return Question(
        change=space.traits.change,
        package=space.package.digest,
        cohort=cohort.sha256,
        space=space.question(options),
        versions=tool_versions(space.traits.tools),
        threads=_threads(options),
        machine=arithmetic_of(this_machine()),
    )


def _threads(options: SearchOptions) -> int:
    return options.runtime.threads or default_threads()


class _Search(Generic[Choice]):
    """One run of a search, from the baseline's masks to a sealed package in a draft folder."""

    def __init__(self, space: Space[Choice], setup: TrialSetup[Choice], checked: Checked) -> None:
        self._space = space
        self._setup = setup
        self._splits = setup.splits
        self._checked = checked
        self._journal = setup.journal
        self._options = setup.options

    def run(self, draft: Path, target: Path) -> ModelPackage:
        """Search, freeze, judge and report; return the sealed package, or raise the refusal."""
        self._space.prepare(self._setup)
        self._options.report(f"segmenting with {self._space.traits.change.baseline}, the baseline of every comparison")
        for cases in self._splits.compared:
            self._space.segment_baseline(cases)
        stop = self._try_until_done()
        if stop.chosen is None:
            raise self._none_found(stop, target)
        entry, trial = self._journal.entry(stop.chosen)
        candidate = self._space.write(entry, trial, draft)
        judgement = self._with_looks(self._judge(candidate, entry))
        if judgement.failures:
            raise self._refused(stop, judgement, candidate, target)
        candidate = with_baseline_test(candidate, self._space.baseline, self._options.budget.disagreement_limit)
        sealed = seal(draft, msgspec.structs.replace(candidate.manifest, evidence=spelt(evidence_of(judgement))))
        if self._options.report_folder is not None or self._space.traits.reports_always:
            self._write_report(Ending(stop, digest=sealed.digest), judgement, sealed, target)
        return sealed

    def _try_until_done(self) -> Stop[Choice]:
        """Run trials until the space stops or the time is over; log each trial before the next one begins."""
        while True:
            entries = list(self._journal.entries)
            decision = self._space.next(entries)
            if not isinstance(decision, Stop) and is_over(self._options, self._journal):
                decision = self._out_of_time(entries)
            if not isinstance(decision, Stop):
                decision = self._tried(decision, entries)
            if isinstance(decision, Stop):
                self._options.report(decision.reason)
                return decision

    def _tried(self, choice: Choice, entries: Sequence[Entry[Choice]]) -> Choice | Stop[Choice]:
        """Run and log one trial; return it, or the end of the search if the time is over before it is measured."""
        self._options.report(self._progress(choice, entries))
        try:
            self._journal.entries.append(self._space.attempt(choice, self._journal.trial_folder(len(entries))))
        except TimeOverError:
            return self._out_of_time(entries, ", in the middle of another one")
        return choice

    def _out_of_time(self, entries: Sequence[Entry[Choice]], where: str = "") -> Stop[Choice]:
        limit_min = self._options.time_limit_min or 0.0
        words = f"the time limit of {limit_min:g} minutes was over after {len(entries)} trial(s){where}"
        return Stop(self._space.best_so_far(entries), words)

    def _progress(self, choice: Choice, entries: Sequence[Entry[Choice]]) -> str:
        words = f"trial {len(entries) + 1}: {self._space.title(choice)}"
        ran = [outcome_of(entry, self._options.budget).verdict for entry in entries if entry.ran]
        if not ran:
            return words
        closest = min(ran, key=lambda verdict: verdict.excess)
        minutes = fmean(entry.elapsed_s for entry in entries) / 60
        return f"{words}; mean drop so far {closest.worst_mean_drop:.5f}; about {minutes:.1f} min per trial"

    def _with_looks(self, judgement: Judgement) -> Judgement:
        """Log the judgement and add the earlier looks at these images to it, before its result is shown to anybody."""
        if judgement.split is not Split.TEST:
            return judgement
        line = LoggedLook(
            weights=weights_of(judgement.baseline),
            images=tuple(sorted(images_of(self._splits.judged, self._checked))),
            look=Look(candidate=judgement.candidate, limits=judgement.budget.limits, met=False),
        )
        looks = log_look(line, lambda before: not replace(judgement, looks=before).failures)
        return replace(judgement, looks=looks)

    def _judge(self, candidate: ModelPackage, entry: Entry[Choice]) -> Judgement:
        """Measure the frozen candidate once on this CPU and once under the ISA of an older CPU."""
        options, cases = self._options, self._splits.judged
        split = self._splits.judged_on
        options.report(f"judging the choice on {len(cases)} {split} case(s)")
        if cases == self._splits.searched and entry.isas:
            return self._judgement(entry, candidate, entry.records, entry.isas)
        masks = self._setup.masks
        records, executed = measure_package(candidate, cases, masks, self._setup.subjects, options.runtime)
        job = make_job(candidate, cases, masks, executed.shapes, options.runtime)
        again = partial(options.report, f"judging it again with {Isa.AVX2} convolutions")
        isa = avx2_record(job, IsaAnswer(records, executed, ()), options.budget, again)
        shares = [int8_share(executed.all_layers), *([] if isa.int8_share is None else [isa.int8_share])]
        # at the sizes of these cases: the plugin decides on INT8 by size
        entry = msgspec.structs.replace(entry, layers=executed.layers, int8_share=min(shares))
        return self._judgement(entry, candidate, records, (isa,))

    def _judgement(
        self,
        entry: Entry[Choice],
        candidate: ModelPackage,
        records: Sequence[AccuracyCase],
        isas: Sequence[IsaRecord],
    ) -> Judgement:
        space, budget = self._space, self._options.budget
        trials = [
            trial_record(each, space.facts(each), outcome_of(each, budget) if each.ran else None)
            for each in self._journal.entries
        ]
        return Judgement(
            change=space.traits.change,
            baseline=space.package,
            cohort=self._splits.cohort,
            budget=budget,
            records=records,
            share=entry.int8_share,
            isas=isas,
            kernels=kernel_shares([layer for layers in entry.layers.values() for layer in layers]),
            searched_on=self._splits.searched_on,
            seen_images=images_of(self._splits.seen, self._checked),
            candidate=candidate_of(candidate),
            looks=(),
            limits=tuple(limits_of_images(list(self._checked.values()), space.package.spec)),
            trials=trials,
            facts=space.facts(entry),
            threads=_threads(self._options),
            versions=tool_versions(space.traits.tools),
        )

    def _none_found(self, stop: Stop[Choice], target: Path) -> BudgetError:
        """Return the refusal for the closest trial, on search data; the test split was not looked at."""
        closest = self._space.closest(list(self._journal.entries))
        if closest is None:
            self._space.finish(Ending(stop, failures=(stop.reason,)), self._report_folder(target))
            return _refusal([stop.reason, *{entry.problem: None for entry in self._journal.entries}])
        _, trial = self._journal.entry(closest.choice)
        candidate = self._space.write(closest, trial, self._setup.scratch / "closest")
        judgement = self._judgement(closest, candidate, closest.records, closest.isas)
        return self._refused(stop, judgement, candidate, target)

    def _refused(self, stop: Stop[Choice], judgement: Judgement, candidate: ModelPackage, target: Path) -> BudgetError:
        why = () if stop.chosen is not None else (stop.reason,)
        failures = tuple(filter(None, (*why, *judgement.failures, judgement.smallest_budget)))
        self._write_report(Ending(stop, failures=failures), judgement, candidate, target)
        return _refusal(failures)

    def _report_folder(self, target: Path) -> Path:
        """Return the folder of the report: the user's, else one beside the package for a report without patients."""
        folder = self._options.report_folder or target.with_name(f"{target.name}-report")
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _write_report(
        self, ending: Ending[Choice], judgement: Judgement, candidate: ModelPackage, target: Path
    ) -> None:
        folder = self._report_folder(target)
        page = write_search_report(ending, judgement, candidate, self._setup, folder)
        self._options.report(f"report: {page}")
        self._space.finish(ending, folder)


def _refusal(failures: Sequence[str]) -> BudgetError:
    return BudgetError(f"the accuracy budget is not met: {'; '.join(failures)}; no package was written")
