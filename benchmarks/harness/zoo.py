"""Networks that are measured alone, with random weights: speed does not depend on what a network has learnt."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from .trained import trained_module

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import nn

    from brain_edge.image.volume import FloatArray

TRACED_SIDE: Final = 64
QUANTISED_SIDE: Final = 64
"""Side of the volume that ranges are taken from: calibration at full size takes gigabytes and changes no speed."""


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A network and the volume that it is measured on.

    Attributes:
        build: the network in the very state in which its program runs it.
        channels_in: of its input.
        sides: of its input.
    """

    build: Callable[[], nn.Module]
    channels_in: int
    sides: tuple[int, int, int]

    @property
    def shape(self) -> tuple[int, ...]:
        """(1, C, I, J, K)."""
        return (1, self.channels_in, *self.sides)


def recipe(name: str) -> nn.Module:
    """As in the recipe; the norms of hd_bet_v1 use the statistics of the input."""
    module: nn.Module = import_module(f"brain_edge_conversion.recipes.{name}").build(None)
    return module


def brainmage_as_written() -> nn.Module:
    """Return BrainMaGe as its BrainLes paper writes it: two classes, transposed convolutions."""
    from brain_edge_conversion.networks.brainmage import BrainMaGe
    from brain_edge_conversion.recipe import same_each_time

    return same_each_time(partial(BrainMaGe, as_written=True)).eval()


def vox2vox() -> nn.Module:
    """The generator."""
    from brain_edge_conversion.networks.vox2vox import Vox2VoxGenerator
    from brain_edge_conversion.recipe import same_each_time

    return same_each_time(Vox2VoxGenerator).eval()


def nnunet_style() -> nn.Module:
    """MONAI's DynUNet as nnU-Net plans it for 128^3: six levels of 32 to 320 channels, instance norms."""
    from monai.networks.nets import DynUNet

    from brain_edge_conversion.recipe import same_each_time

    levels = 6
    norm = ("INSTANCE", {"affine": True})
    strides = [1, *[2] * (levels - 1)]
    filters = [32, 64, 128, 256, 320, 320]
    made: nn.Module = same_each_time(
        lambda: DynUNet(3, 4, 4, [3] * levels, strides, strides[1:], filters=filters, norm_name=norm)
    )
    return made.eval()


def meshnet() -> nn.Module:
    """Of the recipe for white and grey matter: nine dilated convolutions of five channels at full resolution."""
    from brain_edge_conversion.networks.meshnet import TISSUE, MeshNet
    from brain_edge_conversion.recipe import same_each_time

    return same_each_time(lambda: MeshNet(TISSUE)).eval()


def tiny() -> nn.Module:
    """Two convolutions and a norm: says nothing about speed, and shows in seconds that the comparison runs."""
    from torch import nn

    from brain_edge_conversion.recipe import same_each_time

    return same_each_time(
        lambda: nn.Sequential(
            nn.Conv3d(1, 4, 3, padding=1), nn.InstanceNorm3d(4), nn.ReLU(), nn.Conv3d(4, 2, 1), nn.Softmax(dim=1)
        )
    ).eval()


ARCHITECTURES: Final = {
    "tiny": Architecture(build=tiny, channels_in=1, sides=(32, 32, 32)),
    "brainmage": Architecture(build=partial(recipe, "brainmage"), channels_in=1, sides=(128, 128, 128)),
    "brainmage-as-written": Architecture(build=brainmage_as_written, channels_in=1, sides=(128, 128, 128)),
    "hd-bet-v1": Architecture(build=partial(recipe, "hd_bet_v1"), channels_in=1, sides=(128, 160, 128)),
    "vox2vox": Architecture(build=vox2vox, channels_in=4, sides=(128, 128, 128)),
    "nnunet-style": Architecture(build=nnunet_style, channels_in=4, sides=(128, 128, 128)),
    "meshnet": Architecture(build=meshnet, channels_in=1, sides=(256, 256, 256)),
}


def phantom_input(architecture: Architecture, side: int | None = None) -> FloatArray:
    """The phantom head, z-scored, in every channel a little noisier; of the given side, or as it is measured."""
    from brain_edge.image.phantom import Phantom, make_volume

    sides = architecture.sides if side is None else (side, side, side)
    head = make_volume(Phantom(shape=sides, spacing_mm=200.0 / min(sides))).voxels
    head = (head - head.mean()) / head.std()
    noise = np.random.default_rng(0)
    channels = [head + 0.1 * number * noise.standard_normal(head.shape) for number in range(architecture.channels_in)]
    return np.ascontiguousarray(np.stack(channels)[np.newaxis], dtype=np.float32)


def save_graphs(subject: str, folder: Path) -> None:
    """Convert and quantise: `f32.xml` and `int8.xml` with their weights; the rewrites that keep the output as it is.

    The last softmax or sigmoid stays, and so do both channels of a binary head, so that all sides give the same.
    """
    import nncf
    import openvino as ov
    import torch

    from brain_edge_conversion.convert.rewrites.graph import rewrite_graph

    architecture = ARCHITECTURES[subject]
    small = (1, architecture.channels_in, *(TRACED_SIDE,) * 3)
    model = ov.convert_model(module_of(subject), example_input=torch.zeros(small))
    model.reshape([*small[:2], -1, -1, -1])
    rewrite_graph(model, small)
    ov.save_model(model, str(folder / "f32.xml"), compress_to_fp16=False)
    calibration = nncf.Dataset([phantom_input(architecture, QUANTISED_SIDE)])
    preset = nncf.QuantizationPreset.PERFORMANCE
    quantised = nncf.quantize(model, calibration, preset=preset, subset_size=1)
    ov.save_model(quantised, str(folder / "int8.xml"), compress_to_fp16=False)


def save_onnx(module: nn.Module, batch: FloatArray, path: Path) -> None:
    """A module as PyTorch's own exporter writes it, at the size that is measured: what ONNX Runtime is given."""
    import torch

    torch.onnx.export(module, (torch.from_numpy(batch),), str(path), dynamo=False, opset_version=17)


def module_of(subject: str) -> nn.Module:
    """A network of the zoo or a trained one, with norms that an exporter keeps as they run, in evaluation mode."""
    from brain_edge_conversion.convert.rewrites.norm_statistics import trapped_norms, use_instance_statistics

    build = ARCHITECTURES[subject].build if subject in ARCHITECTURES else partial(trained_module, subject)
    module = copy.deepcopy(build())
    use_instance_statistics(module, trapped_norms(module))
    return module.eval()


def compiled(
    graph: Path,
    shape: tuple[int, ...],
    threads: int,
    precision: str = "f32",
    streams: int = 1,
    *,
    rewritten: bool = True,
) -> Any:
    """A graph compiled as the runtime compiles it, in the given precision where it is not integer."""
    from brain_edge.machine.options import RuntimeOptions
    from brain_edge.package import Precision
    from brain_edge.runtime.library import import_openvino
    from brain_edge.runtime.session import compile_properties

    properties = compile_properties(Precision(precision), RuntimeOptions(threads=threads), streams)
    model = ready_model(graph, shape, precision, rewritten=rewritten)
    return import_openvino().Core().compile_model(model, "CPU", properties)


def ready_model(graph: Path, shape: tuple[int, ...], precision: str = "f32", *, rewritten: bool = True) -> Any:
    """A graph at its size, rewritten as the runtime does before it compiles it."""
    from brain_edge.package import Precision
    from brain_edge.runtime.library import import_openvino
    from brain_edge.runtime.session import rewrite

    model = import_openvino().Core().read_model(str(graph))
    model.reshape(list(shape))
    if rewritten:
        rewrite(model, Precision(precision))
    return model
