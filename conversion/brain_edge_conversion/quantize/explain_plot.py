"""Picture of the errors of INT8 by layer. The only module of this room with matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from brain_edge.jobs.pictures.sheet import require_matplotlib, save

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from brain_edge_conversion.mending.blame import GraphBlame

PNG: Final = "int8-layers.png"
INK, BLUE, ORANGE, GREEN = "#222222", "#0072B2", "#E69F00", "#009E73"
BAR: Final = 0.38
LAYER_INCH: Final = 0.34
LONGEST: Final = 40
"""Characters of a layer's name that are shown, from its end."""


def draw(graphs: Sequence[GraphBlame], title: str, path: Path) -> None:
    """Draw the error of each layer alone as bars and the error of its output so far as a line; one panel a graph.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    heights = [1.6 + LAYER_INCH * len(graph.layers) for graph in graphs]
    figure = Figure(figsize=(9.0, sum(heights)), dpi=120, facecolor="white", layout="constrained")
    panels = figure.subplots(len(graphs), 1, squeeze=False, gridspec_kw={"height_ratios": heights})
    for axes, graph in zip(panels[:, 0], graphs, strict=True):
        _draw_graph(axes, graph, title)
    save(figure, path)


def _draw_graph(axes: Axes, graph: GraphBlame, title: str) -> None:
    places = np.arange(len(graph.layers))
    axes.barh(places - BAR / 2, [each.weights_alone for each in graph.layers], BAR, color=BLUE, label="weights alone")
    axes.barh(places + BAR / 2, [each.input_alone for each in graph.layers], BAR, color=ORANGE, label="input alone")
    so_far = [each.so_far for each in graph.layers]
    axes.plot(so_far, places, color=GREEN, marker="o", markersize=3, label="layer's output, all layers in INT8")
    axes.set_yticks(places, [_short(each.layer) for each in graph.layers], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlim(left=0.0)
    axes.set_xlabel("relative error (root mean square)", color=INK)
    axes.set_title(f"{title}, {graph.graph}: error of the output with all layers in INT8 {graph.error:.3f}", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, axis="x", color="#eeeeee")
    axes.set_axisbelow(True)
    axes.legend(fontsize=7, frameon=False)


def _short(name: str) -> str:
    """Return a name with a mark where its beginning is left out."""
    return name if len(name) <= LONGEST else f"…{name[1 - LONGEST :]}"
