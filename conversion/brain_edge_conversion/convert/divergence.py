"""Where a conversion goes wrong first: the layers of a PyTorch module beside the nodes that the tracer made of them.

The tracer names a node after the module that it came from (`__module.encoder.0/aten::_convolution/Add`), so the last
node of a leaf module gives what its forward hook sees. What cannot be told: functions that are no modules (they fall to
the next module after them), modules that are called several times, layers whose output a rewrite has given another
shape, and all of TorchScript, torch.export and ONNX, whose layers have no hooks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
import torch
from torch import nn

from brain_edge.bench.operations import compile_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brain_edge.image.volume import FloatArray

_AT_ONCE: Final = 8
"""Layers that are kept in memory at the same time; a whole network of feature maps would not fit."""
_NO_DATA: Final = frozenset({"Constant", "Result", "Parameter"})


class LayerError(msgspec.Struct, frozen=True):
    """How far the output of one layer is from PyTorch.

    Attributes:
        layer: name of the module.
        kind: its class.
        max_error: largest absolute difference.
        relative_error: largest absolute difference / largest absolute output of PyTorch.
    """

    layer: str
    kind: str
    max_error: float
    relative_error: float


class Divergence(msgspec.Struct, frozen=True):
    """The layers of one graph, in the order in which they run, up to the first that differs.

    Attributes:
        graph: its name.
        layers: leaf modules of the network.
        mapped: how many of them have a node in the graph that can be compared.
        compared: those up to the first that differs.
        first: the first that differs, or None.
    """

    graph: str
    layers: int
    mapped: int
    compared: tuple[LayerError, ...]
    first: str | None


def find_divergence(
    graph: str, module: nn.Module, model: Any, inputs: tuple[FloatArray, FloatArray], allowed: float
) -> Divergence:
    """Compare layer by layer, in the order in which PyTorch runs them, until one differs.

    Args:
        graph: its name.
        module: the published network.
        model: the OpenVINO model that was made of it.
        inputs: the same input as either of them takes it, (1, C, I, J, K).
        allowed: relative error from which on a layer differs.
    """
    order = _leaves_in_order(module, inputs[0])
    mapped = [name for name in order if name in (found := _last_nodes(model, order))]
    compared: list[LayerError] = []
    for start in range(0, len(mapped), _AT_ONCE):
        names = mapped[start : start + _AT_ONCE]
        outputs = _outputs_of_layers(module, names, inputs[0])
        for name, got in zip(names, _outputs_of_nodes(model, [found[name] for name in names], inputs[1]), strict=True):
            wanted = outputs[name]
            if wanted.shape != got.shape:
                continue  # a rewrite has moved it
            compared.append(_layer_error(name, type(module.get_submodule(name)).__name__, wanted, got))
            if not compared[-1].relative_error <= allowed:
                return Divergence(graph, len(order), len(mapped), tuple(compared), name)
    return Divergence(graph, len(order), len(mapped), tuple(compared), None)


def _layer_error(name: str, kind: str, wanted: FloatArray, got: FloatArray) -> LayerError:
    difference, largest = float(np.abs(wanted - got).max()), float(np.abs(wanted).max())
    return LayerError(name, kind, difference, difference / largest if largest else difference)


def _leaves_in_order(module: nn.Module, batch: FloatArray) -> list[str]:
    """Leaf modules that run once, in the order in which they do."""
    calls: list[str] = []
    leaves = {name: leaf for name, leaf in module.named_modules() if name and not any(leaf.children())}
    if any(isinstance(each, torch.jit.ScriptModule) for each in module.modules()):
        return []
    hooks = [
        leaf.register_forward_hook(lambda _leaf, _inputs, _output, name=name: calls.append(name))
        for name, leaf in leaves.items()
    ]
    _run(module, batch, hooks)
    return [name for name in calls if calls.count(name) == 1]


def _outputs_of_layers(module: nn.Module, names: Sequence[str], batch: FloatArray) -> dict[str, FloatArray]:
    kept: dict[str, FloatArray] = {}

    def keep(name: str, output: Any) -> None:
        # a copy: the next layer may work in place
        kept[name] = output.detach().numpy().copy() if isinstance(output, torch.Tensor) else np.empty(0, np.float32)

    hooks = [
        module.get_submodule(name).register_forward_hook(lambda _leaf, _inputs, output, name=name: keep(name, output))
        for name in names
    ]
    _run(module, batch, hooks)
    return kept


def _run(module: nn.Module, batch: FloatArray, hooks: Sequence[Any]) -> None:
    try:
        with torch.no_grad():
            module(torch.from_numpy(batch.copy()))  # it may work in place
    finally:
        for hook in hooks:
            hook.remove()


def _last_nodes(model: Any, names: Sequence[str]) -> dict[str, Any]:
    """The last node that the tracer made of each module, by the module's name."""
    wanted = set(names)
    found: dict[str, Any] = {}
    for node in model.get_ordered_ops():
        head, slash, _ = node.get_friendly_name().partition("/")
        name = head.removeprefix("__module.")
        if slash and name in wanted and node.get_type_name() not in _NO_DATA and node.get_output_size() == 1:
            found[name] = node
    return found


def _outputs_of_nodes(model: Any, nodes: Sequence[Any], batch: FloatArray) -> list[FloatArray]:
    """What some nodes of a graph give, in f32; the graph stays as it is."""
    own = model.clone()
    own.reshape(list(batch.shape))
    by_name = {node.get_friendly_name(): node for node in own.get_ordered_ops()}
    first = len(own.outputs)
    own.add_outputs([by_name[node.get_friendly_name()].output(0) for node in nodes])
    compiled = compile_model(own, {"INFERENCE_PRECISION_HINT": "f32"})
    results = compiled(batch)
    return [np.array(results[number]) for number in range(first, first + len(nodes))]
