"""Format a benchmark as tables that are also Markdown. Pure."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Final

from brain_edge.bench.advice import advice
from brain_edge.bench.record import peak_share, sums
from brain_edge.bench.starts import Change, estimate
from brain_edge.bench.written import StepBytes
from brain_edge.errors import InputError
from brain_edge.evaluation.markdown import markdown_table
from brain_edge.machine.description import differences

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from brain_edge.bench.profile import LayerTime
    from brain_edge.bench.record import BenchRecord, Configuration, Profile, TypeSum

FLOAT_BYTES: Final = 4
MOST_LAYERS: Final = 30
"""Maximum number of layers in a table, the slowest first; JSON has all layers."""

LATENCY_COLUMNS: Final = (
    *("precision", "threads", "cold (s)", "first case (s)", "warm (s)", "spread", "against itself", "peak (MiB)"),
)
LAYER_COLUMNS: Final = ("layer", "kind", "kernel", "times", "G operations", "ms", "of all", "of peak", "MiB moved", "")
SUM_COLUMNS: Final = ("numbers", "G operations", "ms", "of all", "of peak", "peak (G/s)", "MiB moved")
WRITTEN_COLUMNS: Final = ("stage", "step", "MiB written", "of the image")
COMPARE_COLUMNS: Final = (
    *("precision", "threads", "cold A (s)", "cold B (s)", "A / B", "B is"),
    *("warm A (s)", "warm B (s)", "A / B", "B is"),
)
IN_TIME: Final = {Change.LOWER: "faster", Change.HIGHER: "SLOWER"}


def as_text(record: BenchRecord) -> str:
    """Return the record as tables."""
    machine = record.machine
    head = (
        f"{record.model} ({record.number_format}), {' x '.join(map(str, record.shape))} voxels, {machine.cpu} "
        f"(at most {machine.isa}), OpenVINO {record.versions['openvino']}"
    )
    blocks = [
        head,
        markdown_table(LATENCY_COLUMNS, [_latency_row(each) for each in record.configurations]),
        _LEGEND,
        advice(record),
    ]
    if record.profile is not None:
        blocks += [*_profile_blocks(record.profile), *_written_blocks(record.profile.written, record.shape)]
    return "\n\n".join(blocks)


_LEGEND: Final = (
    "Medians over separate processes; the configurations take turns. cold: from process start to the mask. "
    "warm: the same case again. spread: slowest round over fastest. against itself: every second round over the "
    "others, ideally 1."
)


def compared(first: BenchRecord, second: BenchRecord) -> str:
    """Return two records of one machine side by side.

    Raises:
        InputError: the machines or the images differ, or the records have no configuration in common.
    """
    apart = differences(first.machine, second.machine)
    if apart:
        raise InputError(
            f"expected records of one machine, got different machines: {'; '.join(apart)}; measure both on one machine"
        )
    if (first.images, first.shape) != (second.images, second.shape):
        raise InputError("expected records of the same images, got different images; measure both with the same --data")
    others = {each.name: each for each in second.configurations}
    pairs = [(each, others[each.name]) for each in first.configurations if each.name in others]
    if not pairs:
        raise InputError("the records have no configuration in common; measure both with the same --threads")
    rows = [_compare_row(one, other) for one, other in pairs]
    return "\n\n".join(
        [
            f"A: {first.model} ({first.number_format}) {first.digest[:16]}, "
            f"B: {second.model} ({second.number_format}) {second.digest[:16]}",
            markdown_table(COMPARE_COLUMNS, rows),
            "Geometric means over processes. SLOWER or faster means that the mean of each record lies outside the "
            "range in which the other record expects a repetition (95 %). The records are not interleaved: a "
            "difference may come from the hour of the measurement.",
        ]
    )


def _latency_row(each: Configuration) -> list[str]:
    return [
        each.precision,
        str(each.threads),
        f"{each.median('cold_ms') / 1000:.2f}",
        f"{each.median('first_ms') / 1000:.2f}",
        f"{each.median('warm_ms') / 1000:.2f}",
        f"{each.spread('cold_ms'):.2f}",
        f"{each.against_itself('cold_ms'):.2f}",
        f"{each.median('peak_rss_bytes') / 2**20:.0f}",
    ]


def _compare_row(one: Configuration, other: Configuration) -> list[str]:
    cells = [one.precision, str(one.threads)]
    for figure in ("cold_ms", "warm_ms"):
        first, second = (estimate([getattr(sample, figure) for sample in each.samples]) for each in (one, other))
        change = first.change_to(second)
        cells += [f"{each.value / 1000:.2f}" for each in (first, second)]
        cells += [f"{first.value / second.value:.2f}", IN_TIME.get(change, str(change))]
    return cells


def _profile_blocks(profile: Profile) -> Iterator[str]:
    all_ms = sum(layer.time_ms for layer in profile.layers)
    ranked = sorted(profile.layers, key=lambda layer: -layer.time_ms)[:MOST_LAYERS]
    yield f"Layers of one case, {profile.threads} thread(s), {profile.precision} where not integer:"
    yield markdown_table(LAYER_COLUMNS, [_layer_row(layer, profile, all_ms) for layer in ranked])
    left = len(profile.layers) - len(ranked)
    if left > 0:
        rest_ms = all_ms - sum(layer.time_ms for layer in ranked)
        yield f"and {left} more layers that take {rest_ms:.1f} ms together (--json lists them)"
    by_numbers = sums(profile.layers, profile.peaks)
    yield markdown_table(SUM_COLUMNS, [_sum_row(each, profile.peaks.get(each.numbers), all_ms) for each in by_numbers])
    yield _in_words(profile.layers)


def _written_blocks(written: Sequence[StepBytes], shape: Sequence[int]) -> Iterator[str]:
    if not written:
        return
    image_bytes = FLOAT_BYTES * prod(shape)
    total = StepBytes(stage="all", step="", written_bytes=sum(each.written_bytes for each in written))
    yield "Arrays of full size that the steps around the networks write in one case:"
    yield markdown_table(WRITTEN_COLUMNS, [_written_row(each, image_bytes) for each in (*written, total)])
    yield _WRITTEN_LEGEND


_WRITTEN_LEGEND: Final = (
    "MiB written: arrays that a step allocates with at least one byte per voxel of the image or of the network's grid, "
    "its result and those on the way. Views, changes in place and blocks that stay in the caches are not counted. "
    "of the image: the same over the bytes of the first image in float32."
)


def _written_row(each: StepBytes, image_bytes: int) -> list[str]:
    return [each.stage, each.step, f"{each.written_bytes / 2**20:.1f}", f"{each.written_bytes / image_bytes:.2f}"]


def _layer_row(layer: LayerTime, profile: Profile, all_ms: float) -> list[str]:
    notes = ["fell back to float"] * layer.fell_back + ["reference kernel"] * layer.is_reference
    return [
        f"{layer.graph}: {layer.name}",
        layer.kind,
        layer.kernel,
        str(layer.times),
        _giga(layer.multiply_adds),
        f"{layer.time_ms:.2f}",
        _share(layer.time_ms, all_ms),
        _percent(peak_share([layer], profile.peaks)),
        f"{layer.moved_bytes / 2**20:.1f}",
        ", ".join(notes),
    ]


def _sum_row(each: TypeSum, peak: float | None, all_ms: float) -> list[str]:
    return [
        each.numbers,
        _giga(each.multiply_adds),
        f"{each.time_ms:.1f}",
        _share(each.time_ms, all_ms),
        _percent(each.peak_share),
        "-" if peak is None else f"{peak / 1e9:.1f}",
        f"{each.moved_bytes / 2**20:.0f}",
    ]


def _in_words(layers: Sequence[LayerTime]) -> str:
    """Return a sentence about layers that fell back to float or run a reference kernel."""
    fell = [layer for layer in layers if layer.fell_back]
    slow = [layer for layer in layers if layer.is_reference]
    return (
        "Operations are multiply-accumulates of layers with weights. of peak: their rate over the rate of small "
        "convolutions that stay in the caches, measured now. "
        f"{len(fell)} quantised layer(s) fell back to floating point ({sum(each.time_ms for each in fell):.1f} ms), "
        f"{len(slow)} node(s) have a reference kernel ({sum(each.time_ms for each in slow):.1f} ms)."
    )


def _giga(count: int) -> str:
    return f"{count / 1e9:.3f}" if count else "-"


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole else "-"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"
