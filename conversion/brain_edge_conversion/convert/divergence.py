"""Search for the first layer at which a converted graph differs from its PyTorch module.

The tracer names a node after its module (`__module.encoder.0/aten::_convolution/Add`), so the last node of a leaf
module has the output that the module's forward hook sees. Some layers cannot be compared: functions outside modules
(an error shows at the next module), modules that are called several times, layers whose output shape a rewrite has
changed, and all layers of TorchScript, torch.export and ONNX, which have no hooks.
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
"""Number of layers whose outputs are in memory at a time; the feature maps of a whole network would not fit."""
_NO_DATA: Final = frozenset({"Constant", "Result", "Parameter"})


class LayerError(msgspec.Struct, frozen=True):
    """Difference between one layer's output and PyTorch's.

    Attributes:
        layer: name of the module.
        kind: class of the module.
        max_error: largest absolute difference.
        relative_error: largest absolute difference / largest absolute output of PyTorch.
    """

    layer: str
    kind: str
    max_error: float
    relative_error: float


class Divergence(msgspec.Struct, frozen=True):
    """Layers of one graph, in running order, up to the first that differs.

    Attributes:
        graph: name of the graph.
        layers: number of leaf modules in the network.
        mapped: number of leaf modules with a comparable node in the graph.
        compared: errors of the layers up to the first that differs.
        first: name of the first layer that differs, or None.
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
        graph: name of the graph.
        module: published network.
        model: OpenVINO model converted from `module`.
        inputs: one input in the form that each side takes (module, model), (1, C, I, J, K).
        allowed: largest relative error of a layer that counts as equal.
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
                continue  # a rewrite has moved the layer
            compared.append(_layer_error(name, type(module.get_submodule(name)).__name__, wanted, got))
            if not compared[-1].relative_error <= allowed:
                return Divergence(graph, len(order), len(mapped), tuple(compared), name)
    return Divergence(graph, len(order), len(mapped), tuple(compared), None)


def _layer_error(name: str, kind: str, wanted: FloatArray, got: FloatArray) -> LayerError:
    difference, largest = float(np.abs(wanted - got).max()), float(np.abs(wanted).max())
    return LayerError(name, kind, difference, difference / largest if largest else difference)


def _leaves_in_order(module: nn.Module, batch: FloatArray) -> list[str]:
    """Return the leaf modules that run exactly once, in running order."""
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
        # a copy: the next layer may change the output in place
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
            module(torch.from_numpy(batch.copy()))  # the module may change its input in place
    finally:
        for hook in hooks:
            hook.remove()


def _last_nodes(model: Any, names: Sequence[str]) -> dict[str, Any]:
    """Module name -> last node that the tracer made from the module."""
    wanted = set(names)
    found: dict[str, Any] = {}
    for node in model.get_ordered_ops():
        head, slash, _ = node.get_friendly_name().partition("/")
        name = head.removeprefix("__module.")
        if slash and name in wanted and node.get_type_name() not in _NO_DATA and node.get_output_size() == 1:
            found[name] = node
    return found


def _outputs_of_nodes(model: Any, nodes: Sequence[Any], batch: FloatArray) -> list[FloatArray]:
    """Return the f32 outputs of some nodes; the graph is unchanged."""
    own = model.clone()
    own.reshape(list(batch.shape))
    by_name = {node.get_friendly_name(): node for node in own.get_ordered_ops()}
    first = len(own.outputs)
    own.add_outputs([by_name[node.get_friendly_name()].output(0) for node in nodes])
    compiled = compile_model(own, {"INFERENCE_PRECISION_HINT": "f32"})
    results = compiled(batch)
    return [np.array(results[number]) for number in range(first, first + len(nodes))]
