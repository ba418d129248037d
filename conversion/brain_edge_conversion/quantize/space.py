"""Search space of a quantisation: NNCF settings from the fastest to the safest, then layers back in float."""

from __future__ import annotations

import math
import shutil
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from brain_edge.bench.child import CrashError
from brain_edge.engine.segmenter import Segmenter
from brain_edge.errors import UsageError
from brain_edge.evaluation.cohort import load_case, study_for
from brain_edge.evaluation.evidence import Change, FloatLayer, Isa, IsaRecord
from brain_edge.package import ModelPackage, NumberFormat, Precision, graph_path
from brain_edge.runtime.graph_file import read_graph
from brain_edge.spec import Value
from brain_edge_conversion.budget.budget import AccuracyBudget, judge
from brain_edge_conversion.budget.capture import capture_inputs
from brain_edge_conversion.budget.coverage import LayerCost, int8_share
from brain_edge_conversion.budget.isa import avx2_record, make_job, measure_apart
from brain_edge_conversion.budget.measure import write_baseline
from brain_edge_conversion.convert.quantised import quantised_node
from brain_edge_conversion.convert.versions import tool_versions
from brain_edge_conversion.quantize.calibration_inputs import fit_warnings, is_one_person, require_contrast
from brain_edge_conversion.quantize.graphs import GraphMaker, Tuition
from brain_edge_conversion.quantize.ladder import Setting
from brain_edge_conversion.quantize.policy import Group, Rank, Trial, TrialOutcome, best, least_reverted, next_trial
from brain_edge_conversion.quantize.ranking import COST_FACTORS, rank_groups
from brain_edge_conversion.sealing.graph import save_graph
from brain_edge_conversion.search.journal import Entry, Log, hashes
from brain_edge_conversion.search.judgement import outcome_of
from brain_edge_conversion.search.options import SearchOptions
from brain_edge_conversion.search.space import Facts, Traits
from brain_edge_conversion.search.time_limit import processor_s, report_within_limit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from brain_edge.evaluation.cohort import Case
    from brain_edge.image.volume import Study, Volume
    from brain_edge.spec import ModelSpec
    from brain_edge_conversion.quantize.ladder import FloatEnds
    from brain_edge_conversion.search.space import Ending, Stop, TrialSetup

RANKING: Final = "ranking.jsonl"
TOOLS: Final = ("openvino", "nncf", "brain-edge")
"""Tools that quantise and measure; PyTorch is needed for a distillation alone."""
HELD_OUT: Final = "held-out"
"""Folder of network inputs from the search data, which a distillation is examined on."""


class Int8Question(Value, frozen=True):
    """Trials of the search. The budget is part of it: it decides which trials are measured under an older ISA."""

    ladder: tuple[Setting, ...]
    budget: AccuracyBudget


class Int8Space:
    """INT8 packages of one FP32 package; a `Space`.

    Args:
        package: floating-point package.
        ladder: settings to try, fastest first.
    """

    traits = Traits(
        change=Change.QUANTIZED,
        entry=Entry[Trial],
        tools=TOOLS,
        calibrates=True,
        keeps_masks=False,
        reports_always=False,
    )

    def __init__(self, package: ModelPackage, ladder: Sequence[Setting]) -> None:
        self.package, self.baseline = package, package.in_precision(Precision.F32)
        self._ladder = tuple(ladder)
        if any(setting.distilled for setting in ladder):
            self.traits = replace(self.traits, tools=(*TOOLS, "torch"))

    def question(self, options: SearchOptions) -> Int8Question:
        """Return ladder and budget."""
        return Int8Question(self._ladder, options.budget)

    def prepare(self, setup: TrialSetup[Trial]) -> None:
        """Collect the inputs of the networks on the calibration cases, on disk.

        Raises:
            InputError: a calibration case is refused, or no network input has contrast.
        """
        self._setup, self._options = setup, setup.options
        self._options.report(f"collecting network inputs from {len(setup.splits.calibration)} calibration case(s)")
        studies = _studies(setup.splits.calibration, self.package.spec)
        self._inputs = capture_inputs(self.package, studies, setup.scratch, self._options.runtime)
        require_contrast(self._inputs)
        self._examined: Mapping[str, Sequence[Path]] | None = None
        self._ranking = Log(setup.journal.folder / RANKING, tuple[Group, ...])

    def segment_baseline(self, cases: Sequence[Case]) -> None:
        """Keep the masks of the FP32 package."""
        options = self._options
        segmenter = Segmenter.open(self.baseline, options.runtime)
        write_baseline(segmenter, cases, self._setup.masks, options.budget.unbound)

    def next(self, entries: Sequence[Entry[Trial]]) -> Trial | Stop[Trial]:
        """Return the policy's decision; groups of layers are ranked on its request."""
        history = self._history(entries)
        ranked = next(iter(self._ranking), None)
        decision = next_trial(history, self._ladder, ranked, self._options.budget.min_int8_share)
        if not isinstance(decision, Rank):
            return decision
        _, folder = self._setup.journal.entry(decision.base)
        originals = {graph: self._maker(graph).original(decision.base.setting) for graph in self.package.spec.graphs}
        self._ranking.append(rank_groups(originals, folder, self._inputs, self._options.runtime, self._options.report))
        return self.next(entries)

    def best_so_far(self, entries: Sequence[Entry[Trial]]) -> Trial | None:
        """Return the trial with the fewest groups in float that meets the budget, or None."""
        return least_reverted(self._history(entries))

    def closest(self, entries: Sequence[Entry[Trial]]) -> Entry[Trial] | None:
        """Return the trial with the smallest excess among those that quantise enough, else the one with most INT8."""
        ran = [entry for entry in entries if entry.ran]
        history = self._history(ran)
        found = best(history, self._options.budget.min_int8_share)
        found = found or max(history, key=lambda each: each.int8_share, default=None)
        return None if found is None else ran[history.index(found)]

    def title(self, choice: Trial) -> str:
        """Describe the setting and the layers back in float: their names, or their number of groups."""
        if len(choice.reverted) == 1:
            return f"{choice.setting.title}, {' and '.join(choice.reverted[0].layers)} back in float"
        groups = f", {len(choice.reverted)} group(s) of layers back in float" if choice.reverted else ""
        return choice.setting.title + groups

    def attempt(self, choice: Trial, folder: Path) -> Entry[Trial]:
        """Quantise every graph and measure the masks; if they meet the budget, measure under an older ISA too.

        A setting that cannot be made or run is a finding, not an error.

        Raises:
            TimeOverError: the time limit is over while weights are fitted.
        """
        start, start_cpu_s = time.monotonic(), processor_s()
        setup, options = self._setup, self._options
        shutil.rmtree(folder, ignore_errors=True)  # left by an interrupted trial
        candidate, cases = candidate_in(folder, self.package), setup.splits.searched
        try:
            within = replace(options, report=report_within_limit(options, setup.journal))
            quantise_package(choice, self.package, self._inputs, folder, within, self._tuition(choice))
            answer = measure_apart(make_job(candidate, cases, setup.masks, None, options.runtime))
        except CrashError as error:
            options.report(f"the trial could not run: {error}")
            return Entry(choice=choice, problem=str(error), elapsed_s=time.monotonic() - start)
        records, executed = answer.records, answer.executed
        share = int8_share(executed.all_layers)
        isas: tuple[IsaRecord, ...] = ()
        if judge(records, share, options.budget).met:
            job = make_job(candidate, cases, setup.masks, executed.shapes, options.runtime)
            again = partial(options.report, f"measuring again with {Isa.AVX2} convolutions")
            isas = (avx2_record(job, answer, options.budget, again),)
        return Entry(
            choice=choice,
            records=records,
            int8_share=least_share(share, isas),
            isas=isas,
            layers=executed.layers,
            files=hashes(folder, executed.layers),
            elapsed_s=time.monotonic() - start,
            cpu_s=processor_s() - start_cpu_s,
        )

    def write(self, _entry: Entry[Trial], trial: Path, draft: Path) -> ModelPackage:
        """Copy the graphs of the trial; the package states its baseline and the tools."""
        shutil.copytree(trial / "graphs", draft / "graphs")
        manifest = msgspec.structs.replace(
            candidate_in(draft, self.package).manifest,
            made_with=self.package.manifest.made_with | tool_versions(self.traits.tools),
            converted_from=self.package.digest,
        )
        return ModelPackage(draft, manifest)

    def facts(self, entry: Entry[Trial]) -> Facts:
        """Return the setting, and the layers that stayed in float with the reason."""
        choice = entry.choice
        return Facts(
            changes=(choice.setting.title,),
            reverted=tuple(f"{group.graph}: {layer}" for group in choice.reverted for layer in group.layers),
            float_layers=float_layers(entry),
            cost_factors=COST_FACTORS,
            warnings=self._warnings(entry),
        )

    def finish(self, _ending: Ending[Trial], _folder: Path) -> None:
        """Do nothing: the report is already complete."""

    def _warnings(self, entry: Entry[Trial]) -> tuple[str, ...]:
        if not is_one_person(self._setup):
            return ()
        trials, searched_on = list(self._setup.journal.entries), self._setup.splits.searched_on
        return fit_warnings(entry, trials, searched_on, self._options.budget)

    def _tuition(self, choice: Trial) -> Tuition | None:
        """Return what a distillation needs; None for a choice without one."""
        if not choice.setting.distilled:
            return None
        return Tuition(self._held_out(), self._setup.journal.folder, self._fitted(choice))

    def _fitted(self, choice: Trial) -> Path | None:
        """Return the folder of the trial that has the weights of a choice before its training."""
        same = Trial(msgspec.structs.replace(choice.setting, distilled=False), choice.reverted)
        if not any(entry.choice == same and entry.ran for entry in self._setup.journal.entries):
            return None
        return self._setup.journal.entry(same)[1]

    def _held_out(self) -> Mapping[str, Sequence[Path]]:
        """Return network inputs of the search data, collected once."""
        splits, folder = self._setup.splits, self._setup.scratch / HELD_OUT
        if splits.searched == splits.calibration:
            return self._inputs
        if self._examined is None:
            self._options.report(f"collecting network inputs from {len(splits.searched)} {splits.searched_on} case(s)")
            folder.mkdir()
            studies = _studies(splits.searched, self.package.spec)
            self._examined = capture_inputs(self.package, studies, folder, self._options.runtime)
        return self._examined

    def _maker(self, graph: str) -> GraphMaker:
        return GraphMaker(self.package, graph, self._inputs[graph], self._options.runtime)

    def _history(self, entries: Sequence[Entry[Trial]]) -> list[TrialOutcome]:
        return [self._outcome(entry) for entry in entries]

    def _outcome(self, entry: Entry[Trial]) -> TrialOutcome:
        if not entry.ran:
            # a trial that could not run has no share, neither enough nor too little
            return TrialOutcome(trial=entry.choice, excess=math.inf, int8_share=math.nan, met=False)
        found = outcome_of(entry, self._options.budget)
        return TrialOutcome(trial=entry.choice, excess=found.excess, int8_share=entry.int8_share, met=found.met)


def require_float(package: ModelPackage) -> None:
    """Refuse a package whose manifest or graphs say that it is quantised.

    Raises:
        UsageError: the package is INT8 already.
    """
    said = [] if package.manifest.number_format is NumberFormat.FP32 else [str(package.manifest.number_format)]
    models = (read_graph(package.graph_file(graph), package.spec) for graph in package.spec.graphs)
    for found in (*said, *filter(None, map(quantised_node, models))):
        raise UsageError(
            f"{package.folder}: expected an FP32 package, got one that is quantised already ({found}); give the FP32 "
            "one"
        )


def quantise_package(
    trial: Trial,
    package: ModelPackage,
    inputs: Mapping[str, Sequence[Path]],
    folder: Path,
    options: SearchOptions | None = None,
    tuition: Tuition | None = None,
) -> None:
    """Quantise every graph of a package into a folder.

    Args:
        trial: setting, and layers that stay in float.
        package: floating-point package.
        inputs: `.npy` files of inputs of each graph.
        folder: folder of the graphs.
        options: threads and progress of a change of weights.
        tuition: held-out inputs and folders of a distillation.
    """
    asked = options or SearchOptions()
    for graph in package.spec.graphs:
        keep = {layer for group in trial.reverted if group.graph == graph for layer in group.layers}
        maker = GraphMaker(package, graph, inputs[graph], asked.runtime)
        model = maker.quantised(trial.setting, keep, asked.report, tuition)
        save_graph(model, folder / graph_path(graph), package.spec)


def candidate_in(folder: Path, package: ModelPackage) -> ModelPackage:
    """Return the quantised graphs of a trial as a package that is not sealed yet."""
    return ModelPackage(folder, msgspec.structs.replace(package.manifest, number_format=NumberFormat.INT8))


def least_share(here: float, isas: Iterable[IsaRecord]) -> float:
    """Return the smallest INT8 share: of this CPU and of each older one that was measured."""
    return min([here, *(isa.int8_share for isa in isas if isa.int8_share is not None)])


def float_layers(entry: Entry[Trial]) -> tuple[FloatLayer, ...]:
    """Return the layers that stayed in floating point in a trial, with the reason."""
    reverted = {(group.graph, layer) for group in entry.choice.reverted for layer in group.layers}
    ends = entry.choice.setting.float_ends
    return tuple(
        FloatLayer(
            graph=graph,
            layer=layer.name,
            kind=layer.kind,
            multiply_adds=layer.multiply_adds,
            reason=_why_float(layer, ends, is_reverted=(graph, layer.name) in reverted),
        )
        for graph, layers in entry.layers.items()
        for layer in layers
        if not layer.integer
    )


def _why_float(layer: LayerCost, ends: FloatEnds, *, is_reverted: bool) -> str:
    if is_reverted:
        return "reverted by the search: its quantisation costs most accuracy per saved time"
    if layer.quantised:
        return f"quantised, but OpenVINO has no integer kernel for it here and runs {layer.kernel or 'another'}"
    return f"left in float by NNCF or by the setting (ends in float: {ends})"


def _studies(cases: Sequence[Case], spec: ModelSpec) -> Iterator[Study | Volume]:
    for case in cases:
        yield study_for(load_case(case)[0], spec)
