"""Timing of settings in cold processes, in turn: time and memory for a user. The times decide nothing."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from brain_edge.bench.child import ChildOptions, ask_child, job_from_parent
from brain_edge.evaluation.cohort import load_case, load_cohort
from brain_edge.evaluation.evaluate import segment_case
from brain_edge.machine.json import decode_json
from brain_edge.machine.process import peak_rss_bytes
from brain_edge.package import Manifest, ModelPackage
from brain_edge.spec import ModelSpec, Value
from brain_edge_conversion.search.journal import Log
from brain_edge_conversion.tune.candidate import Candidate
from brain_edge_conversion.tune.settings import Setting

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brain_edge.evaluation.cohort import Case
    from brain_edge.machine.options import RuntimeOptions
    from brain_edge_conversion.search.space import TrialSetup

MODULE: Final = "brain_edge_conversion.tune.timed"
ROUNDS: Final = "rounds.jsonl"


class ProcessSample(Value, frozen=True):
    """Measurement of one cold process.

    Attributes:
        latency_ms: time from the start of the process to the mask, ms.
        peak_rss_bytes: largest resident memory of the process; None if the system does not report it.
    """

    latency_ms: float
    peak_rss_bytes: int | None


class SettingQuestion(Value, frozen=True):
    """Job of the child: files and numbers only."""

    folder: str
    manifest: Manifest
    spec: ModelSpec
    cohort: str
    case: int
    runtime: ChildOptions


class SettingAnswer(Value, frozen=True):
    """Answer of the child: what only the child can measure."""

    peak_rss_bytes: int | None


class Round(Value, frozen=True):
    """One cold run of each setting, one after the other; only complete rounds are kept."""

    settings: tuple[Setting, ...]
    samples: tuple[ProcessSample, ...]


def time_settings(
    candidates: Mapping[Setting, Candidate], setup: TrialSetup[Setting], rounds: int
) -> dict[Setting, list[ProcessSample]]:
    """Run each candidate on the first search case, in rounds; after the first round, none begins when time is over."""
    options, settings = setup.options, tuple(candidates)
    log = Log(setup.journal.folder / ROUNDS, Round)
    limit_min = options.time_limit_min
    while True:
        taken = [timed for timed in log if timed.settings == settings]
        spent_ms = sum(sample.latency_ms for timed in log for sample in timed.samples)
        is_over = limit_min is not None and setup.journal.elapsed_s * 1000.0 + spent_ms > limit_min * 60_000.0
        if len(taken) >= rounds or (taken and is_over):
            return {setting: [timed.samples[place] for timed in taken] for place, setting in enumerate(settings)}
        options.report(f"timing {len(settings)} settings, round {len(taken) + 1} of {rounds}")
        case = setup.splits.searched[0]
        samples = tuple(time_candidate(candidate, case, options.runtime) for candidate in candidates.values())
        log.append(Round(settings, samples))


def time_candidate(candidate: Candidate, case: Case, runtime: RuntimeOptions) -> ProcessSample:
    """Run a candidate on a case in a process of its own.

    Raises:
        BrainEdgeError: the process failed.
    """
    job = SettingQuestion(
        folder=str(candidate.graphs.folder),
        manifest=candidate.graphs.manifest,
        spec=candidate.spec,
        cohort=case.cohort,
        case=case.number,
        runtime=ChildOptions.of(runtime),
    )
    start = time.perf_counter()
    answer = decode_json(ask_child(MODULE, job, "the timed run"), SettingAnswer)
    return ProcessSample((time.perf_counter() - start) * 1000.0, answer.peak_rss_bytes)


def main() -> None:
    """Run the child: read a job from stdin, write the answer to stdout."""
    job = decode_json(job_from_parent(), SettingQuestion)
    (case,) = (case for case in load_cohort(job.cohort).cases() if case.number == job.case)
    candidate = Candidate(ModelPackage(Path(job.folder), job.manifest), job.spec)
    segmenter = candidate.open(job.runtime.options())
    segment_case(segmenter, load_case(case)[0])
    sys.stdout.buffer.write(msgspec.json.encode(SettingAnswer(peak_rss_bytes=peak_rss_bytes())))


if __name__ == "__main__":
    main()
