"""What this machine should run, from what was measured on it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from brain_edge.bench.record import BenchRecord, Configuration

SMALLEST_GAIN: Final = 1.03
"""Times as fast that more threads must be, whatever the spread, before they are taken."""


def recommended(record: BenchRecord) -> Configuration:
    """The configuration of least warm latency; of those that noise does not tell apart, the one of fewest threads.

    Noise is the smaller spread (slowest over fastest round) of the two that are compared: the larger one is that of a
    disturbed round.
    """
    fastest = min(record.configurations, key=lambda each: each.median("warm_ms"))
    as_fast = [each for each in record.configurations if _is_as_fast(each, fastest)]
    return min(as_fast, key=lambda each: (each.threads, each.median("warm_ms")))


def advice(record: BenchRecord) -> str:
    """What to run, in sentences; what was not compared is said."""
    best = recommended(record)
    sentences = [
        f"This machine should run it with --threads {best.threads} in {best.precision}: "
        f"{best.median('warm_ms') / 1000:.2f} s a case when warm, {best.median('cold_ms') / 1000:.2f} s cold."
    ]
    own = record.configurations[0].precision
    if best.precision != own:
        sentences.append(f"The package pins {own}: convert it again with --precision {best.precision}.")
    if record.number_format != "int8":
        sentences.append("An INT8 package was not compared: `brain-edge quantize` makes one within a budget.")
    sentences.append("Windows and streams are those of the package: `brain-edge tune` compares them.")
    return " ".join(sentences)


def _is_as_fast(each: Configuration, fastest: Configuration) -> bool:
    noise = max(SMALLEST_GAIN, min(each.spread("warm_ms"), fastest.spread("warm_ms")))
    return each.median("warm_ms") <= noise * fastest.median("warm_ms")
