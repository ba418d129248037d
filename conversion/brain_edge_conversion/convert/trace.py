"""From a PyTorch module to an OpenVINO graph."""

from __future__ import annotations

import copy
import warnings
from typing import TYPE_CHECKING, Any

from brain_edge.errors import BrainEdgeError
from brain_edge.runtime.library import import_openvino
from brain_edge_conversion.convert.graph_input import example_input, open_shape
from brain_edge_conversion.convert.rewrites.outputs import describe_outputs

if TYPE_CHECKING:
    from torch import Tensor, nn

    from brain_edge.image.geometry import Shape
    from brain_edge.spec import Network


def trace(module: nn.Module, network: Network, example_shape: Shape, *, has_fixed_sides: bool = False) -> Any:
    """An OpenVINO model of a module, its module left as it is; open sides as `open_shape` has.

    Args:
        module: in the state that is to be converted.
        network: says what its input looks like, (1, C, I, J, K) for volumes.
        example_shape: sides that it accepts, small.
        has_fixed_sides: leave none of them open.

    Raises:
        BrainEdgeError: the converter cannot express the network (its words name the operator), or the network has
            several inputs or outputs.
    """
    import torch

    example = torch.zeros(example_input(network.execution, network.channels_in, example_shape))
    # without its shape the converter leaves sides open that a later reshape cannot close again (Swin UNETR)
    shapes = {"input": [tuple(example.shape)]} if has_fixed_sides else {}
    # the converter puts what it is given into evaluation mode: a norm that is to run in training mode would change
    # under the hands of the parity check, which would then compare one wrong network with another
    module = copy.deepcopy(module)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            # PyTorch's own instance norm branches on shapes, which tracing freezes; parity is checked on other shapes
            warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]  # public, unlisted
            traced = import_openvino().convert_model(module, example_input=example, **shapes)
    except Exception as error:  # the converter raises RuntimeError, errors of its own, and torch's
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise BrainEdgeError(f"OpenVINO cannot convert {type(module).__name__}: {reason}") from error
    if len(traced.inputs) != 1:
        raise BrainEdgeError(
            f"expected a network with one input, {type(module).__name__} has {len(traced.inputs)}; "
            "give a module whose forward takes all sequences as channels of one tensor"
        )
    if len(traced.outputs) != 1:
        raise BrainEdgeError(
            f"expected a network with one output, {type(module).__name__} returns {_outputs(module, example)}; "
            "name the one that is meant in the recipe (`output` of its GraphSource), or give a module whose forward "
            "returns it alone"
        )
    if not has_fixed_sides:
        traced.reshape(list(open_shape(network.execution, network.channels_in)))
    return traced


def _outputs(module: nn.Module, example: Tensor) -> str:
    """What a network returns in evaluation mode, in words."""
    import torch

    with torch.no_grad():
        return describe_outputs(module.eval()(example))
