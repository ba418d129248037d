"""Removal of the last softmax or sigmoid where its stage only takes an argmax or a threshold.

Softmax and sigmoid keep the order of a voxel's logits. An argmax of the probabilities is therefore an argmax of the
logits, and a threshold on a sigmoid is a threshold on the logit. The specification then says that the graph ends in
logits. The runtime (`brain_edge.spec.plan.without_activation`) compares logits and computes probabilities only on
request. The activation stays in the graph if the runtime would need it: for probabilities that are averaged over
members, mirrorings or windows, or interpolated before the comparison.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from brain_edge.errors import WeightsError
from brain_edge.spec import Activation, ModelSpec, Network, Stage
from brain_edge.spec.plan import without_activation
from brain_edge_conversion.convert.rewrites.nodes import kind, producer

CHANNEL_AXIS: Final = 1

TRANSPARENT: Final = frozenset({"Convert", "Identity"})
"""Operations that leave the values of a float32 graph as they are."""

MOVING: Final = frozenset({"Slice", "StridedSlice", "Reshape", "Squeeze", "Unsqueeze", "Transpose"})
"""Operations that cut or move values without changing any."""


def final_activation(model: Any) -> Activation:
    """Return the activation at the end of an OpenVINO graph with one output."""
    last = _last(model)
    if kind(last) == "Sigmoid":
        return Activation.SIGMOID
    if kind(last) == "Softmax":
        axis, rank = int(last.get_attributes()["axis"]), len(last.get_output_partial_shape(0))
        return Activation.SOFTMAX if axis % rank == CHANNEL_AXIS else Activation.NONE
    return Activation.NONE


def require_one_activation(graph: str, network: Network, model: Any) -> None:
    """Refuse a graph that ends in an activation if the specification applies another one to its output.

    A sigmoid of a sigmoid is above one half in every voxel, and a softmax of a softmax gives wrong probabilities. The
    parity check cannot detect this, because both sides do the same.

    Args:
        graph: name of the graph.
        network: specification of the network.
        model: graph before its last activation is moved to the runtime.

    Raises:
        WeightsError: the graph and the specification both apply an activation.
    """
    node = producer(model.get_results()[0], 0)
    while kind(node) in TRANSPARENT | MOVING:
        node = producer(node, 0)
    if network.activation is not Activation.NONE and kind(node) in ("Sigmoid", "Softmax"):
        raise WeightsError(
            f"{graph}: the network ends in a {kind(node).lower()} itself, and the specification applies a "
            f"{network.activation} again. Set `activation` to none in the specification, or give the network without "
            "its last layer"
        )


def with_logits(stage: Stage, activation: Activation) -> Stage:
    """Return the stage with its graph's last activation left to the runtime, if no step needs it; else unchanged."""
    if stage.network.activation is not Activation.NONE or activation is Activation.NONE:
        return stage
    network = msgspec.structs.replace(stage.network, activation=activation)
    on_logits = msgspec.structs.replace(stage, network=network)
    return stage if without_activation(on_logits) is on_logits else on_logits


def drop_final_activation(model: Any) -> None:
    """Change a graph that ends in a softmax or sigmoid (`final_activation`), in place, to return its logits."""
    result = model.get_results()[0]
    result.input(0).replace_source_output(_last(model).input_value(0))
    model.validate_nodes_and_infer_types()


def leave_final_activation(spec: ModelSpec, stage: Stage, model: Any) -> tuple[ModelSpec, list[str]]:
    """Leave the last activation of a graph to the runtime if its stage needs none; return the spec and the changes.

    Args:
        spec: specification of the model.
        stage: stage of `spec` that runs the graph.
        model: graph, changed in place.
    """
    activation = final_activation(model)
    on_logits = with_logits(stage, activation)
    if on_logits is stage:
        return spec, []
    drop_final_activation(model)
    stages = tuple(on_logits if each is stage else each for each in spec.stages)
    return msgspec.structs.replace(spec, stages=stages), [f"last {activation} left to the runtime"]


def _last(model: Any) -> Any:
    node = producer(model.get_results()[0], 0)
    while kind(node) in TRANSPARENT:
        node = producer(node, 0)
    return node
