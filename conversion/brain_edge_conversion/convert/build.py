"""Stage 1 of a conversion: the published networks, with their weights, in PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brain_edge.spec.plan import cost_in_words
from brain_edge_conversion.convert.draft import Built, onward
from brain_edge_conversion.convert.rewrites.parametrised import bake_weights

if TYPE_CHECKING:
    from brain_edge_conversion.convert.draft import Order


def build(draft: Order) -> Built:
    """Build the network of every graph; report the cost of a case for an ensemble or a cascade.

    Raises:
        WeightsError: a weights file is refused.
    """
    if cost := cost_in_words(draft.source.spec):
        draft.options.report(f"a case takes {cost}")
    published = {graph.graph: graph.build(draft.weights[graph.graph]) for graph in draft.source.graphs}
    for module in published.values():
        bake_weights(module)
    return onward(draft, Built, published=published)
