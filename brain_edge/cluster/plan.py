"""Plan of a batch for a scheduler: shards of equal work, with the time and memory of a task."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from brain_edge.cluster.division import divided, fitted
from brain_edge.cluster.probe import probe
from brain_edge.errors import InputError
from brain_edge.jobs.batch.planning import UnplannedCase
from brain_edge.machine.process import MIB

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brain_edge.cluster.division import Work
    from brain_edge.cluster.probe import Probe
    from brain_edge.jobs.case import Job
    from brain_edge.machine.options import RuntimeOptions
    from brain_edge.package import ModelPackage

TIME_FACTOR: Final = 2.0
"""Factor from the expected time of a task to its limit: a node may be slower than the machine of the first cases."""
TIME_STEP_S: Final = 300
MEMORY_FACTOR: Final = 1.15
"""Factor from the predicted memory of a task to its limit; predictions are within 15 %."""
MEMORY_STEP_BYTES: Final = 50 * MIB


@dataclass(frozen=True)
class BatchPlan:
    """Division of a batch, and what a task needs.

    Attributes:
        cases: all cases, in the order of the user.
        shards: shard of each case, counted from 1.
        at_once: number of cases in progress at once in a task.
        time_s: time limit of a task, in seconds.
        memory_bytes: memory limit of a task, in bytes.
        seconds: expected time of each shard without the start of its process, in seconds.
    """

    cases: tuple[Job | UnplannedCase, ...]
    shards: tuple[int, ...]
    at_once: int
    time_s: int
    memory_bytes: int
    seconds: tuple[float, ...]


def planned(
    package: ModelPackage, cases: Sequence[Job | UnplannedCase], count: int, at_once: int, options: RuntimeOptions
) -> BatchPlan:
    """Run the smallest and the largest case in a child process without a result, and plan the batch by them.

    Args:
        package: package of the model.
        cases: all cases of the batch.
        count: number of shards.
        at_once: number of cases in progress at once in a task.
        options: options of the runtime, with the threads of a task.

    Raises:
        InputError: no case has an image.
        UsageError: there are fewer cases than shards.
        BrainEdgeError: a first case cannot be run.
    """
    sizes = [_size_bytes(case) for case in cases]
    there = sorted((size, number) for number, size in enumerate(sizes) if size)
    if not there:
        raise InputError(f"expected images that exist, got none in {len(cases)} case(s); check the paths")
    chosen = [number for _, number in (there if len(there) == 1 else (there[0], there[-1]))]
    measured = probe(package, [cases[number].inputs for number in chosen], options)
    work = fitted([(sizes[number], taken) for number, taken in zip(chosen, measured.seconds, strict=True)])
    return _plan(cases, sizes, work, measured, count, at_once)


def _plan(
    cases: Sequence[Job | UnplannedCase], sizes: Sequence[int], work: Work, measured: Probe, count: int, at_once: int
) -> BatchPlan:
    seconds = [work.seconds(size) for size in sizes]
    shards = divided(seconds, count)
    sums = [0.0] * count
    for shard, taken in zip(shards, seconds, strict=True):
        sums[shard - 1] += taken
    limit_s = TIME_FACTOR * (measured.start_s + max(sums))
    needed = MEMORY_FACTOR * measured.needed_bytes(at_once)
    return BatchPlan(
        cases=tuple(cases),
        shards=shards,
        at_once=at_once,
        time_s=TIME_STEP_S * math.ceil(limit_s / TIME_STEP_S),
        memory_bytes=MEMORY_STEP_BYTES * math.ceil(needed / MEMORY_STEP_BYTES),
        seconds=tuple(sums),
    )


def _size_bytes(case: Job | UnplannedCase) -> int:
    """Return the size of the images of a case in bytes; 0 for a case that cannot run."""
    if isinstance(case, UnplannedCase):
        return 0
    try:
        return sum(path.stat().st_size for path in case.inputs.values())
    except OSError:
        return 0
