"""One run of one contender, how long a call takes, and which rounds of several contenders count."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class RunSample(msgspec.Struct, frozen=True, kw_only=True):
    """One run: a cold process from its start to its end, or one call of a network that is ready.

    Attributes:
        latency_ms: of all its inputs.
        cpu_ms: user and system time of it and its children, which hardly feels other programs on the machine.
        peak_rss_bytes: greatest resident memory of its process so far, read by the process itself.
        others_cpu_ms: processor time that other programs (and, on a virtual machine, its host) took meanwhile; None
            where the system does not say.
        load_average: of the last minute, when it was started.
        elapsed_ms: per stage, where the program says.
        device_peak_bytes: greatest memory on the device, of a GPU.
        passes_ms: of a network in a process of its own: its warm passes, whose geometric mean is the latency.
    """

    latency_ms: float
    cpu_ms: float | None = None
    peak_rss_bytes: int | None = None
    others_cpu_ms: float | None = None
    load_average: float | None = None
    elapsed_ms: dict[str, float] = {}
    device_peak_bytes: int | None = None
    passes_ms: tuple[float, ...] = ()

    def disturbance(self, processors: int) -> float:
        """Share of the machine that other programs took meanwhile, 0 to 1; 0 where unknown."""
        return (self.others_cpu_ms or 0.0) / (self.latency_ms * processors)


def milliseconds(call: Callable[[], object]) -> float:
    """Latency of a call."""
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1000


def median(samples: Sequence[RunSample], figure: str) -> float:
    """Of a figure of the samples that have it."""
    return statistics.median(float(value) for each in samples if (value := getattr(each, figure)) is not None)


def quiet_rounds(
    samples: Sequence[Sequence[RunSample]], max_disturbance: float | None, processors: int
) -> tuple[int, ...]:
    """The rounds that count; of contenders with unequal numbers of samples only the rounds that all have.

    Args:
        samples: per contender, per round.
        max_disturbance: what others may take of the machine in a round that counts, 0 to 1; None: every round counts.
        processors: of the machine.
    """
    rounds = range(min(len(of_one) for of_one in samples))
    if max_disturbance is None:
        return tuple(rounds)
    return tuple(
        number
        for number in rounds
        if all(of_one[number].disturbance(processors) <= max_disturbance for of_one in samples)
    )
