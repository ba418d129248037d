"""Every kind of norm is PyTorch's own, by every way into a graph: module, TorchScript, torch.export, ONNX."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import openvino as ov
import pytest
import torch
from openvino import opset13
from torch import nn

from brain_edge.runtime.rewrites.f32 import rewrite_for_f32
from brain_edge.spec import Activation, Network, WholeVolume
from brain_edge_conversion.convert.trace import trace_network
from brain_edge_conversion.weights.exported_program import read_exported
from brain_edge_conversion.weights.onnx_graph import read_onnx

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore")

CHANNELS = 8
NETWORK = Network(
    graphs=("net",), channels_in=1, channels_out=CHANNELS, activation=Activation.NONE, execution=WholeVolume()
)
EXAMPLE = (1, 1, 32, 36, 40)


class Along(nn.Module):
    """A layer norm over the channels of each voxel."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(CHANNELS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x.permute(0, 2, 3, 4, 1)).permute(0, 4, 1, 2, 3)


class Flat(nn.Module):
    """By hand, over one axis of all voxels."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        voxels = x.flatten(2)
        centred = voxels - voxels.mean(2, keepdim=True)
        return (centred / ((centred**2).mean(2, keepdim=True) + 1e-5).sqrt()).reshape(x.shape)


class ByHand(nn.Module):
    """Mean and variance of PyTorch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, variance = x.mean((2, 3, 4), keepdim=True), x.var((2, 3, 4), keepdim=True, unbiased=False)
        return (x - mean) / (variance + 1e-5).sqrt()


class Response(nn.Module):
    """The global response norm of ConvNeXt V2 and MedNeXt."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        length = torch.norm(x, p=2, dim=(2, 3, 4), keepdim=True)
        return x + x * length / (length.mean(1, keepdim=True) + 1e-6)


class Squeeze(nn.Module):
    """Squeeze and excitation: a gate of means."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(nn.functional.adaptive_avg_pool3d(x, 1))


class RootMeanSquare(nn.Module):
    """Over the volume."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.rsqrt((x * x).mean((1, 2, 3, 4), keepdim=True) + 1e-5)


NORMS: dict[str, Callable[[], nn.Module]] = {
    "instance": lambda: nn.InstanceNorm3d(CHANNELS),
    "affine instance": lambda: nn.InstanceNorm3d(CHANNELS, affine=True),
    "batch": lambda: nn.BatchNorm3d(CHANNELS),
    "batch on its input": lambda: nn.BatchNorm3d(CHANNELS, track_running_stats=False),
    "group": lambda: nn.GroupNorm(4, CHANNELS),
    "one group": lambda: nn.GroupNorm(1, CHANNELS),
    "layer": Along,
    "flat": Flat,
    "by hand": ByHand,
    "response": Response,
    "squeeze": Squeeze,
    "root mean square": RootMeanSquare,
}


def module(network: nn.Module, _folder: Path) -> Any:
    return trace_network(network, NETWORK, EXAMPLE[2:])


def torchscript(network: nn.Module, _folder: Path) -> Any:
    return trace_network(torch.jit.trace(network, torch.zeros(EXAMPLE)), NETWORK, EXAMPLE[2:])


def exported(network: nn.Module, _folder: Path) -> Any:
    sides = dict.fromkeys((2, 3, 4), torch.export.Dim.AUTO)
    return read_exported(torch.export.export(network, (torch.zeros(EXAMPLE),), dynamic_shapes=(sides,)), "net.pt2")


def onnx(network: nn.Module, folder: Path) -> Any:
    sides, file = {2: "i", 3: "j", 4: "k"}, folder / "net.onnx"
    names: dict[str, Any] = {"input_names": ["x"], "output_names": ["y"], "dynamic_axes": {"x": sides, "y": sides}}
    torch.onnx.export(network, (torch.zeros(EXAMPLE),), file, dynamo=False, opset_version=17, **names)
    return read_onnx(file.read_bytes(), "net.onnx")


ROUTES = {route.__name__: route for route in (module, torchscript, exported, onnx)}
IN_TURN = [(norm, tuple(ROUTES)[(number + 2) % len(ROUTES)]) for number, norm in enumerate(NORMS)]
"""Every kind once, and every route for three kinds."""
FORMER = [
    ("instance", "exported"),
    ("batch on its input", "exported"),
    ("batch on its input", "module"),
    ("group", "onnx"),
]
"""What drifted, because its converter spells it differently."""


def distance(norm: str, route: str, side: int, folder: Path) -> float:
    """Largest difference from PyTorch / largest output, of two convolutions and norms, on skewed noise and one thread.

    PyTorch computes in float64: its own norm of a vector (`torch.norm`) is off by 2e-5 in float32.
    """
    torch.manual_seed(3)
    layers = [nn.Conv3d(1, CHANNELS, 1), NORMS[norm](), nn.ReLU(), nn.Conv3d(CHANNELS, CHANNELS, 1), NORMS[norm]()]
    network = nn.Sequential(*layers).eval()
    rng, shape = np.random.default_rng(4), (1, 1, side, side, side)
    image = (3 + (rng.random(shape) < 0.3) * rng.gamma(2.0, 2.0, shape)).astype(np.float32)
    model = ROUTES[route](network, folder)
    model.reshape(list(shape))
    rewrite_for_f32(model, opset13)
    properties = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    got = ov.Core().compile_model(model, "CPU", properties)([image])[0]
    with torch.no_grad():
        wanted = network.double()(torch.from_numpy(image).double()).numpy()
    return float(np.abs(got - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize(("norm", "route"), list(dict.fromkeys(IN_TURN + FORMER)))
def test_a_norm_is_pytorchs_by_any_route(norm: str, route: str, tmp_path: Path):
    assert distance(norm, route, 48, tmp_path) < 5e-6


@pytest.mark.full
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("norm", NORMS)
def test_and_on_a_whole_head(norm: str, route: str, tmp_path: Path):
    assert distance(norm, route, 160, tmp_path) < 5e-6
