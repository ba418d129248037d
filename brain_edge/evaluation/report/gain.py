"""What a cheaper package gives on one computer: size, latency and peak memory before and after.

A package has no times, so that it is the same on every computer; the report of the search has them.
"""

from __future__ import annotations

from statistics import median
from typing import Annotated

from msgspec import Meta

from brain_edge.evaluation.evidence import Number
from brain_edge.package.manifest import Count
from brain_edge.spec import Value

Milliseconds = Annotated[float, Meta(gt=0.0)]
MB = 1e6
MIB = 2**20


class Measured(Value, frozen=True, kw_only=True):
    """One package; sample n of every tuple comes from round n.

    Attributes:
        size_bytes: size of the graphs on disk.
        cold_ms: times from the start of a process to its first mask, ms.
        warm_ms: times of the same case again in the same process, ms.
        peak_rss_bytes: peak resident memory of each process; empty if the system does not report it.
    """

    size_bytes: Count
    cold_ms: Annotated[tuple[Milliseconds, ...], Meta(min_length=1)]
    warm_ms: Annotated[tuple[Milliseconds, ...], Meta(min_length=1)]
    peak_rss_bytes: tuple[Number, ...] = ()


class InBf16(Value, frozen=True, kw_only=True):
    """The baseline in bf16, on a CPU that computes bf16 natively.

    Attributes:
        measured: figures of the package.
        cases: number of search cases on which the masks were judged.
        problem: first limit that the masks miss, as a sentence; empty if they meet the budget.
    """

    measured: Measured
    cases: Count
    problem: str = ""


class Gain(Value, frozen=True, kw_only=True):
    """Both packages on one case, measured in turn.

    Attributes:
        baseline, candidate: figures of each package.
        in_bf16: figures of the baseline in bf16; None where the CPU has no native bf16.
        cpu: name of the processor.
        threads: number of inference threads.
    """

    baseline: Measured
    candidate: Measured
    cpu: str
    threads: Number
    in_bf16: InBf16 | None = None

    @property
    def in_words(self) -> tuple[str, ...]:
        """One line each for size, latency and memory, with the conditions of the measurement."""
        before, after = self.baseline, self.candidate
        rounds = len(before.cold_ms)
        return (
            f"size: {before.size_bytes / MB:.1f} MB before, {after.size_bytes / MB:.1f} MB after "
            f"({_times(before.size_bytes, after.size_bytes, 'smaller', 'larger')})",
            f"latency from the start of a process: {_changed(before.cold_ms, after.cold_ms)}",
            f"latency of a further case: {_changed(before.warm_ms, after.warm_ms)}",
            *self._memory_in_words,
            *self._bf16_in_words,
            f"measured on one case, {rounds} round(s) in turn, medians; {self.threads} thread(s), {self.cpu}",
        )

    @property
    def _memory_in_words(self) -> tuple[str, ...]:
        before, after = self.baseline.peak_rss_bytes, self.candidate.peak_rss_bytes
        if not before or not after:
            return ()
        one, other = median(before), median(after)
        times = _times(one, other, "less", "more")
        return (f"peak memory: {one / MIB:.0f} MiB before, {other / MIB:.0f} MiB after ({times})",)

    @property
    def _bf16_in_words(self) -> tuple[str, ...]:
        found = self.in_bf16
        if found is None:
            return ()
        latency = _changed(self.baseline.cold_ms, found.measured.cold_ms)
        if found.problem:
            verdict = f"its masks miss the budget ({found.problem})"
        else:
            verdict = "its masks meet the budget, and brain-edge tune writes such a package"
        return (f"bf16 instead of INT8: {latency}; {verdict}; judged on {found.cases} search case(s)",)


def _changed(before_ms: tuple[float, ...], after_ms: tuple[float, ...]) -> str:
    before, after = median(before_ms), median(after_ms)
    return f"{before:.0f} ms before, {after:.0f} ms after ({_times(before, after, 'faster', 'slower')})"


def _times(before: float, after: float, better: str, worse: str) -> str:
    ratio = max(before, after) / max(min(before, after), 1e-9)
    return f"{ratio:.2f} times {better if after <= before else worse}"
