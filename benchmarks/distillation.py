"""How far masks of an INT8 graph are from FP32 before and after distillation, on whole network inputs.

    python -m benchmarks distillation meshnet-tissue-fp32 .meshnet-tissue-int8.search/1a2b3c4d5e6f/trial-02 cohort.toml

The graph is one that a search has fitted: the folder of a finished trial. Crops of the calibration cases train it, the
validation cases decide when the training ends, and the test cases judge. Each figure is 1 - Dice of the worst label
against the float graph. The time is that of the process on all its threads.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from brain_edge.evaluation.cohort import Split, load_case, load_cohort, study_for
from brain_edge.evaluation.markdown import markdown_table
from brain_edge.machine.options import RuntimeOptions
from brain_edge.package import Precision, graph_path, open_package
from brain_edge.runtime.graph_file import read_graph
from brain_edge.runtime.session import compile_properties
from brain_edge_conversion.budget.capture import capture_inputs, load_inputs
from brain_edge_conversion.distilling.distil import distil
from brain_edge_conversion.distilling.lesson import Lesson, Schedule
from brain_edge_conversion.mending.graphs import Graphs
from brain_edge_conversion.mending.targets import decided, disagreement, target_of
from brain_edge_conversion.mending.watching import port_of, watched

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from brain_edge.evaluation.cohort import Cohort
    from brain_edge.package import ModelPackage
    from brain_edge_conversion.mending.targets import Target

SPLITS = (Split.CALIBRATION, Split.VALIDATION, Split.TEST)


def inputs_of(
    package: ModelPackage, cohort: Cohort, folder: Path, runtime: RuntimeOptions
) -> Mapping[Split, Sequence[Path]]:
    """Return the files of the first graph's inputs, by split."""
    found = {}
    for split in SPLITS:
        (folder / split.value).mkdir()
        studies = (study_for(load_case(case)[0], package.spec) for case in cohort.cases(split))
        found[split] = capture_inputs(package, studies, folder / split.value, runtime)[package.spec.graphs[0]]
    return found


def apart(graphs: Sequence[Any], files: Sequence[Path], target: Target, runtime: RuntimeOptions) -> float:
    """Return the disagreement of two graphs on some inputs."""
    properties = compile_properties(Precision.F32, runtime)
    got, wanted = (
        [
            decided(found, target)
            for (found,) in watched(
                model, [port_of(model.get_results()[0].input_value(0))], load_inputs(files), properties
            )
        ]
        for model in graphs
    )
    return disagreement(got, wanted, target)


def rows(
    package: ModelPackage, fitted: Path, files: Mapping[Split, Sequence[Path]], work: Path, lesson: Mapping[str, Any]
) -> Iterator[list[str]]:
    """Yield the row of the graph as it was fitted, and the row after its training."""
    graph = package.spec.graphs[0]
    original = read_graph(package.graph_file(graph), package.spec)
    model = read_graph(fitted / graph_path(graph), package.spec)
    runtime = RuntimeOptions(threads=int(lesson["threads"]))
    target = target_of(package.spec.stages[0], original)
    judged = (Split.VALIDATION, Split.TEST)
    yield ["fitted", *(f"{apart((model, original), files[split], target, runtime):.4f}" for split in judged), "", ""]
    start = time.process_time()
    held_out = list(load_inputs(files[Split.VALIDATION]))
    both = Graphs(model, original, held_out, compile_properties(Precision.F32, runtime))
    given = Lesson(
        graphs=both, files=files[Split.CALIBRATION], target=target, checkpoint=work / "distillation.npz", **lesson
    )
    found = distil(given, lambda line: click.echo(line, err=True))
    seconds = time.process_time() - start
    after = [f"{apart((model, original), files[split], target, runtime):.4f}" for split in judged]
    yield ["distilled", *after, str(found.steps), f"{seconds:.0f} s"]


@click.command()
@click.argument("package", type=click.Path(path_type=Path))
@click.argument("fitted", type=click.Path(path_type=Path))
@click.argument("cohort", type=click.Path(path_type=Path))
@click.option("--steps", type=click.IntRange(min=1), default=Schedule.steps, show_default=True, help="Number of steps.")
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True, help="Number of threads.")
@click.option("--work", type=click.Path(path_type=Path), help="Folder of the state, so that a killed run goes on.")
def main(package: Path, fitted: Path, cohort: Path, steps: int, threads: int, work: Path | None) -> None:
    """Distil the fitted INT8 graph of a trial and compare both with FP32."""
    opened, cases = open_package(package), load_cohort(cohort)
    runtime = replace(RuntimeOptions(threads=threads), as_they_are=True)
    with TemporaryDirectory() as folder:
        files = inputs_of(opened, cases, Path(folder), runtime)
        numbers = ", ".join(f"{len(files[split])} {split} input(s)" for split in SPLITS)
        click.echo(f"{opened.spec.name}: {numbers}, {steps} steps at most")
        lesson = {"threads": threads, "schedule": Schedule(steps=steps)}
        header = ["graph", "disagreement, validation", "disagreement, test", "steps kept", "time of the process"]
        click.echo(markdown_table(header, list(rows(opened, fitted, files, work or Path(folder), lesson))))


if __name__ == "__main__":
    main()
