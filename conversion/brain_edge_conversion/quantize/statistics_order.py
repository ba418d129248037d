"""Order of NNCF's statistics: taken while the network runs, not after it, with a fraction of the memory.

NNCF adds an output for every statistic, after the outputs of the network, and OpenVINO computes outputs in their order.
The whole network therefore runs first, and every activation with a pending statistic stays in memory until the end:
more than 20 GiB for Swin UNETR at 128^3 (docs/decisions/0026). Here the same outputs are put into the order in which
the network computes their activations; NNCF looks outputs up by name.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from brain_edge.runtime.library import import_openvino

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def in_order_of_computation(model: Any, order: Mapping[str, int]) -> Any:
    """Return a model of the same nodes, with its outputs in the order in which they can be computed.

    Args:
        model: `openvino.Model` of a network with the nodes that NNCF added.
        order: friendly name of each node of the network -> its position in the computation.
    """
    if model.get_sinks() or model.get_variables():
        return model  # a model with state between its runs is left unchanged
    results = model.get_results()
    reached = {result.get_friendly_name(): _last_needed(result, order) for result in results}
    return import_openvino().Model(
        sorted(results, key=lambda result: reached[result.get_friendly_name()]),
        model.get_parameters(),
        model.get_friendly_name(),
    )


@contextmanager
def statistics_while_computing(engine: Any, network: Any) -> Iterator[None]:
    """Let NNCF (module `nncf.openvino.engine`) compute outputs in the order of `network` within this context."""
    order = {node.get_friendly_name(): place for place, node in enumerate(network.get_ordered_ops())}
    plain = engine.OVNativeEngine

    class InOrder(plain):  # type: ignore[misc, valid-type]  # NNCF has no types
        """NNCF's engine with outputs in another order."""

        def __init__(self, model: Any, *args: Any, **options: Any) -> None:
            super().__init__(in_order_of_computation(model, order), *args, **options)

    engine.OVNativeEngine = InOrder
    try:
        yield
    finally:
        engine.OVNativeEngine = plain


def _last_needed(result: Any, order: Mapping[str, int]) -> int:
    """Return the position of the last node that an output depends on; the network's own outputs come last."""
    if result.get_friendly_name() in order:
        return len(order)
    last, waiting, seen = 0, [result], set()
    while waiting:
        for value in waiting.pop().input_values():
            node = value.get_node()
            name = node.get_friendly_name()
            if name in seen:
                continue
            seen.add(name)
            if name in order:
                last = max(last, order[name])
            else:
                waiting.append(node)
    return last
