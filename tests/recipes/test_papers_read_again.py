"""Networks written a second time from the words of their papers alone: their weights load, and give the same answers.

The networks here take nothing from `brain_edge_conversion.networks`. Where a paper says nothing, the choice is the one
that the docstring of our network lists. The papers give no keys of PyTorch (Vox2Vox and the 2D U-Net are Keras'), so
tensors are matched by the order in which the layers run, and by shape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
import torch
from present import present
from torch import Tensor, nn
from torch.nn import functional

from brain_edge_conversion.networks.unet2d import SameTransposed
from brain_edge_conversion.recipes import _synthetic_slices, cotrnet, hardnet_bts, residual_unet_cascade, vox2vox

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from brain_edge_conversion.recipe import GraphSource


class Net(nn.Module):
    """Layers that are made where the words name them."""

    def add(self, layer: nn.Module) -> nn.Module:
        self.add_module(str(len(self._modules)), layer)
        return layer


class SliceUNet(Net):
    """2D U-Net (section 3.1 of the paper on PGAN and SPADE)."""

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        filters = [width, 2 * width, 4 * width, 8 * width]
        self.encoder = [self.two(before, each) for before, each in zip([1, *filters], filters, strict=False)]
        self.bridge = self.convolution(filters[-1], 2 * filters[-1])
        self.decoder = [(*self.transposed(2 * each, each), self.two(2 * each, each)) for each in reversed(filters)]
        self.final = self.add(nn.Conv2d(width, classes, 1))

    def convolution(self, before: int, after: int) -> list[nn.Module]:
        return [self.add(nn.Conv2d(before, after, 3, padding="same")), self.add(nn.BatchNorm2d(after))]

    def two(self, before: int, after: int) -> list[nn.Module]:
        return self.convolution(before, after) + self.convolution(after, after)

    def transposed(self, before: int, after: int) -> tuple[nn.Module, nn.Module]:
        return self.add(nn.ConvTranspose2d(before, after, 3, 2)), self.add(nn.BatchNorm2d(after))

    def forward(self, image: Tensor) -> Tensor:
        def run(layers: list[nn.Module], x: Tensor) -> Tensor:
            for convolution, norm in zip(layers[::2], layers[1::2], strict=True):
                x = norm(convolution(x)).relu()
            return x

        x, levels = image / 7.0 - 0.25, []
        for layers in self.encoder:
            levels.append(run(layers, x))
            x = functional.max_pool2d(levels[-1], 2)
        x = run(self.bridge, x)
        for (up, norm, layers), level in zip(self.decoder, reversed(levels), strict=True):
            x = norm(up(x)[:, :, : level.shape[2], : level.shape[3]])
            x = run(layers, torch.cat([x, level], 1))
        return self.final(x).softmax(1)


class HarDNet(Net):
    """HarDNet-BTS (section 2.1); links and widths of a block as in HarDNet's own paper."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = self.layer(4, width)
        self.second = self.layer(width, 2 * width)
        self.third = self.block(2 * width, 4 * width, 8, width // 2)
        self.fourth = self.block(4 * width, 8 * width, 16, 3 * width // 4)
        self.up3 = self.block(12 * width, 4 * width, 8, width // 2)
        self.up2 = self.block(6 * width, 2 * width, 8, width // 2)
        self.up1 = self.layer(3 * width, width)
        self.final = self.add(nn.Conv3d(width, 4, 1))

    def layer(self, before: int, after: int, kernel: int = 3) -> Callable[[Tensor], Tensor]:
        convolution = self.add(nn.Conv3d(before, after, kernel, padding="same", bias=False))
        norm = self.add(nn.InstanceNorm3d(after, affine=True))
        return lambda x: functional.mish(norm(convolution(x)))

    def block(self, before: int, after: int, count: int, growth: int) -> Callable[[Tensor], Tensor]:
        widths, layers = [before], []
        for number in range(1, count + 1):
            steps = [2**power for power in range(5) if number % 2**power == 0]
            links = [number - step for step in steps]
            widths.append(int(int(growth * 1.7 ** (len(steps) - 1) + 1) / 2) * 2)
            layers.append((links, self.layer(sum(widths[link] for link in links), widths[-1])))
        leaving = [*range(1, count, 2), count]
        out = self.layer(sum(widths[number] for number in leaving), after, 1)

        def run(x: Tensor) -> Tensor:
            found = [x]
            for links, layer in layers:
                found.append(layer(torch.cat([found[link] for link in links], 1)))
            return out(torch.cat([found[number] for number in leaving], 1))

        return run

    def forward(self, x: Tensor) -> Tensor:
        def down(x: Tensor) -> Tensor:
            """SoftPool by its definition, in eight parts."""
            parts = torch.stack([x[:, :, i::2, j::2, k::2] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
            return (parts.softmax(0) * parts).sum(0)

        def up(x: Tensor, skip: Tensor) -> Tensor:
            return torch.cat([functional.interpolate(x, skip.shape[2:], mode="trilinear"), skip], 1)

        first = self.first(x)
        second = self.second(down(first))
        third = self.third(down(second))
        x = self.up3(up(self.fourth(down(third)), third))
        x = self.up1(up(self.up2(up(x, second)), first))
        return self.final(x).sigmoid()


class Cotr(Net):
    """COTRNet (section 2.1): ResNet-18 with PyTorch's own transformer encoder layers behind its four stages."""

    def __init__(self, widths: tuple[int, ...], decoder: tuple[int, ...]) -> None:
        super().__init__()
        self.stem = self.convolution(4, widths[0], 7, 2)
        self.stages = []
        for before, width, stride in zip((widths[0], *widths), widths, (1, 2, 2, 2), strict=False):
            blocks = (self.residual(before, width, stride), self.residual(width, width, 1))
            layer = nn.TransformerEncoderLayer(width, 4, 4 * width, 0.0, batch_first=True, norm_first=True)
            self.stages.append((*blocks, self.add(layer)))
        joined = (*reversed(widths[:-1]), widths[0], 0)
        self.decoder = []
        for before, after, skip in zip((widths[-1], *decoder), decoder, joined, strict=False):
            up = self.add(nn.ConvTranspose2d(before, after, 2, 2))
            self.decoder.append((up, self.convolution(after + skip, after), self.convolution(after, after)))
        self.final = self.add(nn.Conv2d(decoder[-1], 4, 1))

    def convolution(self, before: int, after: int, kernel: int = 3, stride: int = 1) -> Callable[[Tensor], Tensor]:
        convolution = self.add(nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False))
        norm = self.add(nn.BatchNorm2d(after))
        return lambda x: norm(convolution(x)).relu()

    def residual(self, before: int, after: int, stride: int) -> Callable[[Tensor], Tensor]:
        first = self.convolution(before, after, 3, stride)
        second = self.add(nn.Conv2d(after, after, 3, padding=1, bias=False)), self.add(nn.BatchNorm2d(after))
        short: list[nn.Module] = []
        if stride > 1 or before != after:
            short = [self.add(nn.Conv2d(before, after, 1, stride, bias=False)), self.add(nn.BatchNorm2d(after))]

        def run(x: Tensor) -> Tensor:
            found = second[1](second[0](first(x)))
            for layer in short:
                x = layer(x)
            return (found + x).relu()

        return run

    def forward(self, image: Tensor) -> Tensor:
        skips = [self.stem(image)]
        x = functional.max_pool2d(skips[0], 3, 2, 1)
        for one, two, transformer in self.stages:
            x = two(one(x))
            rows, columns = x.shape[2:]
            x = transformer(x.flatten(2).mT).mT.unflatten(2, (rows, columns))
            skips.append(x)
        for number, (up, one, two) in enumerate(self.decoder):
            x = up(x)
            x = two(one(torch.cat([x, skips[3 - number]], 1) if number < 4 else x))
        return self.final(x).sigmoid()


class Residual(Net):
    """Residual 3D U-Net (section 2.2)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        filters = [width, 2 * width, 4 * width, 8 * width]
        self.down = [self.block(before, each) for before, each in zip([4, *filters], filters, strict=False)]
        self.up = []
        for each in reversed(filters[:-1]):
            up = self.add(nn.ConvTranspose3d(2 * each, each, 3, 2, padding=1, output_padding=1))
            self.up.append((up, self.block(2 * each, each)))
        self.final = self.add(nn.Conv3d(width, 1, 1))

    def block(self, before: int, after: int) -> Callable[[Tensor], Tensor]:
        layers = []
        for channels in (before, after):
            norm = self.add(nn.GroupNorm(8 if channels % 8 == 0 else 1, channels))
            layers.append((norm, self.add(nn.Conv3d(channels, after, 3, padding="same", bias=False))))
        last = self.add(nn.Conv3d(after, after, 3, padding="same", bias=False))

        def run(x: Tensor) -> Tensor:
            one, two = [lambda x, norm=norm, conv=conv: conv(norm(x)).relu() for norm, conv in layers]
            short = one(x)
            return (last(two(short)) + short).relu()

        return run

    def forward(self, image: Tensor) -> Tensor:
        x, skips = image, []
        for number, block in enumerate(self.down):
            skips.append(block(functional.max_pool3d(x, 2) if number else x))
            x = skips[-1]
        for (up, block), skip in zip(self.up, reversed(skips[:-1]), strict=True):
            x = block(torch.cat([up(x), skip], 1))
        return self.final(x).sigmoid()


class V2V(Net):
    """Generator of Vox2Vox (section 2.3): I, E, B, D, O."""

    def __init__(self, width: int) -> None:
        super().__init__()
        filters = [width, 2 * width, 4 * width, 8 * width]
        self.e = [self.down(before, each, 2) for before, each in zip([4, *filters], filters, strict=False)]
        self.b = [self.down(count * filters[-1], filters[-1], 1) for count in (1, 2, 2, 2)]
        self.d = [self.transposed(4 * each, each) for each in reversed(filters[:-1])]
        self.o = self.add(nn.ConvTranspose3d(2 * width, 4, 4, 2, padding=1))

    def down(self, before: int, after: int, stride: int) -> Callable[[Tensor], Tensor]:
        convolution = self.add(nn.Conv3d(before, after, 4, stride))
        norm = self.add(nn.InstanceNorm3d(after, affine=True))
        # "same" in Keras: 2 voxels in all for stride 2 and even sides, 3 for stride 1, the odd one at the end
        padding = (1, 1) * 3 if stride == 2 else (1, 2) * 3
        return lambda x: functional.leaky_relu(norm(convolution(functional.pad(x, padding))), 0.3)

    def transposed(self, before: int, after: int) -> Callable[[Tensor], Tensor]:
        convolution = self.add(nn.ConvTranspose3d(before, after, 4, 2, padding=1))
        norm = self.add(nn.InstanceNorm3d(after, affine=True))
        return lambda x: norm(convolution(x)).relu()

    def forward(self, image: Tensor) -> Tensor:
        skips = [image]
        for block in self.e:
            skips.append(block(skips[-1]))
        before, x = skips[-1], self.b[0](skips[-1])
        for block in self.b[1:]:
            before, x = x, block(torch.cat([x, before], 1))
        for block, beside in zip(self.d, (before, skips[3], skips[2]), strict=True):
            x = block(torch.cat([x, beside], 1))
        return self.o(torch.cat([x, skips[1]], 1)).softmax(1)


WIDTHS, DECODER = (8, 16, 16, 24), (16, 8, 8, 8, 4)
READ: Final[dict[str, tuple[Callable[[], nn.Module], Callable[[], GraphSource], tuple[int, ...]]]] = {
    "2D U-Net": (lambda: SliceUNet(7, 3), lambda: _synthetic_slices.unet_graphs(7, 3)[0], (2, 1, 32, 48)),
    "HarDNet-BTS": (lambda: HarDNet(8), lambda: hardnet_bts.hardnet_graphs(("v1",), 8)[0], (1, 4, 16, 24, 16)),
    "COTRNet": (lambda: Cotr(WIDTHS, DECODER), lambda: cotrnet.cotrnet_graphs(WIDTHS, DECODER)[0], (2, 4, 64, 96)),
    "residual U-Net": (
        lambda: Residual(8),
        lambda: residual_unet_cascade.localisation_graphs(1, (8, 8))[0],
        (1, 4, 16, 24, 16),
    ),
    "Vox2Vox": (lambda: V2V(4), lambda: vox2vox.vox2vox_graphs(1, 4)[0], (1, 4, 32, 48, 32)),
}
FULL_WIDTH: Final[dict[str, tuple[Callable[[], nn.Module], Callable[[], GraphSource], tuple[int, ...]]]] = {
    "2D U-Net": (lambda: SliceUNet(7, 64), lambda: _synthetic_slices.unet_graphs(7)[0], (1, 1, 256, 256)),
    "HarDNet-BTS": (lambda: HarDNet(32), lambda: hardnet_bts.hardnet_graphs()[0], (1, 4, 128, 128, 128)),
    "COTRNet": (
        lambda: Cotr((64, 128, 256, 512), (256, 128, 64, 64, 32)),
        lambda: cotrnet.cotrnet_graphs()[0],
        (1, 4, 224, 224),
    ),
    "residual U-Net, coarse": (
        lambda: Residual(24),
        lambda: residual_unet_cascade.localisation_graphs()[0],
        (1, 4, 192, 192, 160),
    ),
    "residual U-Net, fine": (
        lambda: Residual(64),
        lambda: residual_unet_cascade.localisation_graphs()[1],
        (1, 4, 128, 128, 128),
    ),
    "Vox2Vox": (lambda: V2V(64), lambda: vox2vox.vox2vox_graphs(1)[0], (1, 4, 128, 128, 128)),
}
SCALING: Final = {"training_maximum": torch.tensor(7.0), "training_mean": torch.tensor(0.25)}
"""What the 2D U-Net divides by and subtracts."""
TRANSFORMER: Final = ("norm1.", "self_attn.in_proj_", "self_attn.out_proj.", "norm2.", "linear1.", "linear2.")
"""Parts of PyTorch's transformer layer in the order in which they run."""


def tensors_in_order(network: nn.Module, image: Tensor) -> list[tuple[str, Tensor]]:
    """Names and tensors of the layers, in the order in which they run; a transformer layer counts as one."""
    layers: list[tuple[str, nn.Module]] = []
    hooks = []
    wholes = [name for name, each in network.named_modules() if "Transformer" in type(each).__name__]
    for name, each in network.named_modules():
        is_inside = any(name.startswith(f"{whole}.") for whole in wholes)
        if not is_inside and (name in wholes or (not list(each.children()) and each.state_dict())):
            hooks.append(each.register_forward_pre_hook(lambda layer, _, name=name: layers.append((name, layer))))
    with torch.no_grad():
        network(image)
    for hook in hooks:
        hook.remove()
    return [(f"{name}.{part}", tensor) for name, layer in layers for part, tensor in _parts(layer)]


def _parts(layer: nn.Module) -> list[tuple[str, Tensor]]:
    named = [(name, each) for name, each in layer.state_dict().items() if "tracked" not in name]
    if isinstance(layer, nn.TransformerEncoderLayer):
        return [pair for part in TRANSFORMER for pair in named if pair[0].startswith(part)]
    return named


def shuffled(network: nn.Module) -> nn.Module:
    """The network with numbers everywhere, also where a new one has ones and zeros."""
    torch.manual_seed(0)
    for name, each in network.state_dict().items():
        if "tracked" not in name and each.ndim == 1:
            drawn = torch.rand_like(each)
            each.copy_(drawn + 0.5 if name.endswith(("weight", "var")) else 0.4 * drawn - 0.2)
    return network.eval()


@pytest.mark.parametrize(("theirs", "ours", "shape"), READ.values(), ids=READ)
def test_weights_of_a_second_reading_load_and_give_the_same_answer(
    theirs: Callable[[], nn.Module], ours: Callable[[], GraphSource], shape: tuple[int, ...], tmp_path: Path
):
    torch.manual_seed(1)
    image, graph = torch.randn(shape), ours()
    written, built = shuffled(theirs()), graph.build(None)
    pairs = list(zip(tensors_in_order(built, image), tensors_in_order(written, image), strict=True))
    state = {name: tensor for (name, _), (_, tensor) in pairs}
    wanted = built.state_dict()
    state |= {name: each for name, each in SCALING.items() if name in wanted}
    torch.save(state, tmp_path / "weights.pt")
    loaded = graph.build(tmp_path / "weights.pt")
    with torch.no_grad():
        got, expected = loaded(image), written(image)
    assert expected.std() > 0.01
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("theirs", "ours", "shape"), FULL_WIDTH.values(), ids=FULL_WIDTH)
def test_at_full_width_every_tensor_has_the_shape_of_a_second_reading(
    theirs: Callable[[], nn.Module], ours: Callable[[], GraphSource], shape: tuple[int, ...]
):
    def shapes(network: Any) -> list[tuple[int, ...]]:
        return [tuple(tensor.shape) for _, tensor in tensors_in_order(network.eval(), image)]

    with torch.device("meta"):
        image = torch.empty(shape)
        assert shapes(ours().build(None)) == shapes(theirs())


def test_a_transposed_convolution_with_same_padding_is_the_gradient_of_the_strided_convolution():
    """Keras' definition. The "same" padding of a 3 x 3 convolution of stride 2 is one pixel, at the end of a side."""
    transposed = SameTransposed(3, 2)
    below = torch.randn(1, 3, 4, 5)
    finer = torch.zeros(1, 2, 8, 10, requires_grad=True)
    strided = functional.conv2d(functional.pad(finer, (0, 1, 0, 1)), transposed.weight, stride=2)
    (gradient,) = torch.autograd.grad(strided, finer, below)
    bias = present(transposed.bias).view(1, 2, 1, 1)
    torch.testing.assert_close(transposed(below), gradient + bias)
