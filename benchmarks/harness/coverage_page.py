"""The page of operator coverage: what was recorded of each recipe, and which recipes were not measured."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, Final

from brain_edge.evaluation.markdown import markdown_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from benchmarks.report.recipe_age import Ages

    from .coverage_record import GraphCoverage, LayerGroup, RecipeCoverage, Speed

SMALLEST_SHARE: Final = 5e-5
"""Of the multiply-adds, below which a share is printed as less than 0.01 %."""

NOT_MEASURED: Final = "not measured"

INTRODUCTION: Final = """# Operator coverage

What INT8 quantisation makes of the networks of each recipe: which layers compute in bytes, which stay in floating point
and why, which exact rewrites were applied, and what that gives in speed. Written by `docs/generate.py` from
[`benchmarks/results/recipe-coverage`](../../benchmarks/results/recipe-coverage), one file a recipe, which
`benchmarks/recipe_coverage.py` leaves. A recipe that is not measured is in the table as such.

- **Weights are random** unless the section of a recipe says otherwise: sizes, kernels and speed do not depend on them.
  There is no accuracy here, and an INT8 graph of random weights has none. A kernel is what OpenVINO chose on the
  processor that is named; with AVX512-VNNI or AMX it chooses others, and INT8 gains more.
- **Parity** is that of the FP32 graph with PyTorch: largest difference / largest output, and the share of voxels with
  the same most probable channel; the section of the recipe says on what they were compared.
- **GFLOP** are two for each multiply-add of convolutions and matrix products, for the input that the steps give the
  network (in brackets), or for the timed input where the image decides.
- **INT8 share** is that of the multiply-adds that an integer kernel computed, for the input in brackets. Where that is
  smaller than the input of the network, the share there may be lower: without AVX-512 OpenVINO computes a large
  transposed convolution in float (input channels squared x voxels of the output above 2^26).
- **Faster** than PyTorch is the median over the rounds of one interleaved run in one process (PyTorch, OpenVINO f32,
  OpenVINO INT8, in turn), and in brackets the range over the rounds. The machine was shared with other work, which the
  range shows: these figures tell the order of things, and no more."""


def coverage_page(recipes: Sequence[str], recorded: Mapping[str, RecipeCoverage], ages: Ages) -> Iterator[str]:
    """The lines of the page; recipes in their order, and `(stale)` behind one that has changed since its record."""
    yield INTRODUCTION
    yield ""
    rows: list[tuple[str, ...]] = []
    for name in recipes:
        if name in recorded:
            shown = ages.marked(name, recorded[name].measured).replace(name, f"`{name}`")
            rows += ((shown, *_row(recorded[name], graph)) for graph in recorded[name].graphs)
        else:
            rows.append((f"`{name}`", NOT_MEASURED, *[""] * 8))
    yield markdown_table(COLUMNS, rows, aligned=False)
    yield from (f"\n{words}" for words in ages.words())
    for name in recipes:
        if name in recorded:
            yield from _section(recorded[name])


COLUMNS: Final = (
    *("recipe", "network", "parameters", "GFLOP (input)", "parity", "same label", "INT8 share (input)"),
    *("f32 faster", "INT8 faster", "timed on"),
)


def _row(recipe: RecipeCoverage, graph: GraphCoverage) -> tuple[str, ...]:
    parity = next(each for each in recipe.parity.graphs if each.graph == graph.graph)
    return (
        f"`{graph.graph}`",
        f"{graph.parameters / 1e6:.3g} M",
        f"{graph.gflop:.3g} ({_sides(graph.shape)})",
        f"{parity.relative_error:.1e}",
        f"{parity.same_label_share:.4%}",
        NOT_MEASURED if graph.int8_share is None else f"{graph.int8_share:.1%} ({_sides(_share_shape(graph))})",
        *(_ratio(graph.speed, engine) for engine in ("OpenVINO f32", "OpenVINO INT8")),
        "" if graph.speed is None else _sides(graph.speed.shape),
    )


def _share_shape(graph: GraphCoverage) -> tuple[int, ...]:
    """In old records it was that of the timing."""
    return graph.share_shape or (graph.shape if graph.speed is None else graph.speed.shape)


def _ratio(speed: Speed | None, engine: str) -> str:
    """Against PyTorch, with the range over the rounds."""
    if speed is None:
        return NOT_MEASURED
    pairs = zip(speed.samples_ms["PyTorch f32"], speed.samples_ms[engine], strict=True)
    ratios = [slow / fast for slow, fast in pairs]
    return f"{statistics.median(ratios):.2g}x ({min(ratios):.2g} to {max(ratios):.2g})"


def _section(recipe: RecipeCoverage) -> Iterator[str]:
    capabilities = ", ".join(each for each in recipe.capabilities if each in ("FP32", "FP16", "BF16", "INT8"))
    versions = ", ".join(f"{tool} {version}" for tool, version in sorted(recipe.versions.items()))
    yield from ("", f"## {recipe.recipe}", "")
    yield f"- Weights: {recipe.weights}. Compared on: {recipe.compared_on}."
    yield f"- Masks of both: {recipe.parity.masks_in_words}."
    threads = f"{recipe.threads} thread{'s' if recipe.threads > 1 else ''}"
    yield f"- Measured {recipe.measured:%Y-%m-%d} on {recipe.processor} ({capabilities}), {threads}; {versions}."
    yield f"- Rewrites: {'; '.join(recipe.rewrites) or 'none applied'}."
    if recipe.note:
        yield f"- {recipe.note}."
    for graph in (each for each in recipe.graphs if each.int8_share is not None):
        columns = ("layers", "operation", "share", "kernel", "computed in", "why")
        table = markdown_table(columns, map(_layers, graph.layers), aligned=False)
        yield from ("", f"`{graph.graph}`:", "", table)


def _layers(group: LayerGroup) -> tuple[str, ...]:
    computed = "INT8" if group.is_integer else "float"
    why = group.why_float and f"{group.why_float}: `{'`, `'.join(group.examples)}`{' ...' if group.layers > 3 else ''}"
    share = f"{group.share:.2%}" if group.share >= SMALLEST_SHARE or not group.share else "under 0.01%"
    kernel = group.kernel or "not named"
    return str(group.layers), group.kind, share, kernel, computed, why


def _sides(shape: Sequence[int]) -> str:
    sides = shape[2:] if len(shape) > 2 else shape
    cube = math.prod(sides) == sides[0] ** len(sides)
    return f"{sides[0]}^{len(sides)}" if cube and len(set(sides)) == 1 else " x ".join(map(str, sides))
