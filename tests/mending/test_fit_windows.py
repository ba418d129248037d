"""A layer at sampled positions is a product of windows and rows: OpenVINO judges, for every kind of layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from openvino import Core, Model
from openvino import opset13 as ops

from brain_edge_conversion.mending.windows import (
    Patches,
    as_rows,
    from_rows,
    in_groups,
    layout_of,
    places,
    places_read,
    windows_at,
)

RANDOM = np.random.default_rng(0)


def numbers(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


def convolution(weights: np.ndarray, image: Any, strides: list[int], pads: list[int], dilations: list[int]) -> Any:
    made = ops.group_convolution if weights.ndim == len(strides) + 3 else ops.convolution
    return made(image, ops.constant(weights), strides, pads, pads, dilations)


def transposed(weights: np.ndarray, image: Any, strides: list[int], pads: list[int], dilations: list[int]) -> Any:
    if weights.ndim == len(strides) + 3:
        return ops.group_convolution_backprop_data(
            image, ops.constant(weights), strides, None, pads, pads, dilations, output_padding=[0] * len(strides)
        )
    return ops.convolution_backprop_data(image, ops.constant(weights), strides, None, pads, pads, dilations)


CASES = {
    "plain": (convolution, (4, 3, 3, 3, 3), (2, 3, 6, 7, 5), (1, 1, 1), (1, 1, 1), (1, 1, 1)),
    "dilated": (convolution, (4, 3, 3, 3, 3), (1, 3, 9, 8, 7), (1, 1, 1), (2, 3, 1), (2, 3, 1)),
    "strided": (convolution, (2, 3, 3, 3, 3), (1, 3, 9, 8, 7), (2, 1, 2), (1, 0, 1), (1, 1, 1)),
    "of slices": (convolution, (4, 3, 3, 3), (3, 3, 9, 8), (1, 2), (1, 1), (1, 1)),
    "grouped": (convolution, (3, 2, 1, 3, 3, 3), (1, 3, 6, 7, 5), (1, 1, 1), (1, 1, 1), (1, 1, 1)),
    "transposed": (transposed, (3, 2, 2, 2, 2), (1, 3, 4, 5, 3), (2, 2, 2), (0, 0, 0), (1, 1, 1)),
    "transposed, overlapping": (transposed, (3, 2, 3, 3, 4), (1, 3, 4, 5, 3), (2, 1, 2), (1, 1, 0), (1, 2, 1)),
    "transposed, grouped": (transposed, (2, 2, 3, 3, 3), (1, 4, 4, 5), (2, 2), (1, 0), (1, 1)),
}


@pytest.mark.parametrize("name", CASES)
def test_windows_times_rows_are_the_output_of_a_convolution(name: str):
    made, weights, sides, strides, pads, dilations = CASES[name]
    image = ops.parameter(list(sides), np.float32)
    node = made(numbers(*weights), image, list(strides), list(pads), list(dilations))
    assert_reproduced(node, image, numbers(*sides))


@pytest.mark.parametrize("transpose", [False, True])
def test_windows_times_rows_are_a_matrix_product(transpose: bool):
    values = ops.parameter([2, 5, 6], np.float32)
    weights = numbers(*((4, 6) if transpose else (6, 4)))
    node = ops.matmul(values, ops.constant(weights), transpose_a=False, transpose_b=transpose)
    assert_reproduced(node, values, numbers(2, 5, 6))


def test_a_product_of_two_activations_has_no_layout():
    left, right = ops.parameter([2, 5, 6], np.float32), ops.parameter([2, 6, 5], np.float32)
    assert layout_of(ops.matmul(left, right, transpose_a=False, transpose_b=False)) is None


def assert_reproduced(node: Any, parameter: Any, values: np.ndarray) -> None:
    output = Core().compile_model(Model([node], [parameter], "layer"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(
        values
    )[0]
    layout = layout_of(node)
    assert layout is not None
    weights = node.input_value(1).get_node().data
    rows = as_rows(weights, layout)
    assert np.array_equal(from_rows(rows, layout), weights)
    sides = places(output.shape, layout)
    positions = np.arange(np.prod(sides))
    channels_last = values if layout.is_product else np.moveaxis(values, 1, -1)
    extent = () if layout.is_product else values.shape[2:]
    read = places_read(positions, sides, extent, layout)
    patches = Patches(read, channels_last.reshape(-1, channels_last.shape[-1])[read], extent)
    product = windows_at(patches, sides, layout, positions) @ np.swapaxes(rows, 1, 2)
    flat = output if layout.is_product else np.moveaxis(output, 1, -1)
    wanted = in_groups(flat.reshape(-1, flat.shape[-1]), layout)
    np.testing.assert_allclose(product, wanted, rtol=1e-4, atol=1e-4)
