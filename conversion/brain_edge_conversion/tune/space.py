"""Search space of a tuning: settings of a package, each dial from the package's own level to its cheapest.

Counted operations decide which setting is cheaper; times are measured and reported only
(`docs/decisions/0020-tune-counts-operations.md`).
"""

from __future__ import annotations

import math
import time
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from brain_edge.bench.counted import Input
from brain_edge.errors import BrainEdgeError, MissingExtraError
from brain_edge.evaluation.evidence import Change
from brain_edge.package import ModelPackage
from brain_edge.spec import Value
from brain_edge_conversion.budget.budget import judge
from brain_edge_conversion.budget.measure import measure, write_baseline, write_mask_of
from brain_edge_conversion.convert.versions import tool_versions
from brain_edge_conversion.search.journal import Entry, Log
from brain_edge_conversion.search.judgement import outcome_of
from brain_edge_conversion.search.space import Facts, Stop, Traits
from brain_edge_conversion.tune.candidate import Candidate, Ledger
from brain_edge_conversion.tune.plot import draw
from brain_edge_conversion.tune.policy import SettingOutcome, cheapest, next_setting
from brain_edge_conversion.tune.report import setting_reports, tuning_report, write_tuning
from brain_edge_conversion.tune.settings import Arithmetic, Setting
from brain_edge_conversion.tune.timed import time_settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from brain_edge.evaluation.cohort import Case
    from brain_edge.package import Manifest
    from brain_edge_conversion.search.options import SearchOptions
    from brain_edge_conversion.search.space import Ending, TrialSetup
    from brain_edge_conversion.tune.settings import Dials


class SettingsQuestion(Value, frozen=True):
    """Settings of the search. The budget is not part of the question: measurements hold for every budget."""

    int8: str | None
    dials: tuple[tuple[str, ...], ...]


class BaselineCost(Value, frozen=True):
    """Case whose mask by the package as it is has been kept, and its cost in f32 multiply-accumulates."""

    case: int
    operations: float


class SettingsSpace:
    """Cheaper settings of one package; a `Space`.

    Args:
        package: package with trained weights.
        int8: package quantised from `package`, whose graphs may be used.
        dials: dials of the package.
        rounds: number of cold runs of each setting for the times in the report.
    """

    traits = Traits(
        change=Change.TUNED,
        entry=Entry[Setting],
        tools=("openvino", "brain-edge"),
        calibrates=False,
        keeps_masks=True,
        reports_always=True,
    )

    def __init__(self, package: ModelPackage, int8: ModelPackage | None, dials: Dials, rounds: int) -> None:
        self.package = self.baseline = package
        self._int8 = int8
        self._dials = dials
        self._rounds = rounds
        self._ledger = Ledger()

    def question(self, _options: SearchOptions) -> SettingsQuestion:
        """Return every level of every dial."""
        return SettingsQuestion(None if self._int8 is None else self._int8.digest, self._dials.words)

    def prepare(self, setup: TrialSetup[Setting]) -> None:
        """Read the stored costs of the package as it is."""
        self._setup, self._options = setup, setup.options
        self._costs = Log(setup.journal.folder / "baseline.jsonl", BaselineCost)

    def segment_baseline(self, cases: Sequence[Case]) -> None:
        """Keep the masks of the package as it is, and their cost."""
        masks, count, known = self._setup.masks, Counter[Input](), {cost.case for cost in self._costs}
        segmenter = self._candidate(self._dials.full).open(self._options.runtime, count)
        for case in cases:
            if case.number not in known:
                self._options.report(f"segmenting case {case.number} with the package as it is")
                count.clear()
                write_mask_of(segmenter, case, masks)
                self._costs.append(BaselineCost(case.number, self._ledger.operations(self.package, count)))
        write_baseline(segmenter, cases, masks, self._options.budget.unbound)

    def next(self, entries: Sequence[Entry[Setting]]) -> Setting | Stop[Setting]:
        """Return the policy's decision."""
        return next_setting(self._dials.sizes, self._history(entries))

    def best_so_far(self, entries: Sequence[Entry[Setting]]) -> Setting | None:
        """Return the cheapest setting that meets the budget, or None."""
        history = self._history(entries)
        return cheapest(history) if any(outcome.met for outcome in history) else None

    def closest(self, entries: Sequence[Entry[Setting]]) -> Entry[Setting] | None:
        """Return the trial with the smallest excess."""
        ran = [entry for entry in entries if entry.ran]
        return min(ran, key=lambda entry: outcome_of(entry, self._options.budget).excess, default=None)

    def title(self, choice: Setting) -> str:
        """Describe the differences from the package as it is."""
        return self._dials.title(choice)

    def attempt(self, choice: Setting, _folder: Path) -> Entry[Setting]:
        """Run the package in a setting; a network that cannot take the setting's input is a finding, not an error."""
        start, count, setup = time.monotonic(), Counter[Input](), self._setup
        try:
            candidate = self._candidate(choice)
            segmenter = candidate.open(self._options.runtime, count)
            records = measure(segmenter, setup.splits.searched, setup.masks, setup.subjects)
        except (BrainEdgeError, ValueError) as error:
            return Entry(choice=choice, problem=str(error), elapsed_s=time.monotonic() - start)
        operations = self._ledger.operations(candidate.graphs, count)
        return Entry(choice=choice, operations=operations, records=records, elapsed_s=time.monotonic() - start)

    def write(self, entry: Entry[Setting], _trial: Path, draft: Path) -> ModelPackage:
        """Write the graphs that the setting needs, with its steps."""
        chosen = self._candidate(entry.choice)
        chosen.write_graphs(draft)
        return ModelPackage(draft, _manifest(chosen, self.package))

    def facts(self, entry: Entry[Setting]) -> Facts:
        """Return the changes, and the operations before and after."""
        is_int8 = self._dials.numbers(entry.choice) is Arithmetic.INT8
        return Facts(
            changes=self._dials.changes(entry.choice),
            graphs_from=self._int8.digest if is_int8 and self._int8 is not None else None,
            operations_baseline=self._operations_of(self._setup.splits.searched),
            operations_candidate=entry.operations,
        )

    def finish(self, ending: Ending[Setting], folder: Path) -> None:
        """Time every setting that could run in cold processes; write table, figures and plot."""
        setup, entries = self._setup, list(self._setup.journal.entries)
        settings = (self._dials.full, *(entry.choice for entry in entries if entry.ran))
        candidates = {setting: self._candidate(setting) for setting in settings}
        samples = time_settings(candidates, setup, self._rounds)
        baseline = self._operations_of(setup.splits.searched)
        rows = setting_reports(self._dials, entries, self._options.budget, baseline, samples)
        report = tuning_report(self.package, self._dials, setup, ending, rows)
        self._options.report(f"times: {write_tuning(report, folder)}")
        try:
            draw(report, folder)
        except MissingExtraError as error:
            self._options.report(f"no plot: {error}")

    def _history(self, entries: Sequence[Entry[Setting]]) -> list[SettingOutcome]:
        full = self._operations_of(self._setup.splits.searched)
        return [self._outcome(entry, full) for entry in entries]

    def _outcome(self, entry: Entry[Setting], full: float) -> SettingOutcome:
        resampling = self._dials.resampling(entry.choice)
        if not entry.ran or entry.operations is None:
            return SettingOutcome(entry.choice, math.inf, resampling, math.inf, met=False)
        verdict = judge(entry.records, 0.0, self._options.budget)
        # a setting with as many operations as the package as it is saves nothing
        gains = entry.operations < full or (entry.operations == full and resampling > 0)
        return SettingOutcome(entry.choice, entry.operations, resampling, verdict.excess, met=verdict.met and gains)

    def _operations_of(self, cases: Sequence[Case]) -> float:
        known = {cost.case: cost.operations for cost in self._costs}
        return sum(known[case.number] for case in cases)

    def _candidate(self, setting: Setting) -> Candidate:
        return Candidate.of(self._dials, setting, self.package, self._int8)


def _manifest(chosen: Candidate, package: ModelPackage) -> Manifest:
    """Return the manifest of the tuned package before its judgement: only what still holds for its graphs and steps."""
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
        evidence=None,
        made_with=manifest.made_with | tool_versions(SettingsSpace.traits.tools),
        converted_from=manifest.converted_from or package.digest,
        files={},
    )
