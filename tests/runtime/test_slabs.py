"""The last norm, activation and convolution of one voxel run slab by slab, and give the same numbers."""

from __future__ import annotations

from math import prod

import numpy as np
import openvino as ov
import pytest
import torch
from openvino import opset13
from torch import nn

from brain_edge.runtime.rewrites import slabs
from brain_edge.runtime.rewrites.norm_sums import sum_by_axis
from brain_edge.runtime.rewrites.slabs import SLABS, end_in_slabs

pytestmark = pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")

SIDES = (1, 1, 22, 14, 16)
"""The sums of a norm of this size are rewritten; the slabs have five and six planes."""


class Factors(nn.Module):
    """A factor and a summand by channel, or by voxel along one axis of the volume."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.rand(shape) + 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factor - 0.25 * self.factor


def network(between: nn.Module, out: int = 1, kernel: int = 1, stride: int = 1) -> nn.Module:
    torch.manual_seed(3)
    first = nn.Conv3d(1, 6, 3, padding=1)
    return nn.Sequential(first, between, nn.Conv3d(6, out, kernel, padding=kernel // 2, stride=stride)).eval()


def graph(made: nn.Module) -> tuple[ov.Model, np.ndarray]:
    image = np.random.default_rng(4).gamma(2.0, 1.0, SIDES).astype(np.float32)
    model = ov.convert_model(made, example_input=torch.from_numpy(image))
    model.reshape(list(SIDES))
    sum_by_axis(model, opset13)
    return model, image


def computed(model: ov.Model, image: np.ndarray) -> np.ndarray:
    return np.array(ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([image])[0])


@pytest.fixture(autouse=True)
def every_size(monkeypatch):
    monkeypatch.setattr(slabs, "LEAST_BYTES", 1)


BETWEEN = {
    "norm and slope by channel": lambda: nn.Sequential(nn.InstanceNorm3d(6, affine=True), nn.PReLU(6)),
    "norm and leaky activation": lambda: nn.Sequential(nn.InstanceNorm3d(6), nn.LeakyReLU(0.1)),
    "norm and factors by channel": lambda: nn.Sequential(nn.InstanceNorm3d(6), Factors((6, 1, 1, 1)), nn.ReLU()),
    "norm and factors of the last axis": lambda: nn.Sequential(nn.InstanceNorm3d(6), Factors((16,))),
    "norm and factors of the middle axis": lambda: nn.Sequential(nn.InstanceNorm3d(6), Factors((14, 1))),
}


@pytest.mark.parametrize("between", BETWEEN)
def test_slabs_give_the_numbers_of_pytorch(between):
    made = network(BETWEEN[between]())
    model, image = graph(made)
    assert end_in_slabs(model, opset13) == 1
    convolutions = [node for node in model.get_ops() if node.get_type_name() == "Convolution"]
    ends = [node for node in convolutions if node.get_output_shape(0)[1] == 1]
    assert len(ends) == SLABS
    assert sum(end.get_input_shape(0)[2] for end in ends) == SIDES[2]
    assert max(prod(end.get_input_shape(0)) for end in ends) == 6 * 6 * 14 * 16
    wanted = made(torch.from_numpy(image)).detach().numpy()
    assert np.abs(computed(model, image) - wanted).max() < 3e-6 * np.abs(wanted).max()


OTHERS = {
    "a larger kernel": network(nn.InstanceNorm3d(6), kernel=3),
    "strided": network(nn.InstanceNorm3d(6), stride=2),
    "more than half as many channels": network(nn.InstanceNorm3d(6), out=4),
    "factors of the axis of the slabs": network(nn.Sequential(nn.InstanceNorm3d(6), Factors((22, 1, 1)))),
    "no norm": network(nn.ReLU()),
}


@pytest.mark.parametrize("other", OTHERS)
def test_other_ends_stay_whole(other):
    model, _ = graph(OTHERS[other])
    before = [node.get_type_name() for node in model.get_ordered_ops()]
    assert end_in_slabs(model, opset13) == 0
    assert [node.get_type_name() for node in model.get_ordered_ops()] == before


class Also(nn.Module):
    """An activation that a mean reads as well as the convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = network(nn.InstanceNorm3d(6)).children()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        large = torch.relu(self.norm(self.first(image)))
        return self.last(large) + large.mean()


def test_what_something_else_reads_stays_whole():
    model, _ = graph(Also().eval())
    assert end_in_slabs(model, opset13) == 0


def test_a_small_end_stays_whole(monkeypatch):
    monkeypatch.setattr(slabs, "LEAST_BYTES", 4 * 6 * 22 * 14 * 16 + 1)
    model, _ = graph(network(nn.InstanceNorm3d(6)))
    assert end_in_slabs(model, opset13) == 0
