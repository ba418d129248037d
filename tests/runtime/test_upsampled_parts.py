"""Convolutions of an upsampled tensor are sums over parts of its channels, and the tensor is never whole."""

from __future__ import annotations

from math import prod

import numpy as np
import openvino as ov
import pytest
import torch
from openvino import opset13
from torch import nn

from brain_edge.runtime.rewrites import upsampled_parts
from brain_edge.runtime.rewrites.upsampled_parts import PARTS, convolve_upsampled_in_parts

pytestmark = pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")


class Upsampling(nn.Module):
    """Upsampled channels and the convolution that reads them; `also` reads them as well."""

    def __init__(self, channels: int = 10, *, also: bool = False, mode: str = "trilinear", kernel: int = 3) -> None:
        super().__init__()
        self.first = nn.Conv3d(1, channels, 3, padding=1)
        self.mode, self.also = mode, also
        self.last = nn.Conv3d(channels, 5, kernel, padding=kernel // 2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        large = nn.functional.interpolate(torch.relu(self.first(image)), scale_factor=2.0, mode=self.mode)
        return self.last(large) + large.mean() if self.also else self.last(large)


def graph(network: nn.Module, sides: tuple[int, ...] = (8, 9, 10)) -> tuple[ov.Model, np.ndarray]:
    """The graph of a network at one static shape, and an input."""
    image = np.random.default_rng(2).normal(size=(1, 1, *sides)).astype(np.float32)
    model = ov.convert_model(network.eval(), example_input=torch.from_numpy(image))
    model.reshape(list(image.shape))
    return model, image


def kinds(model: ov.Model) -> list[str]:
    return [node.get_type_name() for node in model.get_ordered_ops()]


def computed(model: ov.Model, image: np.ndarray) -> np.ndarray:
    return np.array(ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([image])[0])


@pytest.fixture(autouse=True)
def every_size(monkeypatch):
    monkeypatch.setattr(upsampled_parts, "LEAST_BYTES", 1)


@pytest.mark.parametrize("mode", ["trilinear", "nearest"])
@pytest.mark.parametrize("channels", [PARTS, 10])
def test_the_sum_of_parts_is_the_convolution_of_pytorch(channels, mode):
    network = Upsampling(channels, mode=mode)
    model, image = graph(network)
    assert convolve_upsampled_in_parts(model, opset13) == 1
    assert kinds(model).count("Interpolate") == PARTS
    wanted = network(torch.from_numpy(image)).detach().numpy()
    assert np.abs(computed(model, image) - wanted).max() < 2e-6 * np.abs(wanted).max()
    largest = max(prod(node.get_output_shape(0)) for node in model.get_ops() if node.get_type_name() == "Interpolate")
    assert largest == -(-channels // PARTS) * prod(wanted.shape[2:])


@pytest.mark.parametrize("network", [Upsampling(also=True), Upsampling(PARTS - 1)], ids=["two readers", "few channels"])
def test_other_upsampled_tensors_stay_whole(network):
    model, _ = graph(network)
    before = kinds(model)
    assert convolve_upsampled_in_parts(model, opset13) == 0
    assert kinds(model) == before


def test_a_small_tensor_stays_whole(monkeypatch):
    model, _ = graph(Upsampling())
    size = next(4 * prod(node.get_output_shape(0)) for node in model.get_ops() if node.get_type_name() == "Interpolate")
    monkeypatch.setattr(upsampled_parts, "LEAST_BYTES", size + 1)
    assert convolve_upsampled_in_parts(model, opset13) == 0
    monkeypatch.setattr(upsampled_parts, "LEAST_BYTES", size)
    assert convolve_upsampled_in_parts(model, opset13) == 1


def test_channels_that_are_interpolated_stay_whole():
    image = opset13.parameter([1, 8, 6, 6, 6], np.float32)
    large = opset13.interpolate(
        image,
        np.array([8, 12, 12, 12], np.int64),
        "linear_onnx",
        "sizes",
        axes=np.array([1, 2, 3, 4], np.int64),
    )
    weights = np.ones((2, 8, 1, 1, 1), np.float32)
    result = opset13.convolution(large, weights, [1] * 3, [0] * 3, [0] * 3, [1] * 3)
    assert convolve_upsampled_in_parts(ov.Model([result], [image]), opset13) == 0
