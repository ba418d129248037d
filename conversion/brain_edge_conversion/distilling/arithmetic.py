"""Operations of OpenVINO in PyTorch, for gradients; each gives what OpenVINO gives, up to rounding."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch
from torch.nn import functional

from brain_edge_conversion.distilling.known import INTERPOLATIONS, interpolation_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor


@dataclass(frozen=True)
class Step:
    """One operation of a graph with static shapes.

    Attributes:
        name: name of the node.
        kind: type of the operation.
        sources: names of the nodes whose values it reads.
        attributes: attributes of the node.
        shape: shape of its output.
    """

    name: str
    kind: str
    sources: tuple[str, ...]
    attributes: Mapping[str, Any]
    shape: tuple[int, ...]


class _Rounded(torch.autograd.Function):
    """Rounding to one of the values of a quantiser; the gradient passes as if nothing were rounded.

    The gradient of the step is that of Esser et al., "Learned Step Size Quantization", ICLR 2020; that of the values is
    the straight-through estimator of Bengio et al., 2013: 1 within the range, 0 outside of it.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, step: Tensor, ends: tuple[float, float]) -> Tensor:
        ctx.save_for_backward(values, step)
        ctx.ends = ends
        return torch.round(values / step).clamp_(*ends).mul_(step)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, None]:
        (gradient,), (values, step), (least, most) = gradients, ctx.saved_tensors, ctx.ends
        whole = values / step
        inside = (whole >= least) & (whole <= most)
        of_step = None
        if ctx.needs_input_grad[1]:
            slope = torch.where(inside, torch.round(whole) - whole, whole.clamp(least, most))
            of_step = (gradient * slope).sum_to_size(step.shape)
        return gradient * inside, of_step, None


def rounded(values: Tensor, step: Tensor, ends: tuple[float, float]) -> Tensor:
    """Return values rounded to whole multiples of `step` between `ends[0] * step` and `ends[1] * step`."""
    return _Rounded.apply(values, step, ends)  # type: ignore[no-any-return, no-untyped-call]  # PyTorch has no types here


def _convolution(step: Step, values: Tensor, weights: Tensor) -> Tensor:
    groups = 1
    if step.kind == "GroupConvolution":
        groups, weights = weights.shape[0], weights.flatten(0, 1)
    attributes = step.attributes
    begin, end = attributes["pads_begin"], attributes["pads_end"]
    strides, dilations = list(attributes["strides"]), list(attributes["dilations"])
    padded = functional.pad(values, _pads(begin, end))
    if groups == 1 and max(strides) == 1 and min(dilations) > 1:
        return _on_phases(padded, weights, dilations, step.shape[2:])
    return torch.convolution(padded, weights, None, strides, [0] * len(strides), dilations, False, [0], groups)


def _on_phases(padded: Tensor, weights: Tensor, dilations: Sequence[int], sides: Sequence[int]) -> Tensor:
    """Return a dilated convolution as a plain one on every phase of the grid, several times as fast in PyTorch."""
    batch, channels, *extent = padded.shape
    counts = [-(-side // dilation) for side, dilation in zip(extent, dilations, strict=True)]
    filled = [count * dilation - side for count, dilation, side in zip(counts, dilations, extent, strict=True)]
    split = functional.pad(padded, _pads([0] * len(extent), filled)).view(
        batch, channels, *(side for pair in zip(counts, dilations, strict=True) for side in pair)
    )
    axes = range(len(extent))
    phases = split.permute(*(3 + 2 * axis for axis in axes), 0, 1, *(2 + 2 * axis for axis in axes))
    ones = [1] * len(extent)
    found = torch.convolution(
        phases.reshape(-1, channels, *counts), weights, None, ones, [0] * len(extent), ones, False, [0], 1
    )
    rows = found.view(*dilations, batch, *found.shape[1:])
    behind = len(extent)
    order = [behind, behind + 1, *(place for axis in axes for place in (behind + 2 + axis, axis))]
    whole = rows.permute(*order).reshape(batch, found.shape[1], *_sides(found, dilations))
    return whole[(slice(None), slice(None), *(slice(0, side) for side in sides))]


def _sides(found: Tensor, dilations: Sequence[int]) -> list[int]:
    return [side * dilation for side, dilation in zip(found.shape[2:], dilations, strict=True)]


def _transposed(step: Step, values: Tensor, weights: Tensor) -> Tensor:
    groups = 1
    if step.kind == "GroupConvolutionBackpropData":
        groups, weights = weights.shape[0], weights.flatten(0, 1)
    strides, begin = list(step.attributes["strides"]), list(step.attributes["pads_begin"])
    nothing, dilations = [0] * len(strides), list(step.attributes["dilations"])
    whole = torch.convolution(values, weights, None, strides, nothing, dilations, True, nothing, groups)
    sides = step.shape[2:]
    missing = [max(0, pad + side - have) for pad, side, have in zip(begin, sides, whole.shape[2:], strict=True)]
    window = (slice(pad, pad + side) for pad, side in zip(begin, sides, strict=True))
    return functional.pad(whole, _pads(nothing, missing))[(slice(None), slice(None), *window)]


def _pads(begin: Sequence[int], end: Sequence[int]) -> list[int]:
    """Return pads in the order of PyTorch, last axis first."""
    return [each for pair in zip(reversed(list(begin)), reversed(list(end)), strict=True) for each in pair]


def _pooled(step: Step, values: Tensor, filling: float) -> tuple[Tensor, list[int], list[int]]:
    """Return padded values, kernel and strides so that a pooling without pads gives the shape of the output."""
    kernel, strides, begin = (list(step.attributes[name]) for name in ("kernel", "strides", "pads_begin"))
    reach = [(side - 1) * stride + size for side, stride, size in zip(step.shape[2:], strides, kernel, strict=True)]
    end = [max(0, most - pad - have) for most, pad, have in zip(reach, begin, values.shape[2:], strict=True)]
    return functional.pad(values, _pads(begin, end), value=filling), kernel, strides


def _largest(step: Step, values: Tensor) -> Tensor:
    padded, kernel, strides = _pooled(step, values, -math.inf)
    pool = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)[len(kernel) - 1]
    return pool(padded, kernel, strides)


def _mean_of_windows(step: Step, values: Tensor) -> Tensor:
    padded, kernel, strides = _pooled(step, values, 0.0)
    pool: Any = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)[len(kernel) - 1]
    found: Tensor = pool(padded, kernel, strides)
    if not step.attributes["exclude-pad"]:
        return found
    ones, *_ = _pooled(step, torch.ones_like(values), 0.0)
    covered: Tensor = pool(ones, kernel, strides)
    return found / covered


def _resized(step: Step, values: Tensor) -> Tensor:
    mode, aligned = INTERPOLATIONS[interpolation_of(step.attributes)]
    name = mode if mode == "nearest" else {3: "linear", 4: "bilinear", 5: "trilinear"}[values.dim()]
    return functional.interpolate(values, list(step.shape[2:]), mode=name, align_corners=aligned)


def _normed(step: Step, values: Tensor, axes: Tensor) -> Tensor:
    over = [int(axis) for axis in axes.reshape(-1)]
    centred = values - values.mean(over, keepdim=True)
    if not step.attributes["normalize_variance"]:
        return centred
    variance, tiny = centred.square().mean(over, keepdim=True), float(step.attributes["eps"])
    if step.attributes["eps_mode"].lower() == "inside_sqrt":
        return centred / torch.sqrt(variance + tiny)
    return centred / (torch.sqrt(variance) + tiny)


def _group_normed(step: Step, values: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    attributes = step.attributes
    return functional.group_norm(values, int(attributes["num_groups"]), scale, shift, float(attributes["epsilon"]))


def _leaky(_step: Step, values: Tensor, slope: Tensor) -> Tensor:
    by_channel = slope.dim() == 1 and slope.shape[0] == values.shape[1]
    slopes = slope.reshape(1, -1, *[1] * (values.dim() - 2)) if by_channel else slope
    return torch.where(values >= 0, values, values * slopes)


def _quantised(step: Step, values: Tensor, *ends: Tensor) -> Tensor:
    """Return what a quantiser with fixed ranges passes on."""
    low, high, low_out, high_out = ends
    most = int(step.attributes["levels"]) - 1
    places = rounded(values - low, (high - low) / most, (0.0, float(most))) / (high - low)
    return places * (high_out - low_out) + low_out


def _swish(_step: Step, values: Tensor, *steepness: Tensor) -> Tensor:
    return values * torch.sigmoid(values * steepness[0] if steepness else values)


def _gelu(step: Step, values: Tensor) -> Tensor:
    is_tanh = str(step.attributes["approximation_mode"]).lower() == "tanh"
    return functional.gelu(values, approximate="tanh" if is_tanh else "none")


def _mean(step: Step, values: Tensor, axes: Tensor) -> Tensor:
    return values.mean([int(axis) for axis in axes.reshape(-1)], keepdim=True).reshape(step.shape)


OPERATIONS: Final[Mapping[str, Callable[..., Tensor]]] = {
    **dict.fromkeys(("Convolution", "GroupConvolution"), _convolution),
    **dict.fromkeys(("ConvolutionBackpropData", "GroupConvolutionBackpropData"), _transposed),
    "Add": lambda _step, first, second: first + second,
    "Subtract": lambda _step, first, second: first - second,
    "Multiply": lambda _step, first, second: first * second,
    "Divide": lambda _step, first, second: first / second,
    "Concat": lambda step, *parts: torch.cat(parts, int(step.attributes["axis"])),
    "FakeQuantize": _quantised,
    "Convert": lambda _step, values: values.float(),
    "Relu": lambda _step, values: torch.relu(values),
    "PRelu": _leaky,
    "Elu": lambda step, values: functional.elu(values, float(step.attributes["alpha"])),
    "Sigmoid": lambda _step, values: torch.sigmoid(values),
    "Swish": _swish,
    "Mish": lambda _step, values: functional.mish(values),
    "Gelu": _gelu,
    "Tanh": lambda _step, values: torch.tanh(values),
    "Exp": lambda _step, values: torch.exp(values),
    "Sqrt": lambda _step, values: torch.sqrt(values),
    "Softmax": lambda step, values: torch.softmax(values, int(step.attributes["axis"])),
    "MVN": _normed,
    "GroupNormalization": _group_normed,
    "ReduceMean": _mean,
    "MaxPool": _largest,
    "AvgPool": _mean_of_windows,
    "Interpolate": _resized,
    **dict.fromkeys(("Reshape", "Squeeze", "Unsqueeze"), lambda step, values: values.reshape(step.shape)),
    "Broadcast": lambda step, values: values.expand(step.shape),
}
"""Kind of an operation -> function of the operation and its inputs."""
