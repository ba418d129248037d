"""The search: asks the policy what to try, tries it, writes it down. It never sees the test split."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

import msgspec

from brain_edge.evaluation.evidence import FloatLayer, IsaRecord
from brain_edge.package import ModelPackage, NumberFormat, graph_path
from brain_edge.runtime.session import read_graph
from brain_edge_conversion.budget.budget import judge
from brain_edge_conversion.budget.coverage import LayerCost, int8_share, layer_costs, with_kernels
from brain_edge_conversion.budget.isa import AVX2, isa_record, make_job
from brain_edge_conversion.budget.kernels import input_shapes, package_kernels
from brain_edge_conversion.budget.measure import measure
from brain_edge_conversion.convert.trace import save_graph
from brain_edge_conversion.quantize.journal import Entry, hashes
from brain_edge_conversion.quantize.networks import quantise
from brain_edge_conversion.quantize.policy import Rank, Stop, TrialOutcome, next_trial, out_of_time
from brain_edge_conversion.quantize.ranking import rank_groups

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from brain_edge.evaluation.cohort import Case
    from brain_edge.machine.options import RuntimeOptions
    from brain_edge_conversion.budget.budget import AccuracyBudget, Verdict
    from brain_edge_conversion.quantize.journal import Journal
    from brain_edge_conversion.quantize.ladder import FloatEnds, Setting
    from brain_edge_conversion.quantize.policy import Trial


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is quantised, on what, within what.

    Attributes:
        package: in floating point.
        inputs: per graph, the inputs that set the ranges of activations.
        cases: search data, never of the test split.
        subjects: case number -> number of the person.
        masks: where the baseline's masks lie.
        budget: the limits.
        ladder: settings to try, the fastest first.
        runtime: threads.
        report: told one line at a time.
        time_limit_min: minutes after which no trial begins, however often the search was interrupted; there is one
            trial in any case. None for as many as it takes.
    """

    package: ModelPackage
    inputs: Mapping[str, Sequence[Path]]
    cases: Sequence[Case]
    subjects: Mapping[int, int]
    masks: Path
    budget: AccuracyBudget
    ladder: Sequence[Setting]
    runtime: RuntimeOptions
    report: Callable[[str], None]
    time_limit_min: float | None = None


def search(problem: Problem, journal: Journal) -> Stop:
    """Try until the policy stops; every trial is in the journal before the next one begins."""
    while True:
        outcomes = [entry.outcome for entry in journal.entries]
        decision = next_trial(outcomes, problem.ladder, journal.ranking, problem.budget.min_int8_share)
        if not isinstance(decision, Stop) and _is_over(problem.time_limit_min, journal):
            decision = out_of_time(outcomes, problem.time_limit_min or 0.0)
        if isinstance(decision, Stop):
            problem.report(decision.reason)
            return decision
        if isinstance(decision, Rank):
            trial = journal.trial_folder([outcome.trial for outcome in outcomes].index(decision.base))
            ranked = rank_groups(problem.package, trial, problem.inputs, problem.runtime, problem.report)
            journal.save_ranking(ranked)
            continue
        problem.report(_progress(decision, problem, journal))
        journal.append(_try(decision, problem, journal.trial_folder(len(journal.entries))))


def _is_over(limit_min: float | None, journal: Journal) -> bool:
    return limit_min is not None and 0 < limit_min * 60.0 <= sum(entry.elapsed_s for entry in journal.entries)


def quantise_package(
    trial: Trial, package: ModelPackage, inputs: Mapping[str, Sequence[Path]], folder: Path
) -> dict[str, tuple[LayerCost, ...]]:
    """Quantise every graph of a package into a folder; what became integer, per graph."""
    import openvino as ov

    layers, shapes = {}, input_shapes(inputs)
    for graph in package.spec.graphs:
        model = read_graph(ov.Core(), package.graph_file(graph), package.spec)
        keep = {layer for group in trial.reverted if group.graph == graph for layer in group.layers}
        quantised = quantise(model, inputs[graph], trial.setting, keep)
        save_graph(quantised, folder / graph_path(graph), package.spec)
        layers[graph] = layer_costs(quantised, shapes[graph])
    return layers


def candidate_in(folder: Path, package: ModelPackage) -> ModelPackage:
    """The quantised graphs of a trial as a package that is not sealed yet."""
    return ModelPackage(folder, msgspec.structs.replace(package.manifest, number_format=NumberFormat.INT8))


def share_of(layers: Mapping[str, Sequence[LayerCost]]) -> float:
    """Share of the multiply-adds that are integer, over all graphs."""
    return int8_share([layer for graph in layers.values() for layer in graph])


def float_layers(entry: Entry) -> tuple[FloatLayer, ...]:
    """What stayed in floating point in a trial, and why."""
    reverted = {(group.graph, layer) for group in entry.outcome.trial.reverted for layer in group.layers}
    ends = entry.outcome.trial.setting.float_ends
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


def _try(trial: Trial, problem: Problem, folder: Path) -> Entry:
    start = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)  # what an interrupted trial has left
    quantised = quantise_package(trial, problem.package, problem.inputs, folder)
    candidate = candidate_in(folder, problem.package)
    kernels = package_kernels(candidate, input_shapes(problem.inputs), problem.runtime)
    layers = {graph: with_kernels(quantised[graph], kernels[graph]) for graph in quantised}
    share = share_of(layers)
    records = measure(candidate, problem.cases, problem.masks, problem.subjects, problem.runtime)
    verdict = judge(records, share, problem.budget)
    isas = _other_isas(candidate, layers, problem) if verdict.met else ()
    return Entry(
        outcome=_outcome(trial, verdict, share, isas),
        records=records,
        isas=isas,
        layers=layers,
        files=hashes(folder, layers),
        elapsed_s=time.monotonic() - start,
    )


def _other_isas(
    candidate: ModelPackage, layers: Mapping[str, Sequence[LayerCost]], problem: Problem
) -> tuple[IsaRecord, ...]:
    problem.report(f"measuring again with {AVX2} instructions")
    job = make_job(candidate, problem.cases, problem.masks, input_shapes(problem.inputs), problem.runtime)
    return (isa_record(AVX2, job, layers, problem.budget),)


def _outcome(trial: Trial, verdict: Verdict, share: float, isas: Sequence[IsaRecord]) -> TrialOutcome:
    excesses = [verdict.excess, *(isa.excess for isa in isas if isa.excess is not None)]
    met = verdict.met and all(isa.met for isa in isas if isa.verified)
    shares = [share, *(isa.int8_share for isa in isas if isa.int8_share is not None)]
    # a finite number, since infinity is not JSON
    return TrialOutcome(trial=trial, excess=min(max(excesses), 1e9), int8_share=min(shares), met=met)


def _progress(trial: Trial, problem: Problem, journal: Journal) -> str:
    done = len(journal.entries)
    what = trial.setting.title
    if trial.reverted:
        what += f", {len(trial.reverted)} of {len(journal.ranking or ())} group(s) of layers back in float"
    words = f"trial {done + 1}: {what}"
    if not done:
        return words
    verdicts = [judge(entry.records, entry.outcome.int8_share, problem.budget) for entry in journal.entries]
    closest = min(verdicts, key=lambda verdict: verdict.excess)
    rungs = max(0, len(problem.ladder) - done)
    left_s = (rungs or 1) * fmean(entry.elapsed_s for entry in journal.entries)
    end = "to the end of the ladder" if rungs else "per trial"
    return f"{words}; mean drop so far {closest.worst_mean_drop:.5f}; about {left_s / 60:.1f} min {end}"
