"""The space of a quantisation: settings of NNCF from the fastest to the safest, then layers back in float."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING, Final

import msgspec

from brain_edge.engine.segmenter import Segmenter
from brain_edge.evaluation.cohort import load_case, study_for
from brain_edge.evaluation.evidence import Change, FloatLayer, Isa, IsaRecord
from brain_edge.package import ModelPackage, NumberFormat, Precision, graph_path
from brain_edge.runtime.graph_file import read_graph
from brain_edge.spec import Value
from brain_edge_conversion.budget.budget import AccuracyBudget, judge
from brain_edge_conversion.budget.capture import capture_inputs
from brain_edge_conversion.budget.coverage import LayerCost, int8_share
from brain_edge_conversion.budget.isa import isa_record, make_job, measure_package
from brain_edge_conversion.budget.measure import write_baseline
from brain_edge_conversion.convert.versions import tool_versions
from brain_edge_conversion.quantize.ladder import Setting
from brain_edge_conversion.quantize.networks import quantise
from brain_edge_conversion.quantize.policy import Group, Rank, Trial, TrialOutcome, best, least_reverted, next_trial
from brain_edge_conversion.quantize.ranking import COST_FACTORS, rank_groups
from brain_edge_conversion.sealing.graph import save_graph
from brain_edge_conversion.search.journal import Entry, Log, hashes
from brain_edge_conversion.search.judgement import outcome_of
from brain_edge_conversion.search.space import Facts, Traits

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from brain_edge.evaluation.cohort import Case
    from brain_edge.image.volume import Study, Volume
    from brain_edge.spec import ModelSpec
    from brain_edge_conversion.quantize.ladder import FloatEnds
    from brain_edge_conversion.search.options import SearchOptions
    from brain_edge_conversion.search.space import Ending, Stop, TrialSetup

RANKING: Final = "ranking.jsonl"
TOOLS: Final = ("openvino", "nncf", "brain-edge")
"""What quantises and measures; PyTorch is not needed any more."""


class Int8Question(Value, frozen=True):
    """What is tried. The budget is part of it: it decides which trials are measured under other instructions."""

    ladder: tuple[Setting, ...]
    budget: AccuracyBudget


class Int8Space:
    """INT8 packages of one FP32 package; a `Space`.

    Args:
        package: in floating point.
        ladder: settings to try, the fastest first.
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

    def question(self, options: SearchOptions) -> Int8Question:
        """Ladder and budget."""
        return Int8Question(self._ladder, options.budget)

    def prepare(self, setup: TrialSetup[Trial]) -> None:
        """Collect what the networks are given on the calibration cases, on disk."""
        self._setup, self._options = setup, setup.options
        self._options.report(f"collecting network inputs from {len(setup.splits.calibration)} calibration case(s)")
        studies = _studies(setup.splits.calibration, self.package.spec)
        self._inputs = capture_inputs(self.package, studies, setup.scratch, self._options.runtime)
        self._ranking = Log(setup.journal.folder / RANKING, tuple[Group, ...])

    def segment_baseline(self, cases: Sequence[Case]) -> None:
        """Keep the masks of the FP32 package."""
        options = self._options
        segmenter = Segmenter.open(self.baseline, options.runtime)
        write_baseline(segmenter, cases, self._setup.masks, options.budget.unbound)

    def next(self, entries: Sequence[Entry[Trial]]) -> Trial | Stop[Trial]:
        """What the policy says; groups of layers are ranked when it asks for them."""
        history = self._history(entries)
        ranked = next(iter(self._ranking), None)
        decision = next_trial(history, self._ladder, ranked, self._options.budget.min_int8_share)
        if not isinstance(decision, Rank):
            return decision
        _, folder = self._setup.journal.entry(decision.base)
        self._ranking.append(
            rank_groups(self.package, folder, self._inputs, self._options.runtime, self._options.report)
        )
        return self.next(entries)

    def best_so_far(self, entries: Sequence[Entry[Trial]]) -> Trial | None:
        """The fewest groups in float that meet the budget."""
        return least_reverted(self._history(entries))

    def closest(self, entries: Sequence[Entry[Trial]]) -> Entry[Trial] | None:
        """The trial that exceeds its limits least among those that quantise enough, or that which quantises most."""
        history = self._history(entries)
        found = best(history, self._options.budget.min_int8_share) or max(history, key=lambda each: each.int8_share)
        return entries[history.index(found)]

    def title(self, choice: Trial) -> str:
        """Setting, and groups of layers back in float."""
        groups = f", {len(choice.reverted)} group(s) of layers back in float" if choice.reverted else ""
        return choice.setting.title + groups

    def attempt(self, choice: Trial, folder: Path) -> Entry[Trial]:
        """Quantise every graph and measure the masks; with older instructions too where they are within the budget."""
        start, setup, options = time.monotonic(), self._setup, self._options
        shutil.rmtree(folder, ignore_errors=True)  # what an interrupted trial has left
        quantise_package(choice, self.package, self._inputs, folder)
        candidate, cases = candidate_in(folder, self.package), setup.splits.searched
        records, executed = measure_package(candidate, cases, setup.masks, setup.subjects, options.runtime)
        share = int8_share(executed.all_layers)
        isas: tuple[IsaRecord, ...] = ()
        if judge(records, share, options.budget).met:
            options.report(f"measuring again with {Isa.AVX2} convolutions")
            job = make_job(candidate, cases, setup.masks, executed.shapes, options.runtime)
            isas = (isa_record(Isa.AVX2, job, options.budget),)
        return Entry(
            choice=choice,
            records=records,
            int8_share=min([share, *(isa.int8_share for isa in isas if isa.int8_share is not None)]),
            isas=isas,
            layers=executed.layers,
            files=hashes(folder, executed.layers),
            elapsed_s=time.monotonic() - start,
        )

    def write(self, _entry: Entry[Trial], trial: Path, draft: Path) -> ModelPackage:
        """Copy the graphs of the trial; the package says what it was made of and with."""
        shutil.copytree(trial / "graphs", draft / "graphs")
        manifest = msgspec.structs.replace(
            candidate_in(draft, self.package).manifest,
            made_with=self.package.manifest.made_with | tool_versions(TOOLS),
            converted_from=self.package.digest,
        )
        return ModelPackage(draft, manifest)

    def facts(self, entry: Entry[Trial]) -> Facts:
        """The setting, and which layers stayed in float for which reason."""
        choice = entry.choice
        return Facts(
            changes=(choice.setting.title,),
            reverted=tuple(f"{group.graph}: {layer}" for group in choice.reverted for layer in group.layers),
            float_layers=float_layers(entry),
            cost_factors=COST_FACTORS,
        )

    def finish(self, _ending: Ending[Trial], _folder: Path) -> None:
        """Nothing: the report says it all."""

    def _history(self, entries: Sequence[Entry[Trial]]) -> list[TrialOutcome]:
        judged = [(entry, outcome_of(entry, self._options.budget)) for entry in entries]
        return [
            TrialOutcome(trial=entry.choice, excess=found.excess, int8_share=entry.int8_share, met=found.met)
            for entry, found in judged
        ]


def quantise_package(trial: Trial, package: ModelPackage, inputs: Mapping[str, Sequence[Path]], folder: Path) -> None:
    """Quantise every graph of a package into a folder."""
    for graph in package.spec.graphs:
        model = read_graph(package.graph_file(graph), package.spec)
        keep = {layer for group in trial.reverted if group.graph == graph for layer in group.layers}
        save_graph(quantise(model, inputs[graph], trial.setting, keep), folder / graph_path(graph), package.spec)


def candidate_in(folder: Path, package: ModelPackage) -> ModelPackage:
    """The quantised graphs of a trial as a package that is not sealed yet."""
    return ModelPackage(folder, msgspec.structs.replace(package.manifest, number_format=NumberFormat.INT8))


def float_layers(entry: Entry[Trial]) -> tuple[FloatLayer, ...]:
    """What stayed in floating point in a trial, and why."""
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
        return "reverted by the search: its quantisation costs most accuracy per time"
    if layer.quantised:
        return f"quantised, but OpenVINO has no integer kernel for it here and runs {layer.kernel or 'another'}"
    return f"NNCF leaves it in float, or the setting does (ends in float: {ends})"


def _studies(cases: Sequence[Case], spec: ModelSpec) -> Iterator[Study | Volume]:
    for case in cases:
        yield study_for(load_case(case)[0], spec)
