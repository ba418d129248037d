"""Whole published programs against our packages: the newest comparison of each model, as one table. Pure."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Final

import msgspec

from benchmarks.harness.ratios import ratio_of_starts
from benchmarks.harness.record import InterleavedRun
from benchmarks.harness.sample import median
from benchmarks.report.summaries import best_isa
from brain_edge.evaluation.markdown import markdown_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from benchmarks.harness.record import InterleavedEntry

COLUMNS: Final = (
    *("model", "program", "image to mask", "faster (95 %)", "peak memory", "of the published"),
    *("Dice with its mask", "commit"),
)


def newest_comparisons(results: Path) -> list[InterleavedRun]:
    """The newest comparison of each model with its published program, whichever machine made it, by model."""
    newest: dict[str, tuple[str, Path]] = {}
    for path in results.glob("*/*-interleaved-*.json"):
        model = path.stem.partition("-interleaved-")[2]
        newest[model] = max(newest.get(model, ("", path)), (path.name, path))
    return [msgspec.json.decode(newest[model][1].read_bytes(), type=InterleavedRun) for model in sorted(newest)]


def programs_table(runs: Sequence[InterleavedRun]) -> str:
    """One row per program; ratios are to the published program of the same model."""
    return markdown_table(COLUMNS, [row for run in runs for row in _rows(run)], aligned=False)


def programs_words(runs: Sequence[InterleavedRun]) -> str:
    """Machine, head and day of the comparisons."""
    said = dict.fromkeys(map(_setting, runs))
    return f"Whole cold processes in turn, from a NIfTI file to a written mask: {'; '.join(said)}."


def _setting(run: InterleavedRun) -> str:
    seen, voxels = run.machine, " x ".join(map(str, run.head.shape))
    cpu = f"{seen.cpu} (family {seen.family}, model {seen.model}; {best_isa(seen)})"
    return f"{cpu}, {run.threads} threads, one head of {voxels} voxels, {run.started:%Y-%m-%d}"


def _rows(run: InterleavedRun) -> Iterator[tuple[str, ...]]:
    counted = run.counted([entry.samples for entry in run.entries])
    published = run.entries[0]
    for entry in run.entries:
        name = run.model if entry is published else ""
        yield (name, entry.name, *_figures(entry, published, counted), f"`{run.commit.id[:12]}`")


def _figures(entry: InterleavedEntry, published: InterleavedEntry, counted: Sequence[int]) -> Iterator[str]:
    samples, base = ([each.samples[number] for number in counted] for each in (entry, published))
    latency_s, first_s = ([sample.latency_ms / 1000 for sample in each] for each in (samples, base))
    memory = median(samples, "peak_rss_bytes")
    is_compared = entry is not published
    yield f"{statistics.geometric_mean(latency_s):.2f} s"
    yield f"{ratio_of_starts(first_s, latency_s)}x" if is_compared else ""
    yield f"{memory / 2**20:.0f} MiB"
    yield f"{memory / median(base, 'peak_rss_bytes'):.2f}" if is_compared else ""
    yield f"{entry.dice_published:.4f}" if is_compared else ""
