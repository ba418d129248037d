"""Conversion report as one HTML page without pictures or scripts, readable offline."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from brain_edge.evaluation.report.accuracy_page import STYLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from brain_edge_conversion.convert.divergence import Divergence
    from brain_edge_conversion.convert.report import ConversionReport


def page(report: ConversionReport) -> str:
    """Return the HTML of a report."""
    title = escape(f"{report.model}: the converted network compared with the published one")
    body = "\n".join(_sections(report))
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style></head>\n<body>\n<h1>{title}</h1>\n{body}\n</body>\n</html>\n"
    )


def _sections(report: ConversionReport) -> Iterator[str]:
    if report.passed:
        yield "<p>The conversion reproduces the published network; a package was written.</p>"
    else:
        yield f'<div class="warning"><p class="missed">{escape(report.failure)}</p></div>'
    yield "<h2>Outputs</h2>"
    yield _outputs(report)
    if report.expected is not None:
        yield "<h2>Expected mask</h2>"
        yield _list((report.expected.in_words, *report.expected.differences))
    for divergence in report.divergences:
        yield f"<h2>Layers of {escape(divergence.graph)}</h2>"
        yield from _layers(divergence)
    yield "<h2>Rewrites</h2>"
    yield _list(report.rewrites) if report.rewrites else "<p>None: the network was converted as it is.</p>"
    yield "<h2>Operators</h2>"
    for graph, counts in report.operators.items():
        yield f"<h3>{escape(graph)}</h3>"
        yield _table(("type", "nodes"), [(kind, str(number)) for kind, number in counts.items()])
    yield "<h2>Made with</h2>"
    yield _list([f"{tool} {version}" for tool, version in report.made_with.items()])
    yield _list([f"compared on voxels with SHA-256 {sha256}" for sha256 in report.input_sha256])


def _outputs(report: ConversionReport) -> str:
    allowed = report.allowed
    rows = [
        (graph.graph, f"{graph.max_error:.3g}", f"{graph.relative_error:.3g}", f"{graph.same_label_share:.4%}")
        for graph in report.graphs
    ]
    limit = ("allowed", "", f"{allowed.relative_error:g}", f"{allowed.same_label_share:.4%}")
    heads = ("graph", "largest error", "relative to the largest output", "voxels with the same label")
    missing = "both masks are empty, so nothing is tested" if report.passed else "not reached"
    dice = missing if report.mask_dice is None else f"{report.mask_dice:.5f}"
    return (
        _table(heads, [*rows, limit])
        + f"<p>Dice of the final masks, minimum over labels: {dice} (at least {allowed.mask_dice:g}).</p>"
    )


def _layers(divergence: Divergence) -> Iterator[str]:
    if not divergence.mapped:
        yield "<p>No layer could be compared: layers of this kind of source have no names in the graph.</p>"
        return
    first = divergence.first
    verdict = f"The first layer that differs is {first}." if first else "No compared layer differs."
    yield (
        f"<p>{escape(verdict)} Of {divergence.layers} layers, {divergence.mapped} have a node in the graph; "
        f"{len(divergence.compared)} were compared, on noise, in running order.</p>"
    )
    rows = [
        (layer.layer, layer.kind, f"{layer.max_error:.3g}", f"{layer.relative_error:.3g}")
        for layer in divergence.compared
    ]
    yield _table(("layer", "kind", "largest error", "relative"), rows)


def _list(lines: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"
