"""The share of integer multiply-adds, judged by PyTorch's own count and by what OpenVINO really executes."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from openvino import Core, Model, PartialShape, Type
from openvino import opset13 as ops
from present import present
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from brain_edge.bench.operations import is_integer
from brain_edge.spec import Network
from brain_edge_conversion.budget.coverage import (
    LayerCost,
    int8_share,
    kernel_shares,
    layer_costs,
    with_kernels,
)
from brain_edge_conversion.budget.kernels import executed_kernels, newer_than_avx2
from brain_edge_conversion.convert.rewrites.norm_statistics import use_instance_statistics
from brain_edge_conversion.convert.trace import trace_network
from brain_edge_conversion.networks.brainmage import BrainMaGe
from brain_edge_conversion.networks.hd_bet_v1 import HdBetV1
from brain_edge_conversion.networks.linknet3d import LinkNet3d
from brain_edge_conversion.networks.meshnet import TISSUE, MeshNet
from brain_edge_conversion.quantize import networks
from brain_edge_conversion.quantize.ladder import LADDER
from brain_edge_conversion.quantize.networks import quantise

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int]]] = {
    "hd-bet-v1": (lambda: HdBetV1(width=2), (32, 48, 32)),
    "linknet3d": (lambda: LinkNet3d(width=4), (64, 96, 64)),
    "brainmage": (lambda: BrainMaGe(width=2), (32, 48, 32)),
    "meshnet": (lambda: MeshNet(TISSUE), (16, 20, 24)),
}
"""How a small one is built, and a shape that it takes."""

ALL_OF_THEM = 0.99


@cache
def _traced(name: str) -> Any:
    torch.manual_seed(0)
    build, shape = NETWORKS[name]
    module = build().eval()
    use_instance_statistics(module)
    return trace_network(module, Network(graphs=("net",), channels_in=1, channels_out=1), shape)


def traced(name: str) -> Any:
    """An OpenVINO model of a network that runs on the statistics of its input."""
    return _traced(name).clone()


def counted_by_torch(module: nn.Module, shape: tuple[int, int, int]) -> int:
    """Multiply-adds: half of the floating-point operations that PyTorch counts while it runs."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.zeros(1, 1, *shape))
    return int(counter.get_total_flops()) // 2


IN_CI = [pytest.param(name, marks=[pytest.mark.full] if name == "hd-bet-v1" else []) for name in NETWORKS]


@pytest.mark.parametrize("name", IN_CI)
def test_multiply_adds_are_those_that_pytorch_counts(name: str):
    build, shape = NETWORKS[name]
    costs = layer_costs(traced(name), (1, 1, *shape))
    assert sum(layer.multiply_adds for layer in costs) == counted_by_torch(build(), shape)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv3d(4, 6, 3, padding=1, groups=2), (6, 7, 8)),
        (nn.ConvTranspose3d(4, 6, 2, stride=2, groups=2), (6, 7, 8)),
        (nn.Conv3d(4, 6, (1, 2, 3), stride=(1, 2, 1), dilation=(1, 1, 2)), (6, 7, 8)),
    ],
)
def test_groups_strides_and_dilations_are_counted_as_pytorch_counts_them(layer: nn.Module, shape: tuple[int, ...]):
    module = nn.Sequential(nn.Conv3d(1, 4, 1), layer)
    model = trace_network(module.eval(), Network(graphs=("net",), channels_in=1, channels_out=6), (6, 7, 8))
    costs = layer_costs(model, (1, 1, *shape))
    assert sum(cost.multiply_adds for cost in costs) == counted_by_torch(module, (6, 7, 8))


@pytest.mark.parametrize("transposed", [(False, False), (False, True), (True, False), (True, True)])
def test_a_matrix_product_is_counted_however_its_factors_lie(transposed: tuple[bool, bool]):
    """(3 x 4) by (4 x 5), twice: 2 * 3 * 5 * 4."""
    left_shape = (2, 4, 3) if transposed[0] else (2, 3, 4)
    left = ops.parameter(PartialShape(left_shape), Type.f32)
    right = ops.constant(np.ones((2, 5, 4) if transposed[1] else (2, 4, 5), np.float32))
    (cost,) = layer_costs(Model([ops.matmul(left, right, *transposed)], [left], "product"), left_shape)
    assert cost.multiply_adds == 2 * 3 * 5 * 4


def test_the_model_keeps_its_open_shape():
    model = traced("meshnet")
    layer_costs(model, (1, 1, 16, 16, 16))
    assert model.input(0).partial_shape[2].is_dynamic


# --- what is integer


def executed_in_integers(model: Any, shape: tuple[int, ...]) -> dict[str, bool]:
    """The weighted layers as OpenVINO's CPU plugin runs them: by name, whether their activations are bytes."""
    model.reshape([1, 1, *shape])
    compiled = Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    nodes = compiled.get_runtime_model().get_ordered_ops()
    kinds = {"Convolution", "Deconvolution", "MatMul", "FullyConnected"}
    weighted = [node for node in nodes if node.get_rt_info()["layerType"].astype(str) in kinds]
    return {
        node.get_friendly_name(): node.get_rt_info()["runtimePrecision"].astype(str) in ("u8", "i8")
        for node in weighted
    }


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.full] if name in ("brainmage", "hd-bet-v1") else []) for name in NETWORKS],
)
def test_a_quantised_graph_is_counted_as_the_cpu_runs_it(name: str, tmp_path: Path):
    """No layer may be counted as integer that the plugin runs in floating point."""
    shape = NETWORKS[name][1]
    np.save(tmp_path / "input.npy", np.random.default_rng(1).normal(size=(1, 1, *shape)).astype(np.float32))
    quantised = quantise(traced(name), [tmp_path / "input.npy"], LADDER[0])
    costs = layer_costs(quantised, (1, 1, *shape))
    assert int8_share(costs) > ALL_OF_THEM
    executed = executed_in_integers(quantised, shape)
    assert len(executed) == len(costs)
    assert sum(executed.values()) >= ALL_OF_THEM * len(executed)


@pytest.mark.parametrize("name", IN_CI)
def test_nothing_of_a_float_graph_is_integer(name: str):
    costs = layer_costs(traced(name), (1, 1, *NETWORKS[name][1]))
    assert costs
    assert int8_share(costs) == 0.0


def test_a_concatenation_is_as_integer_as_the_worst_of_its_parts():
    """One quantised part beside a float one makes the convolution after them float."""
    assert [_after_concat(quantised).integer for quantised in ((True, True), (True, False), (False, False))] == [
        True,
        False,
        False,
    ]


def _after_concat(quantised: tuple[bool, bool]) -> LayerCost:
    image = ops.parameter(PartialShape([1, 1, 8, 8, 8]), Type.f32)
    bounds = [np.float32(value) for value in (-1.0, 1.0, -1.0, 1.0)]
    parts = [ops.fake_quantize(image, *bounds, 256) if each else ops.relu(image) for each in quantised]
    joined = ops.concat(parts, 1)
    ones, none = [1, 1, 1], [0, 0, 0]
    convolved = ops.convolution(joined, ops.constant(np.ones((1, 2, 1, 1, 1), np.float32)), ones, none, none, ones)
    (cost,) = layer_costs(Model([convolved], [image], "concat"), (1, 1, 8, 8, 8))
    return cost


def test_the_share_weighs_layers_by_their_multiply_adds():
    layers = (LayerCost("a", "Convolution", 90, True), LayerCost("b", "Convolution", 10, False))
    assert int8_share(layers) == 0.9


def test_a_graph_without_weights_has_nothing_left_to_quantise():
    assert int8_share(()) == 1.0


# --- the kernels that ran


def kernels_in(model: Any, shape: tuple[int, ...]) -> tuple[LayerCost, ...]:
    costs = layer_costs(model, shape)
    model.reshape(list(shape))
    compiled = Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return with_kernels(costs, executed_kernels(compiled.get_runtime_model(), {layer.name for layer in costs}))


@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_has_a_kernel_and_a_float_graph_no_integer_one(name: str):
    layers = kernels_in(traced(name), (1, 1, *NETWORKS[name][1]))
    assert all(layer.kernel for layer in layers)
    assert not any(is_integer(present(layer.kernel)) for layer in layers)
    assert sum(kernel_shares(layers).values()) == pytest.approx(1.0)


def test_a_quantised_layer_that_the_plugin_runs_in_float_is_not_counted():
    """As the last transposed convolutions of deepbet under AVX2: their input is quantised, and their kernel is f32."""
    layers = (LayerCost("a", "Convolution", 90, True), LayerCost("b", "ConvolutionBackpropData", 10, True))
    assert int8_share(layers) == 1.0
    ran = with_kernels(layers, {"a": "jit_avx2_I8", "b": "brgconv_avx2_f32"})
    assert [(layer.quantised, layer.integer) for layer in ran] == [(True, True), (True, False)]
    assert int8_share(ran) == 0.9
    assert kernel_shares(ran) == {"jit_avx2_I8": 0.9, "brgconv_avx2_f32": 0.1}


def test_a_layer_whose_kernel_is_not_told_is_not_integer():
    (layer,) = with_kernels((LayerCost("a", "Convolution", 1, quantised=True),), {})
    assert not layer.integer
    assert kernel_shares((layer,)) == {"not known": 1.0}


def test_kernels_that_need_more_than_avx2_are_told_apart():
    older = ("jit_avx2_I8", "brgconv_avx2_1x1_f32", "jit_gemm_I8", "ref_any_f32")
    newer = ("brgconv_avx512_I8", "brgconv_avx512_amx_I8", "brgemm_avx2_vnni_I8")
    assert newer_than_avx2((*older, *newer)) == sorted(newer)
    assert newer_than_avx2(older) == []


@pytest.mark.parametrize(("channels", "seen"), [(2, (64, 64, 64)), (64, (32, 32, 32))])
def test_inputs_whose_activations_fill_the_memory_are_cut_to_their_middle(channels: int, seen: tuple[int, ...]):
    """64 channels of 64^3 are 64 MiB; 20 MiB are allowed, which is 43^3, and 32 the multiple below."""
    model = trace_network(
        nn.Conv3d(1, channels, 1), Network(graphs=("n",), channels_in=1, channels_out=channels), (8, 8, 8)
    )
    batch = np.arange(64.0**3, dtype=np.float32).reshape(1, 1, 64, 64, 64)
    cut = networks.as_much_as_fits(batch, model, 20 * 2**20)
    start = (64 - seen[0]) // 2
    np.testing.assert_array_equal(cut, batch[:, :, start : 64 - start, start : 64 - start, start : 64 - start])
