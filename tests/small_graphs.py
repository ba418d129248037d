"""Small OpenVINO graphs with a little of everything that a fit meets."""

from __future__ import annotations

from typing import Any

import numpy as np
from openvino import Model, PartialShape, Type
from openvino import opset13 as ops


def numbers(seed: int, *shape: int) -> np.ndarray:
    fan = max(1, int(np.prod(shape[1:])))
    return (np.random.default_rng(seed).normal(size=shape) * np.sqrt(2 / fan)).astype(np.float32)


def named(node: Any, name: str) -> Any:
    node.set_friendly_name(name)
    return node


def convolution(node: Any, weights: np.ndarray, bias: np.ndarray | None, name: str) -> Any:
    ones, pads = [1, 1, 1], [weights.shape[-1] // 2] * 3
    made = ops.group_convolution if weights.ndim == 6 else ops.convolution
    found = named(made(node, ops.constant(weights), ones, pads, pads, ones), name)
    return found if bias is None else named(ops.add(found, ops.constant(bias.reshape(1, -1, 1, 1, 1))), f"{name}/bias")


def chain(activation: Any = ops.relu, spread: float = 30.0) -> Any:
    """Four convolutions (1, 1, I, J, K) -> (1, 3, I, J, K); channels of the second activation differ by `spread`."""
    image = ops.parameter(PartialShape([1, 1, -1, -1, -1]), Type.f32, name="image")
    first = numbers(0, 6, 1, 3, 3, 3)
    second = numbers(1, 6, 6, 3, 3, 3) * np.geomspace(1, spread, 6).astype(np.float32).reshape(-1, 1, 1, 1, 1)
    third = numbers(2, 6, 6, 3, 3, 3) / np.geomspace(1, spread, 6).astype(np.float32).reshape(1, -1, 1, 1, 1)
    node = activation(convolution(image, first, numbers(3, 6) * 0.1, "first"))
    node = activation(convolution(node, second, numbers(4, 6) * 0.1, "second"))
    node = activation(convolution(node, third, numbers(5, 6) * 0.1, "third"))
    return Model([convolution(node, numbers(6, 3, 6, 1, 1, 1), numbers(7, 3), "head")], [image], "chain")


def mixture() -> Any:
    """A grouped convolution without a bias, a norm, a skip connection, a strided and a transposed convolution."""
    image = ops.parameter(PartialShape([1, 1, -1, -1, -1]), Type.f32, name="image")
    stem = ops.relu(convolution(image, numbers(0, 4, 1, 3, 3, 3), numbers(1, 4) * 0.1, "stem"))
    grouped = convolution(stem, numbers(2, 4, 1, 1, 3, 3, 3), None, "grouped")
    axes = ops.constant(np.array([2, 3, 4]))
    normed = ops.relu(ops.mvn(grouped, axes, normalize_variance=True, eps=1e-5, eps_mode="inside_sqrt"))
    down = ops.convolution(normed, ops.constant(numbers(3, 8, 4, 2, 2, 2)), [2, 2, 2], [0] * 3, [0] * 3, [1, 1, 1])
    up = ops.convolution_backprop_data(
        ops.relu(named(down, "down")), ops.constant(numbers(4, 8, 4, 2, 2, 2)), [2, 2, 2]
    )
    both = ops.concat([stem, ops.relu(named(up, "up"))], 1)
    return Model([convolution(both, numbers(5, 2, 8, 1, 1, 1), numbers(6, 2), "head")], [image], "mixture")


def decided_by_far_values() -> Any:
    """Three convolutions to two logits, of which one is in the hundreds where the image is bright."""
    image = ops.parameter(PartialShape([1, 1, -1, -1, -1]), Type.f32, name="image")
    first, second, head = numbers(0, 6, 1, 3, 3, 3), numbers(1, 6, 6, 3, 3, 3), numbers(2, 2, 6, 1, 1, 1)
    first[0], second[0], head[:, 0] = 0, 0, 0
    # channel 0 is the image, then what of it is above 0.75, then a part of the first logit
    first[0, 0, 1, 1, 1], second[0, 0, 1, 1, 1], head[0, 0] = 1, 2000, 1
    node = ops.relu(convolution(image, first, np.zeros(6, np.float32), "first"))
    node = ops.relu(convolution(node, second, np.array([-1500, 0, 0, 0, 0, 0], np.float32), "second"))
    return Model([convolution(node, head, np.array([-0.2, 0.2], np.float32), "head")], [image], "far")


def image(seed: int = 0, side: int = 16) -> np.ndarray:
    """A smooth image (1, 1, side, side, side) between 0 and 1."""
    places = np.meshgrid(*[np.linspace(0, 3, side)] * 3, indexing="ij")
    waves = sum(np.sin(place * (2 + number) + seed) for number, place in enumerate(places))
    noise = np.random.default_rng(seed).normal(0, 0.1, (side,) * 3)
    return ((waves + noise + 3) / 6).astype(np.float32)[np.newaxis, np.newaxis]


def operations_of(model: Any) -> list[tuple[str, str, str, str]]:
    """Kind, name, shape and type of every node, constants included."""
    return [
        (
            node.get_type_name(),
            node.get_friendly_name(),
            str(node.get_output_partial_shape(0)),
            str(node.get_output_element_type(0)),
        )
        for node in model.get_ordered_ops()
        if node.get_type_name() != "Result"
    ]


def quantised_stem(
    *, channels: int = 1, side: int = 24, kernel: int = 7, stride: int = 2, most: int = 64, in_bytes: bool = True
) -> Any:
    """One quantised convolution, as NNCF stores it."""
    rng = np.random.default_rng(3)
    image = ops.parameter(PartialShape([1, channels, side, side, side]), Type.f32, name="image")
    ends = [ops.constant(np.float32(end)) for end in (-1.0, 3.0, -1.0, 3.0)]
    data = ops.fake_quantize(image, *ends, 256)
    stored = rng.integers(-most, most + 1, size=(8, channels, *[kernel] * 3)).astype(np.int8)
    scale = rng.uniform(0.001, 0.002, size=(8, 1, 1, 1, 1)).astype(np.float32)
    weights: Any = ops.multiply(ops.convert(ops.constant(stored), "f32"), ops.constant(scale))
    if not in_bytes:
        weights = ops.constant(stored.astype(np.float32) * scale)
    pads = [kernel // 2] * 3
    convolution = ops.convolution(data, weights, [stride] * 3, pads, pads, [1, 1, 1])
    convolution.set_friendly_name("stem")
    return Model([convolution], [image], "stem")
