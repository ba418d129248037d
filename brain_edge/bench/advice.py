"""Recommend a configuration for this machine from its measurements. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from brain_edge.bench.record import BenchRecord, Configuration

SMALLEST_GAIN: Final = 1.03
"""Minimum speed-up for which more threads are recommended, whatever the spread."""


def recommended(record: BenchRecord) -> Configuration:
    """Return the configuration of least warm latency; among equals within noise, the one with fewest threads.

    Noise is the smaller spread (slowest over fastest round) of the two compared configurations; the larger spread comes
    from a disturbed round.
    """
    fastest = min(record.configurations, key=lambda each: each.median("warm_ms"))
    as_fast = [each for each in record.configurations if _is_as_fast(each, fastest)]
    return min(as_fast, key=lambda each: (each.threads, each.median("warm_ms")))


def advice(record: BenchRecord) -> str:
    """Return the recommendation in sentences, with the alternatives that were not compared."""
    best = recommended(record)
    sentences = [
        f"Fastest on this machine: --threads {best.threads} in {best.precision}, "
        f"{best.median('warm_ms') / 1000:.2f} s per case when warm, {best.median('cold_ms') / 1000:.2f} s cold."
    ]
    own = record.configurations[0].precision
    if best.precision != own:
        sentences.append(f"The package pins {own}; convert the model again with --precision {best.precision}.")
    if record.number_format != "int8":
        sentences.append("An INT8 package was not compared: `brain-edge quantize` makes one within a budget.")
    sentences.append("Windows and streams are those of the package; `brain-edge tune` compares others.")
    return " ".join(sentences)


def _is_as_fast(each: Configuration, fastest: Configuration) -> bool:
    noise = max(SMALLEST_GAIN, min(each.spread("warm_ms"), fastest.spread("warm_ms")))
    return each.median("warm_ms") <= noise * fastest.median("warm_ms")
