"""The statistics of NNCF while the network is computed, and not after it: a fraction of the memory.

NNCF adds an output for every statistic that it takes, behind the outputs of the network, and OpenVINO computes outputs
in their order. So the whole network runs first, and every activation of which a statistic is still to be taken waits
for that until the end, more than 20 GiB for Swin UNETR at 128^3 (docs/decisions/0026). Here the same outputs stand in
the order in which the network reaches what they are taken of; NNCF looks them up by name.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from brain_edge.runtime.library import import_openvino

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def in_order_of_computation(model: Any, order: Mapping[str, int]) -> Any:
    """A model of the same nodes whose outputs stand in the order in which they can be computed.

    Args:
        model: `openvino.Model`, a network and what NNCF has added to it.
        order: position of each node of the network itself, by friendly name, as it is computed.
    """
    if model.get_sinks() or model.get_variables():
        return model  # one with a memory between its runs: left as it is
    results = model.get_results()
    reached = {result.get_friendly_name(): _last_needed(result, order) for result in results}
    return import_openvino().Model(
        sorted(results, key=lambda result: reached[result.get_friendly_name()]),
        model.get_parameters(),
        model.get_friendly_name(),
    )


@contextmanager
def statistics_while_computing(engine: Any, network: Any) -> Iterator[None]:
    """While this lasts NNCF, whose module `nncf.openvino.engine` is, runs outputs in the order of `network`."""
    order = {node.get_friendly_name(): place for place, node in enumerate(network.get_ordered_ops())}
    plain = engine.OVNativeEngine

    class InOrder(plain):  # type: ignore[misc, valid-type]  # NNCF has no types
        """NNCF's engine, given outputs in another order."""

        def __init__(self, model: Any, *args: Any, **options: Any) -> None:
            super().__init__(in_order_of_computation(model, order), *args, **options)

    engine.OVNativeEngine = InOrder
    try:
        yield
    finally:
        engine.OVNativeEngine = plain


def _last_needed(result: Any, order: Mapping[str, int]) -> int:
    """Position of the last node of the network that an output waits for; the network's own outputs are last."""
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
