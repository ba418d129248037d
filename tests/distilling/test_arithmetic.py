"""Each operation in PyTorch gives what OpenVINO gives for random input, and its gradient is that of the numbers."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from openvino import Core, Model, PartialShape, Type
from openvino import opset13 as ops

from brain_edge_conversion.distilling.arithmetic import OPERATIONS, rounded
from brain_edge_conversion.distilling.known import INTERPOLATIONS, KNOWN, first_unknown
from brain_edge_conversion.distilling.student import interpreter_of

if TYPE_CHECKING:
    from collections.abc import Callable

SHAPE = (1, 4, 8, 10, 12)
ONES, NONE = [1, 1, 1], [0, 0, 0]
F32 = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}


def numbers(*shape: int, seed: int = 0) -> Any:
    return ops.constant(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def axes(*values: int) -> Any:
    return ops.constant(np.array(values, np.int64))


def convolution(x: Any, strides: list[int], begin: list[int], end: list[int], dilations: list[int]) -> Any:
    return ops.convolution(x, numbers(3, 4, 3, 3, 3), strides, begin, end, dilations)


def resized(x: Any, mode: str, coordinates: str) -> Any:
    scales = ops.constant(np.full(3, 2.0, np.float32))
    given = {"coordinate_transformation_mode": coordinates, "nearest_mode": "floor", "axes": axes(2, 3, 4)}
    return ops.interpolate(x, scales, mode, "scales", **given)


def quantised(x: Any, low: float, high: float) -> Any:
    ends = [ops.constant(np.float32(each)) for each in (low, high, low, high)]
    return ops.fake_quantize(x, *ends, 256)


CASES: dict[str, Callable[[Any], Any]] = {
    "Convolution": lambda x: convolution(x, ONES, ONES, ONES, ONES),
    "Convolution, strides": lambda x: convolution(x, [2, 2, 2], ONES, ONES, ONES),
    "Convolution, dilations": lambda x: convolution(x, ONES, [2, 3, 4], [2, 3, 4], [2, 3, 4]),
    "Convolution, uneven pads": lambda x: convolution(x, [2, 1, 2], NONE, ONES, ONES),
    "Convolution, dilations and strides": lambda x: convolution(x, [2, 2, 2], [2] * 3, [2] * 3, [2] * 3),
    "Convolution, 2D": lambda x: ops.convolution(
        ops.reshape(x, axes(8, 4, 10, 12), False), numbers(3, 4, 3, 3), [1, 1], [1, 1], [1, 1], [1, 1]
    ),
    "GroupConvolution": lambda x: ops.group_convolution(x, numbers(2, 3, 2, 3, 3, 3), ONES, ONES, ONES, ONES),
    "ConvolutionBackpropData": lambda x: ops.convolution_backprop_data(x, numbers(4, 3, 2, 2, 2), [2, 2, 2]),
    "ConvolutionBackpropData, pads": lambda x: ops.convolution_backprop_data(
        x, numbers(4, 3, 3, 3, 3), [2, 2, 2], pads_begin=ONES, pads_end=ONES, output_padding=ONES
    ),
    "GroupConvolutionBackpropData": lambda x: ops.group_convolution_backprop_data(
        x, numbers(2, 2, 3, 2, 2, 2), [2, 2, 2]
    ),
    "Add": lambda x: ops.add(x, numbers(1, 4, 1, 1, 1)),
    "Subtract": lambda x: ops.subtract(x, numbers(4, 1, 1, 1)),
    "Multiply": lambda x: ops.multiply(x, x),
    "Divide": lambda x: ops.divide(x, ops.add(ops.exp(x), ops.constant(np.float32(1)))),
    "Concat": lambda x: ops.concat([x, ops.relu(x)], 1),
    "FakeQuantize": lambda x: quantised(x, -1.0, 1.5),
    "FakeQuantize, channels": lambda x: ops.fake_quantize(
        x,
        *(ops.constant(sign * np.array([1, 2, 0.5, 1.5], np.float32).reshape(1, 4, 1, 1, 1)) for sign in (-1, 1) * 2),
        255,
    ),
    "Convert": lambda x: ops.convert(x, "f32"),
    "Relu": ops.relu,
    "PRelu": lambda x: ops.prelu(x, ops.constant(np.array([0.1, 0.2, 0.3, -0.1], np.float32))),
    "PRelu, one slope": lambda x: ops.prelu(x, ops.constant(np.array([0.01], np.float32))),
    "Elu": lambda x: ops.elu(x, 1.0),
    "Sigmoid": ops.sigmoid,
    "Swish": ops.swish,
    "Swish, steepness": lambda x: ops.swish(x, ops.constant(np.float32(1.7))),
    "Mish": ops.mish,
    "Gelu": lambda x: ops.gelu(x, "erf"),
    "Gelu, tanh": lambda x: ops.gelu(x, "tanh"),
    "Tanh": ops.tanh,
    "Exp": ops.exp,
    "Sqrt": lambda x: ops.sqrt(ops.exp(x)),
    "Softmax": lambda x: ops.softmax(x, 1),
    "MVN": lambda x: ops.mvn(x, axes(2, 3, 4), normalize_variance=True, eps=1e-5, eps_mode="inside_sqrt"),
    "MVN, outside": lambda x: ops.mvn(x, axes(2, 3, 4), normalize_variance=True, eps=1e-2, eps_mode="outside_sqrt"),
    "MVN, mean": lambda x: ops.mvn(x, axes(1, 2, 3, 4), normalize_variance=False, eps=1e-5, eps_mode="inside_sqrt"),
    "GroupNormalization": lambda x: ops.group_normalization(x, numbers(4), numbers(4, seed=1), 2, 1e-5),
    "ReduceMean": lambda x: ops.reduce_mean(x, axes(2, 3, 4), True),
    "MaxPool": lambda x: ops.max_pool(x, [2, 2, 2], ONES, NONE, NONE, [2, 2, 2]).output(0),
    "MaxPool, pads": lambda x: ops.max_pool(x, [2, 2, 2], ONES, ONES, ONES, [3, 3, 3]).output(0),
    "MaxPool, ceil": lambda x: ops.max_pool(x, [2, 2, 2], ONES, NONE, NONE, [3, 3, 3], rounding_type="ceil").output(0),
    "AvgPool": lambda x: ops.avg_pool(x, [2, 2, 2], NONE, NONE, [2, 2, 2], True),
    "AvgPool, pads": lambda x: ops.avg_pool(x, [2, 2, 2], ONES, ONES, [3, 3, 3], True),
    "AvgPool, pads count": lambda x: ops.avg_pool(x, [2, 2, 2], ONES, ONES, [3, 3, 3], False),
    "Reshape": lambda x: ops.reshape(x, axes(1, 2, -1), False),
    "Squeeze": lambda x: ops.squeeze(x, axes(0)),
    "Unsqueeze": lambda x: ops.unsqueeze(x, axes(0)),
    "Broadcast": lambda x: ops.add(x, ops.broadcast(numbers(1, 4, 1, 1, 1), ops.shape_of(x))),
    **{f"Interpolate, {mode} {how}": partial(resized, mode=mode, coordinates=how) for mode, how in INTERPOLATIONS},
}


def model_of(case: str) -> Any:
    x = ops.parameter(PartialShape(SHAPE), Type.f32, name="x")
    return Model([CASES[case](x)], [x], case)


@pytest.mark.parametrize("case", CASES)
def test_an_operation_gives_what_openvino_gives(case: str):
    """But for values half-way between two of a quantiser, which may go either way."""
    model = model_of(case)
    image = np.random.default_rng(5).normal(size=SHAPE).astype(np.float32)
    wanted = Core().compile_model(model, "CPU", F32)(image)[0]
    found = interpreter_of(model, SHAPE)(torch.from_numpy(image), {}, {}).numpy()
    assert found.shape == wanted.shape
    far = np.abs(found - wanted) > 1e-4 * max(1.0, float(np.abs(wanted).max()))
    assert far.mean() <= (1e-3 if "Quantize" in case else 0)


def test_every_known_operation_has_a_function_and_a_case():
    assert OPERATIONS.keys() == KNOWN
    assert {case.split(",")[0] for case in CASES} == KNOWN


def test_an_operation_without_a_known_gradient_is_named():
    x = ops.parameter(PartialShape(SHAPE), Type.f32, name="x")
    assert first_unknown(Model([ops.relu(ops.sin(x))], [x], "sine")) == "Sin"
    cubic = resized(x, "cubic", "half_pixel")
    assert first_unknown(Model([cubic], [x], "cubic")) == "Interpolate cubic half_pixel"
    assert all(first_unknown(model_of(case)) is None for case in CASES)


def test_the_gradient_of_a_step_is_that_of_its_paper():
    """Esser et al., "Learned Step Size Quantization", equations 3 and 5."""
    values = torch.tensor([-3.0, 0.26, 0.9, 5.0], requires_grad=True)
    step = torch.tensor(0.5, requires_grad=True)
    found = rounded(values, step, (-2.0, 3.0))
    assert found.tolist() == [-1.0, 0.5, 1.0, 1.5]
    found.sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [0.0, 1.0, 1.0, 0.0]
    assert step.grad is not None
    assert float(step.grad) == pytest.approx(-2.0 + (1 - 0.52) + (2 - 1.8) + 3.0)
