"""What tracing alone cannot convert, what it freezes wrongly and what was scripted: PyTorch's own output judges."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import openvino
import pytest
import torch
from tiny_package import SPEC
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from brain_edge.errors import BrainEdgeError
from brain_edge.spec import SlidingWindow
from brain_edge_conversion.convert.rewrites.parametrised import bake_weights
from brain_edge_conversion.convert.trace import trace_network
from brain_edge_conversion.recipe import same_each_time

if TYPE_CHECKING:
    from collections.abc import Callable

SIDE = 16
NETWORK = msgspec.structs.replace(
    SPEC.stages[0].network, execution=SlidingWindow(shape=(SIDE, SIDE, SIDE), overlap=0.25)
)


class NearestExact(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            nn.Conv3d(1, 4, 3, 2, 1), nn.Upsample(scale_factor=2, mode="nearest-exact"), nn.Conv3d(4, 2, 1)
        )


class Sized(nn.Module):
    """Goes back to the size of its input by `nearest-exact`, whatever the size."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv3d(1, 4, 3, 2, 1), nn.Conv3d(4, 2, 3, 2, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.interpolate(self.layers(x), size=x.shape[2:], mode="nearest-exact")


class Unpool(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv3d(1, 4, 3, padding=1), nn.Conv3d(4, 2, 1)
        self.pool, self.unpool = nn.MaxPool3d(2, return_indices=True), nn.MaxUnpool3d(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled, places = self.pool(functional.relu(self.first(x)))
        return self.last(self.unpool(pooled, places))


class Spectral(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(parametrizations.spectral_norm(nn.Conv3d(1, 2, 3, padding=1)))


class GuardsEmptyPatches(nn.Module):
    """Normalises a patch, but not an empty one: traced on zeros, it would never normalise."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(1, 2, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.std() > 0:
            x = (x - x.mean()) / x.std()
        return self.convolution(x)


def scripted(network: nn.Module) -> nn.Module:
    """A network as `monai.bundle ckpt_export` writes it into model.ts."""
    from monai.networks.utils import convert_to_torchscript

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return convert_to_torchscript(network.eval())


def scripted_unet() -> nn.Module:
    from monai.networks.nets import UNet

    return scripted(UNet(3, 1, 2, (4, 8, 8), (2, 2), num_res_units=2))


@pytest.mark.parametrize("build", [NearestExact, Unpool, Spectral, GuardsEmptyPatches, scripted_unet])
@pytest.mark.filterwarnings("ignore")
def test_a_window_is_converted_to_what_pytorch_computes(build: Callable[[], nn.Module]):
    module = same_each_time(lambda: build().eval())
    bake_weights(module)
    model = trace_network(module, NETWORK, (SIDE, SIDE, SIDE), has_fixed_sides=True)
    x = 3 + torch.randn(1, 1, SIDE, SIDE, SIDE, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        expected = module(x).numpy()
    found = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(x.numpy())[0]
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.filterwarnings("ignore")
def test_a_network_runs_once_to_be_traced(monkeypatch: pytest.MonkeyPatch):
    """The converter would run it three times; for a transformer that was most of its conversion."""
    calls = []
    forward = GuardsEmptyPatches.forward

    def counted(self: GuardsEmptyPatches, x: torch.Tensor) -> torch.Tensor:
        calls.append(tuple(x.shape))
        return forward(self, x)

    monkeypatch.setattr(GuardsEmptyPatches, "forward", counted)
    trace_network(GuardsEmptyPatches().eval(), NETWORK, (SIDE, SIDE, SIDE), has_fixed_sides=True)
    assert len(calls) == 1


@pytest.mark.filterwarnings("ignore")
def test_a_scripted_program_that_cannot_be_converted_is_named_as_scripted():
    from monai.networks.nets import SegResNet

    script = scripted(SegResNet(3, 8, 1, 2))
    with pytest.raises(BrainEdgeError, match=r"The program was scripted; trace it .*, or give the state dict"):
        trace_network(script, NETWORK, (SIDE, SIDE, SIDE), has_fixed_sides=True)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("build", [NearestExact, Sized])
def test_the_nearest_voxels_of_a_volume_of_any_size_are_pytorchs(build: type[nn.Module]):
    module = same_each_time(lambda: build().eval())
    model = trace_network(module, SPEC.stages[0].network, (SIDE, SIDE, SIDE))
    compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for sides in ((8, 12, 20), (32, 18, 24)):
        x = torch.randn(1, 1, *sides, generator=torch.Generator().manual_seed(5))
        with torch.no_grad():
            expected = module(x).numpy()
        np.testing.assert_allclose(compiled(x.numpy())[0], expected, atol=1e-5 * np.abs(expected).max())
