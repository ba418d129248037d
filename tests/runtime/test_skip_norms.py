"""In a quantised graph the parts of a skip connection are normed by group before they are joined, as bytes."""

from __future__ import annotations

import numpy as np
import openvino as ov
import pytest
from openvino import opset13

from brain_edge.runtime.graph_memory import block_bytes, lifetimes
from brain_edge.runtime.rewrites.f32 import rewrite_for_f32
from brain_edge.runtime.rewrites.skip_norms import norm_before_joining

SIDES = (32, 32, 32)
CHANNEL_BYTES = 4 * int(np.prod(SIDES))


def quantised(data, low: float = -4.0, high: float = 4.0):
    return opset13.fake_quantize(data, *(np.float32(limit) for limit in (low, high, low, high)), 256)


def convolution(data, channels_in: int, channels_out: int, seed: int):
    """Of quantised weights, as NNCF leaves them."""
    random = np.random.default_rng(seed)
    weights = random.standard_normal((channels_out, channels_in, 3, 3, 3)).astype(np.float32)
    weights *= np.float32((27 * channels_in) ** -0.5)
    limit = np.float32(np.abs(weights).max())
    weights = opset13.fake_quantize(opset13.constant(weights), -limit, limit, -limit, limit, 255)
    return opset13.convolution(data, weights, [1] * 3, [1] * 3, [1] * 3, [1] * 3)


def decoder(first: int = 8, second: int = 16, groups: int = 6, *, ends_in_bytes: bool = True) -> ov.Model:
    """Two results are quantised and joined, then normed by group, quantised and convolved, as in the residual U-Net."""
    random = np.random.default_rng(3)
    channels = first + second
    parameter = opset13.parameter([1, 2, *SIDES], np.float32)
    image = quantised(parameter)
    parts = [quantised(convolution(image, 2, width, seed)) for seed, width in enumerate((first, second))]
    scale, bias = (random.uniform(0.5, 1.5, channels).astype(np.float32) for _ in range(2))
    norm = opset13.relu(opset13.group_normalization(opset13.concat(parts, 1), scale, bias, groups, 1e-5))
    last = convolution(quantised(norm, 0.0, 6.0) if ends_in_bytes else norm, channels, 4, 9)
    return ov.Model([opset13.result(last)], [parameter])


def computed(model: ov.Model) -> np.ndarray:
    image = np.random.default_rng(1).standard_normal((1, 2, *SIDES)).astype(np.float32)
    return np.array(compiled(model)([image])[0])


def compiled(model: ov.Model) -> ov.CompiledModel:
    return ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 2})


def kinds_before_joins(model: ov.Model) -> list[str]:
    joins = [node for node in model.get_ordered_ops() if node.get_type_name() == "Concat"]
    return [value.get_node().get_type_name() for join in joins for value in join.input_values()]


def test_parts_are_normed_by_themselves_and_joined_as_bytes():
    model = decoder()
    assert norm_before_joining(model, opset13) == 1
    assert kinds_before_joins(model) == ["FakeQuantize", "FakeQuantize"]
    norms = [node for node in model.get_ops() if node.get_type_name() == "GroupNormalization"]
    assert sorted(int(norm.get_attributes()["num_groups"]) for norm in norms) == [2, 4]


def test_the_result_is_that_of_the_plugin_but_for_a_rounding_of_a_byte_here_and_there():
    model = decoder()
    before = computed(model.clone())
    rewrite_for_f32(model, opset13)
    after = computed(model)
    scale = np.abs(before).max()
    assert np.abs(after - before).max() <= 0.02 * scale
    assert np.abs(after - before).mean() <= 0.001 * scale


def test_the_joined_tensor_is_never_there_in_floating_point():
    model = decoder(12, 12, 6)
    before = block_bytes(lifetimes(compiled(model.clone()).get_runtime_model()))
    rewrite_for_f32(model, opset13)
    after = block_bytes(lifetimes(compiled(model).get_runtime_model()))
    assert before >= 2 * 24 * CHANNEL_BYTES, "the joined tensor and its norm"
    assert after <= 0.8 * before


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (decoder(8, 16, 2), "a group has channels of both parts"),
        (decoder(ends_in_bytes=False), "what is joined again would be in floating point"),
    ],
)
def test_other_norms_stay_behind_the_join(model, why):
    assert norm_before_joining(model, opset13) == 0, why


def test_a_graph_in_floating_point_is_not_this_modules():
    parameter = opset13.parameter([1, 8, *SIDES], np.float32)
    joined = opset13.concat([parameter, opset13.relu(parameter)], 1)
    ones = np.ones(16, np.float32)
    norm = opset13.group_normalization(joined, ones, ones, 4, 1e-5)
    assert norm_before_joining(ov.Model([opset13.result(norm)], [parameter]), opset13) == 0
