"""Networks of the tumour papers that no library has: shapes, sizes counted by hand, and what OpenVINO makes of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from brain_edge.runtime.telemetry import forbid_telemetry
from brain_edge.spec import Network
from brain_edge_conversion.networks.cascaded_unet import SLOPE, CascadedUNet
from brain_edge_conversion.networks.hardnet_bts import HarDNetBTS, SoftPool, harmonic_layers
from brain_edge_conversion.networks.residual_unet import COARSE_WIDTH, FINE_WIDTH, ResidualUNet
from brain_edge_conversion.trace import trace


def parameters(module: nn.Module) -> int:
    return sum(each.numel() for each in module.parameters())


def conv(channels_in: int, channels_out: int, kernel: int = 3, bias: bool = False) -> int:
    return channels_in * channels_out * kernel**3 + (channels_out if bias else 0)


def seeded(build):
    torch.manual_seed(0)
    return build().eval()


NARROW = {
    "cascaded": (lambda: CascadedUNet(5, width=8, levels=3), (19, 20, 16), 1),
    "residual": (lambda: ResidualUNet(4, width=8, levels=3), (16, 24, 16), 1),
    "hardnet": (lambda: HarDNetBTS(4, width=8), (16, 24, 16), 3),
}


class TestSizes:
    """Counted layer by layer from the papers' words; none of them states a number."""

    @pytest.mark.parametrize("channels_in", [4, 5, 6])
    def test_of_the_cascaded_u_net(self, channels_in):
        down = [(channels_in, 16), (16, 32), (32, 64), (64, 128)]
        up = [(128 + 64, 64), (64 + 32, 32), (32 + 16, 16)]
        levels = sum(conv(a, b) + conv(b, b) + 4 * b for a, b in down + up)
        assert parameters(CascadedUNet(channels_in)) == levels + conv(16, 1, 1, bias=True)

    @pytest.mark.parametrize("width", [COARSE_WIDTH, FINE_WIDTH])
    def test_of_the_residual_u_net(self, width):
        widths = [width * 2**level for level in range(4)]

        def block(a, b):
            return conv(a, b) + 2 * conv(b, b) + 2 * a + 4 * b

        down = sum(block(a, b) for a, b in zip([4, *widths], widths, strict=False))
        up = sum(block(2 * fine, fine) + conv(2 * fine, fine, bias=True) for fine in widths[:-1])
        with torch.device("meta"):
            assert parameters(ResidualUNet(width=width)) == down + up + conv(width, 1, 1, bias=True)

    def test_of_hardnet_bts_are_those_of_its_links(self):
        """The first layers of a block by hand: 1 sees 0; 2 sees 1, 0; 3 sees 2; 4 sees 3, 2, 0; 6 sees 5, 4; 8 all."""
        plan = harmonic_layers(64, 8, 16)
        assert [layer.seen for layer in plan[1:]] == [(0,), (1, 0), (2,), (3, 2, 0), (4,), (5, 4), (6,), (7, 6, 4, 0)]
        assert [layer.channels for layer in plan] == [64, 16, 28, 16, 46, 16, 28, 16, 78]
        with torch.device("meta"):
            assert 3e6 < parameters(HarDNetBTS()) < 12e6


@pytest.mark.parametrize(("build", "sides", "channels"), NARROW.values(), ids=NARROW)
class TestNarrow:
    def test_gives_probabilities_on_the_grid_of_the_input(self, build, sides, channels):
        module = seeded(build)
        channels_in = next(each for each in module.modules() if isinstance(each, nn.Conv3d)).in_channels
        with torch.no_grad():
            output = module(torch.randn(1, channels_in, *sides))
        assert output.shape == (1, channels, *sides)
        assert 0 < float(output.min()) < float(output.max()) < 1

    def test_converts_and_openvino_agrees_on_another_shape(self, build, sides, channels):
        forbid_telemetry()
        import openvino as ov

        module = seeded(build)
        channels_in = next(each for each in module.modules() if isinstance(each, nn.Conv3d)).in_channels
        network = Network(graphs=("n",), channels_in=channels_in, channels_out=channels)
        model = trace(module, network, sides)
        array = torch.randn(1, channels_in, *(side + 8 for side in sides))
        model.reshape(list(array.shape))
        compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        with torch.no_grad():
            expected = module(array).numpy()
        got = compiled(array.numpy())[0]
        assert np.abs(got - expected).max() / np.abs(expected).max() < 1e-4


def test_rrelu_in_evaluation_is_the_leaky_relu_that_stands_for_it():
    x = torch.linspace(-3, 3, 101)
    torch.testing.assert_close(nn.RReLU().eval()(x), nn.LeakyReLU(SLOPE)(x))


def test_soft_pool_is_its_definition_and_does_not_overflow():
    """Avgpool(x exp x) / avgpool(exp x), in f64."""
    x = torch.randn(1, 2, 4, 6, 8)
    wide = x.double()
    expected = nn.functional.avg_pool3d(wide * wide.exp(), 2) / nn.functional.avg_pool3d(wide.exp(), 2)
    torch.testing.assert_close(SoftPool()(x), expected.float())
    assert torch.isfinite(SoftPool()(x * 1000)).all()
