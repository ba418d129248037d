"""Rewrites of a traced graph: PyTorch's own numbers, in a form that runs better, and nothing where it would not pay."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino as ov
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from openvino import opset13 as ops
from torch import nn
from torch.nn import functional

from brain_edge.spec import Network
from brain_edge_conversion.convert.rewrites.graph import rewrite_graph
from brain_edge_conversion.convert.rewrites.pointwise_upsampling import commute_pointwise_upsampling
from brain_edge_conversion.convert.rewrites.sub_pixel import make_sub_pixel, plan_axis
from brain_edge_conversion.convert.trace import trace_network
from brain_edge_conversion.networks.brainmage import BrainMaGe
from brain_edge_conversion.networks.vox2vox import Vox2VoxGenerator

ROUNDING = 3e-6
"""Of float32, relative to the largest output or 1: sums of up to 9 x 3^3 products of either sign, in another order."""

CORE = ov.Core()


def traced(module: nn.Module, image: torch.Tensor) -> Any:
    """An OpenVINO graph whose spatial sides are open, as `convert` makes it."""
    model = ov.convert_model(module.eval(), example_input=image)
    model.reshape([*image.shape[:2], *(-1 for _ in image.shape[2:])])
    return model


def answer(model: Any, image: torch.Tensor) -> np.ndarray:
    compiled = CORE.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.asarray(compiled(image.numpy())[0])


@torch.no_grad()
def pytorch(module: nn.Module, image: torch.Tensor) -> np.ndarray:
    return np.asarray(module(image).numpy())


def assert_same(got: np.ndarray, expected: np.ndarray) -> None:
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=0, atol=ROUNDING * max(1.0, float(np.abs(expected).max())))


def kinds(model: Any) -> list[str]:
    """Operations from input to output."""
    return [node.get_type_name() for node in model.get_ordered_ops() if node.get_type_name() != "Constant"]


def image_of(channels: int, sides: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.randn(1, channels, *sides, generator=torch.Generator().manual_seed(seed))


def seeded(build: Any, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        module: nn.Module = build()
    return module


SIDES = st.lists(st.integers(1, 6), min_size=2, max_size=3).map(tuple)
CONVOLUTIONS = {2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
LINEAR = {2: "bilinear", 3: "trilinear"}


# --- a 1x1 convolution after an upsampling


def upsampling_graph(channels: int, axes: int, scale: float, align_corners: bool, convolution: Any) -> Any:
    """What OpenVINO's converter makes of an upsampling and a convolution, without its second of work."""
    image = ops.parameter([1, channels, *(-1 for _ in range(axes))], np.float32)
    corners = "align_corners" if align_corners else "pytorch_half_pixel"
    scales = np.full(axes, scale, dtype=np.float32)
    large = ops.interpolate(
        image,
        scales,
        "linear_onnx",
        "scales",
        axes=np.arange(2, 2 + axes),
        coordinate_transformation_mode=corners,
        nearest_mode="floor",
    )
    return ov.Model([convolved(large, convolution)], [image])


def convolved(data: Any, convolution: Any) -> Any:
    ones, zeros = [1] * (convolution.weight.ndim - 2), [0] * (convolution.weight.ndim - 2)
    result = ops.convolution(data, convolution.weight.detach().numpy(), ones, zeros, zeros, ones)
    return biased(result, convolution)


def transposed_graph(convolution: Any) -> Any:
    axes, padding = convolution.weight.ndim - 2, list(convolution.padding)
    image = ops.parameter([1, convolution.in_channels, *(-1 for _ in range(axes))], np.float32)
    result = ops.convolution_backprop_data(
        image,
        convolution.weight.detach().numpy(),
        list(convolution.stride),
        pads_begin=padding,
        pads_end=padding,
        dilations=[1] * axes,
        auto_pad="explicit",
        output_padding=list(convolution.output_padding),
    )
    return ov.Model([biased(result, convolution)], [image])


def biased(result: Any, convolution: Any) -> Any:
    if convolution.bias is None:
        return result
    ones = (1 for _ in range(convolution.weight.ndim - 2))
    return ops.add(result, convolution.bias.detach().numpy().reshape(1, -1, *ones))


@settings(max_examples=60, deadline=None)
@given(
    sides=SIDES,
    channels_out=st.integers(1, 6),
    narrower=st.integers(0, 3),
    scale=st.sampled_from([2, 3, 1.5, 2.5]),
    align_corners=st.booleans(),
    bias=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_convolving_first_gives_the_numbers_of_pytorch(sides, channels_out, narrower, scale, align_corners, bias, seed):
    axes, channels_in = len(sides), channels_out + narrower
    sides = tuple(side + 1 for side in sides)
    upsampling = nn.Upsample(scale_factor=scale, mode=LINEAR[axes], align_corners=align_corners)
    convolution = seeded(lambda: CONVOLUTIONS[axes](channels_in, channels_out, 1, bias=bias), seed)
    image = image_of(channels_in, sides, seed)
    model = upsampling_graph(channels_in, axes, scale, align_corners, convolution)
    assert len(commute_pointwise_upsampling(model, image.shape)) == 1
    operations = kinds(model)
    assert operations.index("Convolution") < operations.index("Interpolate")
    assert_same(answer(model, image), pytorch(nn.Sequential(upsampling, convolution), image))


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("sides", [(5, 4), (5, 4, 3)])
def test_what_the_converter_makes_of_the_pair_is_found_and_holds_for_other_sides(sides, align_corners: bool):
    axes = len(sides)
    module = seeded(
        lambda: nn.Sequential(
            nn.Upsample(scale_factor=2, mode=LINEAR[axes], align_corners=align_corners), CONVOLUTIONS[axes](4, 2, 1)
        ),
        2,
    )
    image, other = image_of(4, sides), image_of(4, tuple(side + 3 for side in sides))
    model = traced(module, image)
    assert len(commute_pointwise_upsampling(model, image.shape)) == 1
    assert_same(answer(model, other), pytorch(module, other))


class ToTheSidesOf(nn.Module):
    """Upsampling to the sides of another tensor, as decoders with skip connections do it."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv3d(2, 6, 3, stride=2, padding=1)
        self.narrow = nn.Conv3d(6, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        small = self.down(x)
        return x + self.narrow(functional.interpolate(small, x.shape[2:], mode="trilinear", align_corners=False))


def test_upsampling_to_the_sides_of_a_skip_connection_is_seen_as_well():
    module, image = seeded(ToTheSidesOf, 1), image_of(2, (6, 7, 8))
    model = traced(module, image)
    assert len(commute_pointwise_upsampling(model, image.shape)) == 1
    other = image_of(2, (9, 6, 7))
    assert_same(answer(model, other), pytorch(module, other))


class ReadTwice(nn.Module):
    """The upsampled tensor is needed for itself."""

    def __init__(self) -> None:
        super().__init__()
        self.narrow = nn.Conv3d(4, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        large = functional.interpolate(x, scale_factor=2, mode="trilinear")
        return large + self.narrow(large)


def upsampled(convolution: nn.Module, scale: float = 2, mode: str = "trilinear") -> nn.Module:
    return nn.Sequential(nn.Upsample(scale_factor=scale, mode=mode), convolution)


@pytest.mark.parametrize(
    "module",
    [
        pytest.param(ReadTwice(), id="something else reads the upsampled tensor"),
        pytest.param(upsampled(nn.Conv3d(4, 8, 1)), id="there would be more channels to upsample"),
        pytest.param(upsampled(nn.Conv3d(4, 2, 1), scale=0.5), id="it is a downsampling"),
        pytest.param(upsampled(nn.Conv3d(4, 2, 3, padding=1)), id="the kernel is 3"),
        pytest.param(upsampled(nn.Conv3d(4, 2, 1, padding=1)), id="the convolution pads"),
        pytest.param(upsampled(nn.Conv3d(4, 2, 1, stride=2)), id="the convolution has a stride"),
        pytest.param(upsampled(nn.Conv3d(4, 2, 1, groups=2)), id="the convolution has groups"),
        pytest.param(nn.Sequential(upsampled(nn.ReLU()), nn.Conv3d(4, 2, 1)), id="something is in between"),
    ],
)
def test_a_pair_stays_as_it_is_where(module: nn.Module):
    image = image_of(4, (4, 4, 6))
    model = traced(module, image)
    before = kinds(model)
    assert commute_pointwise_upsampling(model, image.shape) == []
    assert kinds(model) == before


def test_an_interpolation_over_channels_does_not_commute_with_what_mixes_them():
    image = ops.parameter([1, 2, -1, -1, -1], np.float32)
    scales = np.full(4, 2, dtype=np.float32)
    large = ops.interpolate(image, scales, "linear_onnx", "scales", axes=np.arange(1, 5), nearest_mode="floor")
    model = ov.Model([convolved(large, seeded(lambda: nn.Conv3d(4, 2, 1), 3))], [image])
    before = kinds(model)
    assert commute_pointwise_upsampling(model, (1, 2, 3, 4, 5)) == []
    assert kinds(model) == before


# --- transposed convolutions


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_sub_pixel_gives_the_numbers_of_pytorch(data):
    sides, stride = data.draw(SIDES), data.draw(st.integers(2, 3))
    taps = data.draw(st.integers(2, 3))
    padding = data.draw(st.integers(0, stride * (taps - 1)))
    output_padding = data.draw(st.integers(0, stride - 1))
    smallest = (min(sides) - 1) * stride - 2 * padding + taps * stride + output_padding
    if smallest < 1:
        return
    channels_in, channels_out = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 4))
    bias, seed = data.draw(st.booleans()), data.draw(st.integers(0, 2**31))
    module = seeded(
        lambda: TRANSPOSED[len(sides)](
            channels_in, channels_out, taps * stride, stride, padding, output_padding, bias=bias
        ),
        seed,
    )
    image = image_of(channels_in, sides, seed)
    model = transposed_graph(module)
    assert len(make_sub_pixel(model)) == 1
    assert "ConvolutionBackpropData" not in kinds(model)
    assert_same(answer(model, image), pytorch(module, image))


def test_what_the_converter_makes_of_a_transposed_convolution_is_found_and_holds_for_other_sides():
    module, image = seeded(lambda: nn.ConvTranspose3d(3, 2, 4, 2, 1), 2), image_of(3, (4, 4, 4))
    model, other = traced(module, image), image_of(3, (3, 5, 6))
    assert len(make_sub_pixel(model)) == 1
    assert_same(answer(model, other), pytorch(module, other))


@pytest.mark.parametrize("kernel", [(4, 2, 2), (2, 4, 6)])
def test_kernels_of_different_sides_are_interleaved_too(kernel: tuple[int, int, int]):
    i, j, k = (side // 2 - 1 for side in kernel)
    module = seeded(lambda: nn.ConvTranspose3d(3, 2, kernel, 2, (i, j, k)), 3)
    image = image_of(3, (3, 4, 5))
    model = traced(module, image)
    assert len(make_sub_pixel(model)) == 1
    assert_same(answer(model, image), pytorch(module, image))


@pytest.mark.parametrize(
    "module",
    [
        pytest.param(nn.ConvTranspose3d(4, 2, 2, 2), id="the kernel is the stride, which has an INT8 kernel"),
        pytest.param(nn.ConvTranspose3d(4, 2, 3, 2, 1, 1), id="the kernel is no multiple of the stride"),
        pytest.param(nn.ConvTranspose3d(4, 2, 4, (1, 2, 2), 1), id="the strides differ"),
        pytest.param(nn.ConvTranspose3d(4, 2, 4, 1), id="the stride is 1"),
        pytest.param(nn.ConvTranspose3d(4, 4, 4, 2, 1, groups=2), id="it has groups"),
        pytest.param(nn.ConvTranspose3d(4, 2, 4, 2, 1, dilation=2), id="it is dilated"),
        pytest.param(nn.ConvTranspose3d(4, 2, 4, 2, 4), id="the padding exceeds what the taps reach"),
    ],
)
def test_a_transposed_convolution_stays_as_it_is_where(module: nn.Module):
    model = traced(module, image_of(4, (6, 6, 6)))
    before = kinds(model)
    assert make_sub_pixel(model) == []
    assert kinds(model) == before


def test_kernel_4_stride_2_needs_one_zero_around_and_loses_one_voxel_at_each_end():
    plan = plan_axis(4, 2, (1, 1), 0)
    assert plan is not None
    assert (plan.taps, plan.pad_begin, plan.pad_end, plan.cut_begin, plan.cut_end) == (2, 1, 1, 1, 1)


# --- whole networks


@pytest.mark.parametrize(
    ("build", "channels", "lines"),
    [
        pytest.param(
            lambda: BrainMaGe(width=4),
            1,
            ["4 1x1 convolutions moved before the upsampling"],
            id="brainmage",
            marks=pytest.mark.full,
        ),
        pytest.param(lambda: Vox2VoxGenerator(width=4), 4, ["4 transposed convolutions made sub-pixel"], id="vox2vox"),
    ],
)
def test_whole_networks_are_rewritten_and_stay_the_same(build: Any, channels: int, lines: list[str]):
    module, image = seeded(build, 5).eval(), image_of(channels, (32, 48, 32))
    network = Network(graphs=("one",), channels_in=channels, channels_out=1)
    model = trace_network(module, network, (32, 32, 32))
    assert rewrite_graph(model, (1, channels, 32, 32, 32)) == lines
    assert_same(answer(model, image), pytorch(module, image))


def test_a_quantised_graph_is_left_alone():
    """Its weights come out of a quantiser: they are no constants that could be rearranged."""
    import nncf

    module, image = seeded(lambda: nn.ConvTranspose3d(4, 4, 4, 2, 1), 6), image_of(4, (8, 8, 8))
    quantised = nncf.quantize(traced(module, image), nncf.Dataset([image.numpy()]), subset_size=1)
    assert rewrite_graph(quantised, image.shape) == []
