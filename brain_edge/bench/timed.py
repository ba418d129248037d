"""Run one case cold and once more warm in a separate process, for one sample of a benchmark."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from brain_edge.bench.child import ChildOptions, ask_child, job_from_parent
from brain_edge.bench.record import Configuration, Sample
from brain_edge.engine.segmenter import Segmenter
from brain_edge.image.phantom import make_study
from brain_edge.jobs.case import read_study
from brain_edge.machine.json import decode_json
from brain_edge.machine.process import peak_rss_bytes
from brain_edge.package import Manifest, ModelPackage, Precision

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from brain_edge.image.volume import Study
    from brain_edge.machine.options import RuntimeOptions

MODULE: Final = "brain_edge.bench.timed"


class TimingQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """Job of the child; without images it uses the phantom of the self-test."""

    folder: str
    manifest: Manifest
    images: dict[str, str]
    runtime: ChildOptions


class TimingAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Figures that only the child can measure."""

    first_ms: float
    warm_ms: float
    peak_rss_bytes: int | None


def time_configurations(
    package: ModelPackage,
    images: Mapping[str, Path],
    choices: Sequence[tuple[int, Precision]],
    rounds: int,
    report: Callable[[str], None],
    runtime: RuntimeOptions,
) -> tuple[Configuration, ...]:
    """Measure all configurations in turn (A B C A B C), so that a slow minute of the machine affects all of them.

    Raises:
        BrainEdgeError: a process failed.
    """
    jobs = [(package, precision, replace(runtime, threads=threads)) for threads, precision in choices]
    samples = _in_turn(jobs, images, rounds, report)
    return tuple(
        Configuration(threads=threads, precision=str(precision), samples=taken)
        for (threads, precision), taken in zip(choices, samples, strict=True)
    )


def time_packages(
    packages: Sequence[ModelPackage],
    images: Mapping[str, Path],
    rounds: int,
    report: Callable[[str], None],
    runtime: RuntimeOptions,
) -> tuple[tuple[Sample, ...], ...]:
    """Measure packages in turn (A B A B), each in the precision that it pins; one tuple of samples for each.

    Raises:
        BrainEdgeError: a process failed.
    """
    jobs = [(package, package.manifest.precision, runtime) for package in packages]
    return _in_turn(jobs, images, rounds, report)


def _in_turn(
    jobs: Sequence[tuple[ModelPackage, Precision, RuntimeOptions]],
    images: Mapping[str, Path],
    rounds: int,
    report: Callable[[str], None],
) -> tuple[tuple[Sample, ...], ...]:
    samples: list[list[Sample]] = [[] for _ in jobs]
    for number in range(rounds):
        report(f"round {number + 1} of {rounds}, {len(jobs)} configuration(s)")
        for (package, precision, runtime), taken in zip(jobs, samples, strict=True):
            taken.append(_sample(package, images, precision, runtime))
    return tuple(tuple(taken) for taken in samples)


def study_of(package: ModelPackage, images: Mapping[str, Path]) -> Study:
    """Return the images, or the phantom of the self-test without images."""
    if images:
        return read_study(images)
    return make_study(package.manifest.self_test.phantom, [sequence.name for sequence in package.spec.inputs])


def _sample(package: ModelPackage, images: Mapping[str, Path], precision: Precision, runtime: RuntimeOptions) -> Sample:
    job = TimingQuestion(
        folder=str(package.folder),
        manifest=package.in_precision(precision).manifest,
        images={name: str(path) for name, path in images.items()},
        runtime=ChildOptions.of(runtime),
    )
    start = time.perf_counter()
    answer = decode_json(ask_child(MODULE, job, "the timed run"), TimingAnswer)
    cold_ms = (time.perf_counter() - start) * 1000.0 - answer.warm_ms
    return Sample(cold_ms=cold_ms, **msgspec.structs.asdict(answer))


def main() -> None:
    """Run as the child: read a job on stdin, and write the answer to stdout."""
    job = decode_json(job_from_parent(), TimingQuestion)
    package = ModelPackage(Path(job.folder), job.manifest)
    segmenter = Segmenter.open(package, job.runtime.options(resident_graphs=2))
    study = study_of(package, {name: Path(path) for name, path in job.images.items()})
    first_ms, warm_ms = (_elapsed_ms(segmenter, study) for _ in range(2))
    answer = TimingAnswer(first_ms=first_ms, warm_ms=warm_ms, peak_rss_bytes=peak_rss_bytes())
    sys.stdout.buffer.write(msgspec.json.encode(answer))


def _elapsed_ms(segmenter: Segmenter, study: Study) -> float:
    start = time.perf_counter()
    segmenter.run(study)
    return (time.perf_counter() - start) * 1000.0


if __name__ == "__main__":
    main()
