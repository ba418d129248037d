"""What each way to INT8 gives a network: plain NNCF, its accuracy control, our ladder, and changed weights.

    ONEDNN_MAX_CPU_ISA=AVX2 python -m benchmarks methods PACKAGE benchmarks/cohorts/t1-heads.toml --work FOLDER

Each method has one or more candidates. The calibration cases of the cohort make them, the validation cases choose the
best one, and the test cases judge it, once, through `Segmenter`. FP32 is the reference where a case has no mask. All
convolutions run under AVX2, and layers that a CPU with AVX2 alone runs in float run in float.

`--trials` names the folder of a finished or running search of `brain-edge quantize` on the same package, heads and
machine, so that its trials need not be made again. Each network and method leaves one record in `results/methods`; a
finished one is not run again. Finished candidates stay in the work folder, so that a killed run goes on with the next
one, and methods share candidates. With `--memory`, a candidate that needs more fails; without, the system may end the
whole comparison. The time of a method is the processor time of its candidates and their validation, so that other
programs hardly change it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from benchmarks.harness.accuracy_control import Control, HeldOut, controlled
from benchmarks.harness.method_record import (
    FOLDER,
    Figures,
    Method,
    MethodRecord,
    Tried,
    record_file,
    write_method,
)
from benchmarks.harness.record import our_versions, this_commit
from brain_edge.bench.child import CrashError
from brain_edge.engine.segmenter import Segmenter
from brain_edge.errors import UsageError
from brain_edge.evaluation.cohort import Split, load_case, load_cohort, study_for
from brain_edge.evaluation.evidence import Isa
from brain_edge.machine.atomic import atomic_file
from brain_edge.machine.description import this_machine
from brain_edge.machine.json import decode_json, decode_json_lines
from brain_edge.machine.options import RuntimeOptions, parse_size
from brain_edge.package import Precision, graph_path, open_package
from brain_edge.spec import Value
from brain_edge_conversion.budget.budget import AccuracyBudget, judge
from brain_edge_conversion.budget.capture import capture_inputs, load_inputs
from brain_edge_conversion.budget.coverage import int8_share
from brain_edge_conversion.budget.isa import VARIABLE, make_job, measure_under
from brain_edge_conversion.budget.measure import write_baseline
from brain_edge_conversion.budget.work_folder import QUESTION
from brain_edge_conversion.mending.targets import target_of
from brain_edge_conversion.quantize.graphs import GraphMaker, Tuition
from brain_edge_conversion.quantize.ladder import LADDER, BiasCorrection, Preset, Setting, Weights
from brain_edge_conversion.quantize.networks import quantise
from brain_edge_conversion.quantize.policy import Trial
from brain_edge_conversion.quantize.quantize import QuantizeOptions, ladder_of
from brain_edge_conversion.quantize.space import Int8Space, candidate_in
from brain_edge_conversion.sealing.graph import save_graph
from brain_edge_conversion.search.journal import TRIALS, Entry
from brain_edge_conversion.search.run import question_of
from brain_edge_conversion.search.time_limit import processor_s

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from brain_edge.evaluation.cohort import Cohort
    from brain_edge.evaluation.evidence import AccuracyCase
    from brain_edge.package import ModelPackage

BUDGET: Final = AccuracyBudget()
MIXED: Final = Setting(preset=Preset.MIXED)
SPLITS: Final = (Split.CALIBRATION, Split.VALIDATION, Split.TEST)
FINISHED: Final = "tried.json"
NOT_POSSIBLE: Final = {
    Method.SCALES: "no scale can move: no two neighbouring convolutions have a ReLU or PReLU between them",
    Method.DISTILLED: "distillation cannot differentiate an operation of the network",
}


class Candidate(Value, frozen=True):
    """One INT8 package of a method.

    Attributes:
        setting: setting of NNCF, and the change of the weights.
        moved: True to move scales between convolutions and to fit nothing.
        iterations: largest number of groups that NNCF's accuracy control sets back to float; 0 without that control.
    """

    setting: Setting
    moved: bool = False
    iterations: int = 0

    @property
    def title(self) -> str:
        """Setting in words."""
        words = "scales moved between neighbouring convolutions, " if self.moved else ""
        control = f", accuracy control with at most {self.iterations} iteration(s)" if self.iterations else ""
        return f"{words}{self.setting.title}{control}"

    @property
    def before(self) -> Candidate | None:
        """The candidate with the weights that a distillation begins from; None without a distillation."""
        setting = self.setting
        return Candidate(msgspec.structs.replace(setting, distilled=False)) if setting.distilled else None

    @property
    def folder(self) -> str:
        """Name of a folder of this candidate alone."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()[:12]


def candidates(package: ModelPackage, iterations: int) -> dict[Method, tuple[Candidate, ...]]:
    """Return the candidates of each method; none where the network does not allow the method."""
    settings = ladder_of(package, QuantizeOptions())
    changed = [setting for setting in settings if setting.weights is not Weights.AS_TRAINED]
    has_pairs = any(setting.weights is Weights.EQUALISED for setting in changed)
    unmended = msgspec.structs.replace(MIXED, bias_correction=BiasCorrection.NONE)
    return {
        Method.PRESETS: tuple(map(Candidate, LADDER[:2])),
        Method.CONTROL: (Candidate(MIXED, iterations=iterations),),
        Method.LADDER: tuple(map(Candidate, LADDER)),
        Method.SCALES: tuple(Candidate(each, moved=True) for each in (MIXED, unmended) if has_pairs),
        Method.FITTED: tuple(Candidate(setting) for setting in changed if not setting.distilled),
        Method.DISTILLED: tuple(Candidate(setting) for setting in changed if setting.distilled),
    }


@dataclass(frozen=True)
class Bench:
    """A network on a cohort, with all that candidates share.

    Attributes:
        package: FP32 package.
        cohort: heads.
        runtime: threads.
        work: folder of this network.
        inputs: split -> graph -> `.npy` files of its inputs.
        trials: trials of a search, by setting, with the folder of each.
        memory_bytes: most data of the process; None for any.
    """

    package: ModelPackage
    cohort: Cohort
    runtime: RuntimeOptions
    work: Path
    inputs: Mapping[Split, Mapping[str, Sequence[Path]]]
    trials: Mapping[Setting, tuple[Entry[Trial], Path]]
    memory_bytes: int | None = None

    @property
    def masks(self) -> Path:
        """Folder of the masks of FP32."""
        return self.work / "masks"

    def tried(self, candidate: Candidate) -> Tried:
        """Return what became of a candidate; it is made and validated if the work folder does not have it."""
        folder = self.work / candidate.folder
        if (folder / FINISHED).is_file():
            return decode_json((folder / FINISHED).read_bytes(), Tried)
        before_s = 0.0 if (before := candidate.before) is None else self.tried(before).cpu_s
        shutil.rmtree(folder / "graphs", ignore_errors=True)
        folder.mkdir(exist_ok=True)
        _say(f"{self.package.spec.name}: {candidate.title}")
        found = self._taken(candidate, folder) or self._made(candidate, folder)
        found = msgspec.structs.replace(found, cpu_s=before_s + found.cpu_s)
        with atomic_file(folder / FINISHED) as partial:  # half a file would end the next call
            partial.write_bytes(msgspec.json.encode(found))
        return found

    def figures(self, candidate: Candidate, split: Split) -> Figures:
        """Measure a candidate on the heads of a split, as a CPU with AVX2 alone runs it.

        Raises:
            CrashError: the candidate cannot run.
        """
        package = candidate_in(self.work / candidate.folder, self.package)
        job = make_job(package, self.cohort.cases(split), self.masks, self._shapes(), self.runtime)
        answer = measure_under(Isa.AVX2, job)
        return figures_of(answer.records, int8_share(answer.executed.all_layers))

    def _taken(self, candidate: Candidate, folder: Path) -> Tried | None:
        """Return a candidate that the search has tried already, with its graphs; None if it has not."""
        if candidate != Candidate(candidate.setting) or candidate.setting not in self.trials:
            return None
        entry, trial = self.trials[candidate.setting]
        if not entry.ran:
            return Tried(title=candidate.title, cpu_s=entry.cpu_s, problem=entry.problem)
        shutil.copytree(trial / "graphs", folder / "graphs")
        figures = figures_of(entry.records, entry.int8_share)
        return Tried(title=candidate.title, cpu_s=entry.cpu_s, validation=figures)

    def _made(self, candidate: Candidate, folder: Path) -> Tried:
        start_s = processor_s()
        try:
            for graph in self.package.spec.graphs:
                save_graph(self._quantised(candidate, graph), folder / graph_path(graph), self.package.spec)
            figures, problem = self.figures(candidate, Split.VALIDATION), ""
        except CrashError as error:
            figures, problem = None, str(error)
        except MemoryError:
            figures, problem = None, "the memory of the process did not suffice"
        return Tried(title=candidate.title, cpu_s=processor_s() - start_s, validation=figures, problem=problem)

    def _quantised(self, candidate: Candidate, graph: str) -> Any:
        """Return one graph of a candidate."""
        inputs, setting = self.inputs[Split.CALIBRATION][graph], candidate.setting
        maker = GraphMaker(self.package, graph, inputs, self.runtime)
        if candidate.moved:
            return quantise(maker.original(Setting(weights=Weights.EQUALISED)), inputs, setting)
        if candidate.iterations:
            model = maker.original(setting)
            stage = next(stage for stage in self.package.spec.stages if graph in stage.network.graphs)
            held_out = HeldOut(self.inputs[Split.VALIDATION][graph], target_of(stage, model))
            return controlled(
                model, inputs, held_out, Control(setting.preset, candidate.iterations, BUDGET.max_dice_drop)
            )
        return maker.quantised(setting, (), _say, self._tuition(candidate))

    def _tuition(self, candidate: Candidate) -> Tuition | None:
        """Return what a distillation needs, with the fitted graphs that it begins from."""
        if candidate.before is None:
            return None
        return Tuition(self.inputs[Split.VALIDATION], self.work / candidate.folder, self.work / candidate.before.folder)

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the largest input of each graph."""
        files = self.inputs[Split.CALIBRATION]
        return {graph: max((batch.shape for batch in load_inputs(each)), key=prod) for graph, each in files.items()}


def figures_of(records: Sequence[AccuracyCase], share: float) -> Figures:
    """Return the figures of measured cases and of an INT8 share."""
    verdict = judge(records, share, BUDGET)
    return Figures(
        by_reference=verdict.by_reference,
        worst_mean_drop=verdict.worst_mean_drop,
        worst_case_drop=verdict.worst_case_drop,
        worst_mean_disagreement=verdict.worst_mean_disagreement,
        excess=min(verdict.excess, sys.float_info.max),
        int8_share=share,
        met=verdict.met,
        small=len(verdict.small),
    )


def run(bench: Bench, method: Method, chosen_from: Sequence[Candidate], iterations: int) -> MethodRecord:
    """Try the candidates of a method, choose on the validation heads, and judge the choice on the test heads."""
    started, cohort, package = datetime.now(UTC), bench.cohort, bench.package
    tried = {candidate: bench.tried(candidate) for candidate in chosen_from}
    ran = {each: found.validation for each, found in tried.items() if found.validation is not None}
    best = min(ran, key=lambda each: (ran[each].excess, not ran[each].met), default=None)
    if best is not None:
        _say(f"{package.spec.name}: judging {best.title}")
    return MethodRecord(
        network=package.spec.name,
        method=method,
        started=started,
        commit=this_commit(),
        machine=this_machine(),
        versions=our_versions(),
        threads=bench.runtime.threads or 1,
        package=package.digest,
        cohort=cohort.manifest.name,
        cohort_sha256=cohort.sha256,
        heads={split.value: len(cohort.cases(split)) for split in SPLITS},
        with_mask=sum(case.has_reference for case in cohort.cases(Split.TEST)),
        max_dice_drop=BUDGET.max_dice_drop,
        iterations=iterations if method is Method.CONTROL else 0,
        memory_bytes=bench.memory_bytes,
        tried=tuple(tried.values()),
        chosen="" if best is None else best.title,
        test=None if best is None else bench.figures(best, Split.TEST),
        note="" if chosen_from else NOT_POSSIBLE[method],
    )


@click.command()
@click.argument("package", type=click.Path(path_type=Path))
@click.argument("cohort", type=click.Path(path_type=Path))
@click.option("--work", required=True, type=click.Path(path_type=Path), help="Folder of masks and candidates.")
@click.option(
    "--only",
    multiple=True,
    type=click.Choice([each.value for each in Method]),
    help="Method to run; may be repeated [all].",
)
@click.option("--iterations", default=10, show_default=True, help="Most iterations of NNCF's accuracy control.")
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True, help="Number of threads.")
@click.option("--memory", metavar="SIZE", help="Most data of the process, such as 20G; beyond it a candidate fails.")
@click.option("--trials", type=click.Path(path_type=Path), help="Folder with the question and trials of a search.")
@click.option("--records", type=click.Path(path_type=Path), default=FOLDER, help="Folder of the records.")
def main(
    package: Path,
    cohort: Path,
    work: Path,
    only: tuple[str, ...],
    iterations: int,
    threads: int,
    memory: str | None,
    trials: Path | None,
    records: Path,
) -> None:
    """Run each method that has no record yet on PACKAGE, with the heads of COHORT."""
    if os.environ.get(VARIABLE) != Isa.AVX2:
        raise UsageError(f"expected {VARIABLE}={Isa.AVX2} in the environment; oneDNN reads it when a process starts")
    bound_bytes = None if memory is None else parse_size(memory, "--memory")
    opened, heads = open_package(package), load_cohort(cohort)
    name, place = opened.spec.name, work / opened.digest[:12] / heads.sha256[:12]
    left = [
        method for method in Method if method in (only or Method) and not record_file(name, method, records).exists()
    ]
    with TemporaryDirectory() as scratch, data_bound(bound_bytes):
        bench = prepared(opened, heads, place, Path(scratch), RuntimeOptions(threads=threads, as_they_are=True))
        bench = replace(bench, memory_bytes=bound_bytes)
        if trials is not None:
            bench = replace(bench, trials=trials_of(trials, bench))
        possible = candidates(opened, iterations)
        for method in left:
            record = run(bench, method, possible[method], iterations)
            write_method(record, records)
            click.echo(f"{name}, {method}: {in_words(record)}")


@contextmanager
def data_bound(size_bytes: int | None) -> Iterator[None]:
    """Let an allocation fail that would give this process and each of its children more data than this; None: any."""
    if size_bytes is None:
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def prepared(package: ModelPackage, cohort: Cohort, work: Path, scratch: Path, runtime: RuntimeOptions) -> Bench:
    """Return a network with the masks of FP32 and the inputs of its graphs."""
    inputs = {}
    for split in (Split.CALIBRATION, Split.VALIDATION):
        (scratch / split).mkdir()
        studies = (study_for(load_case(case)[0], package.spec) for case in cohort.cases(split))
        inputs[split] = capture_inputs(package, studies, scratch / split, runtime)
    bench = Bench(package, cohort, runtime, work, inputs, {})
    bench.masks.mkdir(parents=True, exist_ok=True)
    segmenter = Segmenter.open(package.in_precision(Precision.F32), runtime)
    for split in (Split.VALIDATION, Split.TEST):
        _say(f"{package.spec.name}: masks of FP32 of the {split} heads")
        write_baseline(segmenter, cohort.cases(split), bench.masks, tuple(package.spec.label_names()))
    return bench


def trials_of(folder: Path, bench: Bench) -> Mapping[Setting, tuple[Entry[Trial], Path]]:
    """Return the trials of a search that set no layer back to float; the search may still run.

    Raises:
        UsageError: the search had another package, other heads, threads, tools or another machine.
    """
    options = QuantizeOptions(runtime=bench.runtime, budget=BUDGET)
    question = question_of(Int8Space(bench.package, ladder_of(bench.package, options)), bench.cohort, options)
    if (folder / QUESTION).read_bytes() != msgspec.json.encode(question, order="sorted"):
        raise UsageError(
            f"{folder}: expected a search of this package, cohort, machine, threads and tools, got another"
        )
    whole, _, _ = (folder / TRIALS).read_bytes().rpartition(b"\n")
    entries = enumerate(decode_json_lines(whole, Entry[Trial]))
    return {
        entry.choice.setting: (entry, folder / f"trial-{number:02d}")
        for number, entry in entries
        if not entry.choice.reverted
    }


def in_words(record: MethodRecord) -> str:
    """Return the result of a method in one line."""
    if record.test is None:
        return record.note or "no candidate could run"
    return (
        f"drop {record.test.worst_mean_drop:.4f}, {record.test.int8_share:.0%} in INT8, {record.minutes:.1f} min; "
        f"{record.chosen}"
    )


def _say(line: str) -> None:
    click.echo(line, err=True)


if __name__ == "__main__":
    main()
