"""What is kept of networks measured alone and in turn: raw samples and all that they depend on; one file a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from brain_edge.evaluation.markdown import markdown_table

from .ratios import ratio_of_medians
from .record import RESULTS, Turns, write_result
from .sample import RunSample, median

if TYPE_CHECKING:
    from pathlib import Path


class NetworkEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One engine and number format. The first one is PyTorch eager in f32.

    Attributes:
        name: in tables.
        correlation: of its answer with PyTorch's, over all voxels and channels.
        largest_error: of its answer against PyTorch's; probabilities.
        samples: warm runs; sample n of all entries were taken in the same round.
    """

    name: str
    correlation: float
    largest_error: float
    samples: tuple[RunSample, ...]


class NetworkRun(Turns, frozen=True, kw_only=True):
    """One interleaved comparison of a network alone, with random weights.

    Attributes:
        shape: of the input.
        target: times as fast as PyTorch that INT8 should be on a CPU with AVX512-VNNI.
    """

    schema: Literal[1] = 1
    benchmark: Literal["interleaved networks"] = "interleaved networks"
    network: str
    shape: tuple[int, ...]
    target: float
    entries: tuple[NetworkEntry, ...]


def write_networks(run: NetworkRun, results: Path = RESULTS) -> Path:
    """Write a run to a file of its own."""
    return write_result(run, f"network-{run.network}", run.started, run.machine, results)


def read_networks(path: Path) -> NetworkRun:
    """A run that was written before."""
    return msgspec.json.decode(path.read_bytes(), type=NetworkRun)


def network_table(run: NetworkRun) -> str:
    """A run as Markdown: medians over the rounds that count, and how many times as fast as PyTorch.

    Raises:
        BrainEdgeError: as `Turns.counted` says.
    """
    counted = run.counted([entry.samples for entry in run.entries])
    first = [run.entries[0].samples[number].latency_ms for number in counted]
    lines = [
        f"{run.network} {' x '.join(map(str, run.shape))}, random weights, {run.threads} threads, {run.machine.cpu} "
        f"({run.machine.isa}); {len(counted)} rounds count; target on AVX512-VNNI {run.target:g}x",
        "",
    ]
    rows = []
    for entry in run.entries:
        samples = [entry.samples[number] for number in counted]
        ratio = ratio_of_medians(first, [sample.latency_ms for sample in samples])
        rows.append(
            (
                *(entry.name, f"{median(samples, 'latency_ms') / 1000:.3f} s", f"{ratio}x"),
                f"{median(samples, 'peak_rss_bytes') / 2**20:.0f} MiB",
                *(f"{entry.correlation:.5f}", f"{entry.largest_error:.2g}"),
            )
        )
    columns = ("engine", "latency", "faster than PyTorch", "peak memory", "correlation", "largest error")
    return "\n".join([*lines, markdown_table(columns, rows)])
