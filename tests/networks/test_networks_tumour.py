"""Networks of the tumour papers that no library has: shapes, sizes counted by hand, and what OpenVINO makes of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from brain_edge.package import Precision
from brain_edge.runtime.library import forbid_telemetry
from brain_edge.runtime.session import rewrite
from brain_edge.spec import Network
from brain_edge_conversion.convert.trace import trace_network
from brain_edge_conversion.networks.cascaded_unet import SLOPE, CascadedUNet
from brain_edge_conversion.networks.cbam_unet import Cbam, CbamUNet
from brain_edge_conversion.networks.hardnet_bts import HarDNetBTS, HarDNetBTSOfOneRegion, SoftPool, harmonic_layers
from brain_edge_conversion.networks.maab_unet3d import AtrousBlock, MaabUNet3D, SkipGate
from brain_edge_conversion.networks.residual_unet import COARSE_WIDTH, FINE_WIDTH, ResidualUNet


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
    "hardnet": (lambda: HarDNetBTS(4, width=8), (16, 24, 16), 4),
    "hardnet-v3": (lambda: HarDNetBTSOfOneRegion(4, width=8), (16, 24, 16), 4),
    "cbam": (lambda: CbamUNet(4, width=8, stages=3), (16, 24, 16), 3),
    "maab": (lambda: MaabUNet3D(4, width=8), (16, 24, 16), 3),
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
            return conv(a, b) + 2 * conv(b, b) + 2 * a + 2 * b

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

    def test_of_the_cbam_u_net(self):
        widths = [48, 96, 192, 384]

        def stage(a, b):
            return conv(a, b) + conv(b, b) + 4 * b

        encoders = sum(stage(a, b) for a, b in zip([4, *widths], widths, strict=False))
        decoders = sum(stage(coarse + fine, fine) for fine, coarse in itertools.pairwise(widths))
        gates = sum(conv(each, each, 1, bias=True) + conv(2, 1, 7, bias=True) for each in widths[:-1])
        with torch.device("meta"):
            counted = parameters(CbamUNet())
        assert counted == encoders + stage(384, 384) + decoders + gates + conv(48, 3, 1, bias=True)

    def test_of_maab_unet3d(self):
        def block(a, b, level):
            return conv(a, b, bias=True) + level * conv(b, b, bias=True) + 2 * b + conv(b, 1, 1, bias=True)

        def gate(coarse, skip):
            return conv(coarse, skip, 1, bias=True) + conv(skip, skip, 1, bias=True) + 2 * skip + skip + 1

        down = block(4, 16, 1) + block(16, 16, 2) + block(16, 32, 3) + block(32, 64, 4) + block(64, 64, 4)
        up = conv(64, 32, 2, bias=True) + block(64, 32, 3) + conv(32, 16, 2, bias=True) + block(32, 16, 2)
        pyramid = conv(64, 64, bias=True) + conv(32, 32, bias=True) + block(64 + 32 + 16, 64, 1)
        total = down + gate(64, 32) + gate(32, 16) + up + pyramid + conv(64, 3, bias=True)
        assert parameters(MaabUNet3D()) == total

    def test_of_swin_unetr_is_that_of_the_release_of_its_weights(self):
        """62.1 million in the release's table; 61.98 in the paper, where relative position biases are not counted."""
        from brain_edge_conversion.recipes.swin_unetr import swin_graphs

        network = swin_graphs()[0].build(None)
        counted = parameters(network)
        positions = sum(
            each.numel() for name, each in network.named_parameters() if name.endswith("relative_position_bias_table")
        )
        assert (counted, positions) == (62_191_941, 197_730)
        assert (counted - positions) / 1e6 == pytest.approx(61.98, abs=0.02)

    def test_of_the_nnunet_with_batch_norm_is_that_of_nnunet_1(self):
        """Batch norms have the parameters of instance norms, and a running mean and variance beside them."""
        from brain_edge_conversion.recipes import deepseg_nnunet, nnunet_loss_ensemble

        with torch.device("meta"):
            ours = deepseg_nnunet._nnunet(deepseg_nnunet.NNUNET_FEATURES)
            published = nnunet_loss_ensemble.nnunet(nnunet_loss_ensemble.FEATURES)
        assert parameters(ours) == parameters(published) == 31_198_176
        assert sum(name.endswith("running_mean") for name, _ in ours.named_buffers()) == 22


# the second HarDNet takes fifteen seconds to convert; one of a kind is enough in CI
@pytest.mark.parametrize(
    ("build", "sides", "channels"),
    [
        pytest.param(*case, id=name, marks=[pytest.mark.full] if name == "hardnet-v3" else [])
        for name, case in NARROW.items()
    ],
)
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
        model = trace_network(module, network, sides)
        array = torch.randn(1, channels_in, *(side + 8 for side in sides))
        model.reshape(list(array.shape))
        rewrite(model, Precision.F32)
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


def test_cbam_is_its_formulas():
    """Gates by numpy from the definition that the paper prints."""
    gate = seeded(lambda: Cbam(4))
    x = torch.randn(1, 4, 5, 6, 7)
    with torch.no_grad():
        got = gate(x).numpy()
    weights, bias = (each.detach().numpy() for each in (gate.perceptron.weight[:, :, 0, 0, 0], gate.perceptron.bias))
    array = x.numpy()
    mean, most = (weights @ each + bias for each in (array.mean((0, 2, 3, 4)), array.max((0, 2, 3, 4))))
    array = array / (1 + np.exp(-(mean * most)))[None, :, None, None, None]
    across = torch.from_numpy(np.stack([array.mean(1), array.max(1)], axis=1))
    voxels = nn.functional.conv3d(across, gate.voxels.weight, gate.voxels.bias, padding=3).detach().numpy()
    np.testing.assert_allclose(got, array / (1 + np.exp(-voxels)), rtol=1e-4, atol=1e-6)


def test_an_atrous_block_sees_as_far_as_its_largest_dilation():
    """One voxel reaches the entry's 1, then as far as 8 where all four branches are there."""
    for level, reach in ((1, 2), (2, 3), (3, 5), (4, 9)):
        block = seeded(lambda level=level: AtrousBlock(1, 8, level))
        block.norm = nn.Identity()  # its statistics would see everything
        x = torch.zeros(1, 1, 25, 25, 25)
        y = x.clone()
        y[0, 0, 12, 12, 12] = 1
        with torch.no_grad():
            seen = (block(y) - block(x)).abs().amax(dim=(0, 1)) > 0
        assert int(seen.nonzero()[:, 0].max()) - 12 == reach


def test_a_closed_gate_lets_nothing_of_a_skip_pass():
    gate = seeded(lambda: SkipGate(8, 8))
    gate.gate.bias.data.fill_(-1e4)
    with torch.no_grad():
        assert float(gate(torch.randn(1, 8, 8, 8, 8), torch.randn(1, 8, 4, 4, 4)).abs().max()) == 0
