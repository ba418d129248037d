"""Stage 3 of a conversion: rewrites of the networks in PyTorch, before they are traced.

These rewrites need information that only PyTorch has. Rewrites of a traced graph follow in `trace`.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from brain_edge.spec import canonical_json
from brain_edge_conversion.convert.draft import Rewrite, Rewritten, onward
from brain_edge_conversion.convert.rewrites.binary_head import merge_binary_head, mergeable_graphs, with_binary_heads
from brain_edge_conversion.convert.rewrites.dropout import idle_dropouts
from brain_edge_conversion.convert.rewrites.norm_statistics import trapped_norms, use_instance_statistics
from brain_edge_conversion.convert.rewrites.window_attention import attend_in_parts, window_attentions
from brain_edge_conversion.specification import spec_from_json

if TYPE_CHECKING:
    from torch import nn

    from brain_edge_conversion.convert.draft import Probed
    from brain_edge_conversion.recipe import GraphSource


def rewrite(draft: Probed) -> Rewritten:
    """Rewrite a copy of every network that is traced, if rewrites are requested.

    The published networks stay unchanged: parity is measured against them.

    Raises:
        BrainEdgeError: a network differs from its recipe.
        WeightsError: the layers of a network cannot be changed.
    """
    source = draft.source
    spec = spec_from_json(canonical_json(source.spec), source.spec.name)
    merged = mergeable_graphs(source) if draft.options.rewrites else frozenset()
    rewritten = {
        graph.graph: _rewritten(draft, graph, merge=graph.graph in merged)
        if draft.options.rewrites and graph.read is None
        else Rewrite(draft.published[graph.graph])
        for graph in source.graphs
    }
    spec = with_binary_heads(spec, merged)
    # a rewritten norm cannot be the cause of a difference
    kept = {
        graph: names for graph, names in draft.suspects.items() if rewritten[graph].network is draft.published[graph]
    }
    return onward(draft, Rewritten, spec=spec, rewritten=rewritten, suspects=kept)


def _rewritten(draft: Probed, graph: GraphSource, *, merge: bool) -> Rewrite:
    module = _own_module(draft, graph)
    lines = []
    if trapped := trapped_norms(module):
        use_instance_statistics(module, trapped)
        lines.append(f"unused running statistics removed from {len(trapped)} norm layers")
    # the tracer freezes the number of windows, so the number must be the same for every image
    if graph.has_fixed_sides and (attentions := window_attentions(module)):
        attend_in_parts(module, attentions)
        lines.append(f"windows of {len(attentions)} attention layers in parts")
    if merge and graph.binary_head is not None:
        merge_binary_head(module, graph.binary_head)
        lines.append(f"softmax over two classes merged into {graph.binary_head.linear}")
    if graph.output is not None:
        lines.append(f"all outputs but {graph.output!r} left out")
    if dropouts := idle_dropouts(module):
        lines.append(f"{len(dropouts)} dropout layer{'s' if len(dropouts) > 1 else ''} left out")
    return Rewrite(module, tuple(lines))


def _own_module(draft: Probed, graph: GraphSource) -> nn.Module:
    if graph.rewritable is None:
        return copy.deepcopy(draft.published[graph.graph])
    return graph.rewritable(draft.weights[graph.graph])
