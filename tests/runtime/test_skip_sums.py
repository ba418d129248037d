"""Convolutions of joined tensors are sums of convolutions of their parts, and the joined tensor is never made."""

from __future__ import annotations

from math import prod

import numpy as np
import openvino as ov
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from openvino import opset13
from torch import nn

from brain_edge.runtime.graph_memory import block_bytes, lifetimes
from brain_edge.runtime.rewrites.skip_sums import sum_skips

pytestmark = pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")

BETWEEN = {
    "nothing": lambda _channels: nn.Identity(),
    "leaky activation": lambda _channels: nn.LeakyReLU(0.1),
    "slope by channel": nn.PReLU,
    "instance norm": lambda channels: nn.InstanceNorm3d(channels, affine=True),
    "group norm": lambda channels: nn.GroupNorm(channels // 2, channels),
    "batch norm": nn.BatchNorm3d,
    "norm and activation": lambda channels: nn.Sequential(nn.InstanceNorm3d(channels), nn.Mish(), nn.ReLU()),
}


class Decoder(nn.Module):
    """The last level of a U-Net: what was kept and what is upsampled are joined, something follows, a convolution."""

    def __init__(self, kept: int, upsampled: int, out: int, between, kernel: int = 3, dilation: int = 1) -> None:
        super().__init__()
        self.encoder = nn.Conv3d(1, kept, 3, padding=1)
        self.below = nn.Conv3d(kept, upsampled, 3, padding=1, stride=2)
        self.up = nn.Upsample(scale_factor=2)
        self.between = between(kept + upsampled)
        self.last = nn.Conv3d(kept + upsampled, out, kernel, padding=dilation * (kernel // 2), dilation=dilation)

    def joined(self, image: torch.Tensor) -> torch.Tensor:
        kept = torch.relu(self.encoder(image))
        return torch.cat([kept, self.up(self.below(kept))], dim=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.last(self.between(self.joined(image)))


class Shortcut(Decoder):
    """A residual block of the joined tensor: two convolutions read it, one of them behind a norm."""

    def __init__(self, kept: int, upsampled: int, out: int) -> None:
        super().__init__(kept, upsampled, out, nn.InstanceNorm3d)
        self.shortcut = nn.Conv3d(kept + upsampled, out, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        joined = self.joined(image)
        return self.last(self.between(joined)) + self.shortcut(joined)


class TwoHeads(Decoder):
    """A norm of the joined tensor that two convolutions read."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        normed = self.between(self.joined(image))
        return torch.cat([self.last(normed), self.last(torch.relu(normed))], dim=1)


class AlsoPooled(Decoder):
    """One of those that read the joined tensor is no convolution, so that it has to be there."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        joined = self.joined(image)
        return self.last(self.between(joined)) + joined.mean()


def trained(network: nn.Module, seed: int = 0) -> nn.Module:
    """Parameters and statistics that no channel shares with another."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, values in [*network.named_parameters(), *network.named_buffers()]:
            if values.is_floating_point():
                values.copy_(torch.rand(values.shape, generator=generator) * 0.5 + (0.5 if "var" in name else -0.2))
    return network.eval()


def graph(network: nn.Module, sides: tuple[int, ...]) -> ov.Model:
    model = ov.convert_model(network, example_input=torch.zeros(1, 1, *sides))
    model.reshape([1, 1, *sides])
    return model


def compiled(model: ov.Model) -> ov.CompiledModel:
    return ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 2})


def assert_is_pytorchs(network: nn.Module, model: ov.Model, sides: tuple[int, ...], seed: int = 0) -> None:
    image = np.random.default_rng(seed).standard_normal((1, 1, *sides), dtype=np.float32)
    with torch.no_grad():
        wanted = network.double()(torch.from_numpy(image).double()).numpy()
    got = np.array(compiled(model)([image])[0])
    np.testing.assert_allclose(got, wanted, atol=3e-6 * np.abs(wanted).max(), rtol=0)


def joins(model: ov.Model) -> int:
    """Concatenations of images that are left."""
    return sum(node.get_type_name() == "Concat" and len(node.get_output_shape(0)) > 2 for node in model.get_ops())


@pytest.mark.parametrize("between", BETWEEN)
def test_a_skip_connection_is_a_sum_and_nothing_is_joined(between):
    network = trained(Decoder(4, 8, 3, BETWEEN[between]))
    model = graph(network, (16, 12, 8))
    assert joins(model) == 1
    assert sum_skips(model, opset13) == 1
    assert joins(model) == 0
    assert_is_pytorchs(network, model, (16, 12, 8))


@settings(max_examples=4, deadline=None)
@given(
    st.integers(1, 5).map(lambda half: 2 * half),
    st.integers(1, 5).map(lambda half: 2 * half),
    st.integers(1, 4),
    st.sampled_from(sorted(BETWEEN)),
    st.sampled_from([1, 3]),
    st.integers(1, 2),
    st.tuples(*[st.integers(2, 5).map(lambda half: 2 * half)] * 3),
    st.integers(0, 99),
)
def test_any_widths_kernels_and_dilations(kept, upsampled, out, between, kernel, dilation, sides, seed):
    network = trained(Decoder(kept, upsampled, out, BETWEEN[between], kernel, dilation), seed)
    model = graph(network, sides)
    # per channel of what is joined: the weights that would be copied, and the voxels that would not
    assert sum_skips(model, opset13) == (out * kernel**3 <= prod(sides))
    assert_is_pytorchs(network, model, sides, seed)


def test_all_that_read_the_joined_tensor_get_their_sum():
    network = trained(Shortcut(4, 6, 8))
    model = graph(network, (16, 12, 8))
    assert sum_skips(model, opset13) == 2
    assert joins(model) == 0
    assert_is_pytorchs(network, model, (16, 12, 8))


def test_what_two_read_is_computed_once():
    network = trained(TwoHeads(4, 6, 2, nn.InstanceNorm3d))
    model = graph(network, (16, 12, 8))
    assert sum_skips(model, opset13) == 2
    assert sum(node.get_type_name() == "MVN" for node in model.get_ops()) == 2, "one for each part"
    assert_is_pytorchs(network, model, (16, 12, 8))


@pytest.mark.parametrize(
    ("network", "why"),
    [
        (AlsoPooled(4, 6, 1, BETWEEN["nothing"]), "another reader needs the joined tensor"),
        (Decoder(3, 5, 2, lambda channels: nn.GroupNorm(2, channels)), "a group has channels of both parts"),
        (Decoder(4, 4, 2, lambda _channels: nn.Softmax(dim=1)), "a softmax is over all channels"),
    ],
)
def test_what_cannot_be_taken_apart_is_left_alone(network, why):
    model = graph(trained(network), (16, 12, 8))
    assert sum_skips(model, opset13) == 0, why
    assert joins(model) == 1
    assert_is_pytorchs(network, model, (16, 12, 8))


def test_a_quantised_graph_keeps_its_bytes_together():
    parameter = opset13.parameter([1, 4, 8, 8, 8], np.float32)
    limits = [np.float32(limit) for limit in (-1, 1, -1, 1)]
    quantised = opset13.fake_quantize(parameter, *limits, 256)
    joined = opset13.concat([quantised, opset13.relu(quantised)], 1)
    layer = opset13.convolution(joined, np.ones((2, 8, 1, 1, 1), np.float32), [1] * 3, [0] * 3, [0] * 3, [1] * 3)
    assert sum_skips(ov.Model([opset13.result(layer)], [parameter]), opset13) == 0


def test_slices_have_skip_connections_too():
    parameter = opset13.parameter([1, 4, 16, 16], np.float32)
    joined = opset13.concat([parameter, opset13.relu(parameter)], -3)
    weights = np.random.default_rng(0).standard_normal((2, 8, 3, 3)).astype(np.float32)
    layer = opset13.convolution(joined, weights, [2, 1], [1, 1], [0, 1], [1, 1])
    model = ov.Model([opset13.result(layer)], [parameter])
    image = np.random.default_rng(1).standard_normal((1, 4, 16, 16)).astype(np.float32)
    before = np.array(compiled(model)([image])[0])
    assert sum_skips(model, opset13) == 1
    np.testing.assert_allclose(np.array(compiled(model)([image])[0]), before, atol=1e-5)


def test_the_layer_keeps_its_name():
    model = graph(trained(Decoder(4, 4, 2, BETWEEN["nothing"])), (8, 8, 8))
    names = {node.get_friendly_name() for node in model.get_ops() if node.get_type_name() == "Convolution"}
    sum_skips(model, opset13)
    left = {node.get_friendly_name().partition("/part")[0] for node in model.get_ops()}
    assert names <= left


def test_the_peak_falls_by_a_part_of_the_joined_tensor_and_the_sum_takes_no_memory_of_its_own():
    """32 joined of 16 + 16 channels need more than both and their sum do."""
    sides = (32, 32, 32)
    channel = prod(sides) * 4
    model = graph(trained(Decoder(16, 16, 16, BETWEEN["nothing"])), sides)
    before = block_bytes(lifetimes(compiled(model.clone()).get_runtime_model()))
    sum_skips(model, opset13)
    after = block_bytes(lifetimes(compiled(model).get_runtime_model()))
    assert after <= 49 * channel
    assert before - after >= 15 * channel


def test_weights_that_are_larger_than_what_is_joined_are_not_copied():
    """Deep in a wide network: the sum would save little and keep its shares of the weights beside them."""
    network = trained(Decoder(8, 8, 16, BETWEEN["nothing"]))
    assert sum_skips(graph(network, (4, 4, 4)), opset13) == 0
    assert sum_skips(graph(network, (32, 32, 32)), opset13) == 1
