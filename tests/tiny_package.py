"""A real package in a tenth of a second: one small convolution that finds the brain of the phantom.

The graph is built from opset calls, saved, sealed and run like every other; only nobody has trained it. Its kernel
has no symmetry, so that a volume in the wrong axis order gives another mask.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from brain_edge.engine.segmenter import Segmenter
from brain_edge.image.contrast import Contrast
from brain_edge.image.phantom import Phantom, make_study
from brain_edge.image.resample import Interpolation
from brain_edge.io.nifti import write_mask
from brain_edge.package import Manifest, ModelPackage, NumberFormat, Precision, WeightsStatus, graph_path
from brain_edge.package.digest import sha256_of
from brain_edge.package.manifest import Card, Licence, SelfTest, WeightsRecord
from brain_edge.package.reader import DIGEST, MANIFEST
from brain_edge.spec import (
    Label,
    ModelSpec,
    Network,
    Plausible,
    PlausibleInput,
    PlausibleLabel,
    Sequence,
    Stage,
    Task,
)
from brain_edge.spec.steps import (
    Argmax,
    CropToStage,
    FillHoles,
    FitPercentile,
    LargestComponent,
    Orient,
    PadToMultiple,
    ResampleToSpacing,
    RescaleToUnit,
    Restore,
)
from brain_edge_conversion.sealing.graph import save_graph
from brain_edge_conversion.sealing.writer import seal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PHANTOM = Phantom(shape=(44, 52, 50), spacing_mm=4.0)
"""A head of 110 000 voxels: large enough for a skull, small enough for a test."""

NETWORK = '''
from torch import nn

class Tiny(nn.Module):
    """The network of the tiny package."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv3d(1, 2, 3, padding=1)

    def forward(self, image):
        return self.convolution(image).softmax(1)
'''
"""The same network as a module that a user has written."""

STEEPNESS = 40.0
MIDDLE = 0.6
"""Between neck and grey matter, where the phantom is scaled to 0..1."""

FIT = (FitPercentile(name="low", percent=0.5), FitPercentile(name="high", percent=99.5))
SCALE = RescaleToUnit(lower="low", upper="high")
RESAMPLE = ResampleToSpacing(spacing_mm=(4.0, 4.0, 4.0), interpolation=Interpolation.LINEAR)
RESTORE = Restore(interpolation=Interpolation.NEAREST)
AFTER = (Argmax(), RESTORE, LargestComponent(), FillHoles())


def one_graph(name: str) -> Network:
    """A network of one tiny graph."""
    return Network(graphs=(name,), channels_in=1, channels_out=2)


STAGE = Stage(
    name="brain",
    before=(Orient(axes="RAS"), RESAMPLE, *FIT, SCALE, PadToMultiple(multiple_of=4)),
    network=one_graph("tiny"),
    after=AFTER,
)

SPEC = ModelSpec(
    name="tiny",
    task=Task.SKULL_STRIPPING,
    inputs=(Sequence(name="T1", contrasts=(Contrast.T1W,)),),
    stages=(STAGE,),
    labels=(Label(value=1, name="brain"),),
    plausible=Plausible(
        inputs=PlausibleInput(spacing_mm=(0.5, 6.0), extent_mm=(120.0, 300.0)),
        labels=(PlausibleLabel(label=1, volume_ml=(600.0, 2200.0), max_components=1, max_border_share=0.05),),
    ),
)
"""One stage, one graph."""

CASCADE = msgspec.structs.replace(
    SPEC,
    name="tiny-cascade",
    stages=(
        Stage(
            name="box",
            before=(Orient(axes="RAS"), RESAMPLE, *FIT, SCALE),
            network=one_graph("first"),
            after=(Argmax(), LargestComponent()),
        ),
        Stage(
            name="brain",
            before=(Orient(axes="RAS"), CropToStage(stage="box", margin=0.1), RESAMPLE, SCALE),
            network=one_graph("second"),
            after=AFTER,
        ),
    ),
)
"""Two stages: the box of the first is what the second sees, in the intensities that the first has fitted."""


def tiny_graph() -> Any:
    """An OpenVINO model (1, 1, I, J, K) -> (1, 2, I, J, K): 3 x 3 x 3 convolution, bias, softmax."""
    from openvino import Model, PartialShape, Type
    from openvino import opset13 as ops

    weights, bias = tiny_weights()
    image = ops.parameter(PartialShape([1, 1, -1, -1, -1]), Type.f32, name="image")
    ones, pads = [1, 1, 1], [1, 1, 1]
    convolved = ops.convolution(image, ops.constant(weights), ones, pads, pads, ones)
    model = Model([ops.softmax(ops.add(convolved, ops.constant(bias)), axis=1)], [image], "tiny")
    # names that OpenVINO gives are numbers that go on counting, and the file would differ each time
    for number, node in enumerate(model.get_ordered_ops()):
        node.set_friendly_name(f"{node.get_type_name()}_{number}")
    model.outputs[0].get_tensor().set_names({"probabilities"})
    return model


def tiny_weights() -> tuple[np.ndarray, np.ndarray]:
    """Kernel (2, 1, 3, 3, 3) and bias (1, 2, 1, 1, 1) float32: a lopsided mean, against a threshold."""
    lopsided = 1 + np.arange(27.0).reshape(3, 3, 3) / 27
    lopsided[1, 1, 1] = 40.0
    weights = np.zeros((2, 1, 3, 3, 3), dtype=np.float32)
    weights[1, 0] = STEEPNESS * lopsided / lopsided.sum()
    bias = np.array([0.0, -STEEPNESS * MIDDLE], dtype=np.float32).reshape(1, 2, 1, 1, 1)
    return weights, bias


def tiny_manifest(spec: ModelSpec = SPEC, **changes: Any) -> Manifest:
    """What a package of the tiny graph says of itself, before it is sealed."""
    manifest = Manifest(
        spec=spec,
        weights_status=WeightsStatus.TRAINED,
        number_format=NumberFormat.FP32,
        precision=Precision.F32,
        weights=tuple(WeightsRecord(graph=graph, source="written by hand", sha256="0" * 64) for graph in spec.graphs),
        rewrites=(),
        made_with={"brain-edge": "0"},
        licence=Licence(name="Apache-2.0", holder="the authors of brain_edge", notes="nothing was trained"),
        card=Card(summary="A convolution.", citation="none", published_figures="none", limits="finds a phantom only"),
        self_test=SelfTest(phantom=PHANTOM, mask="selftest/mask.nii.gz", minimum_dice=0.98),
    )
    return msgspec.structs.replace(manifest, **changes)


def make_package(folder: Path, spec: ModelSpec = SPEC, **changes: Any) -> ModelPackage:
    """Build, run once on the phantom and seal a package in `folder`; `changes` are fields of the manifest."""
    for graph in spec.graphs:
        save_graph(tiny_graph(), folder / graph_path(graph), spec)
    manifest = tiny_manifest(spec, **changes)
    study = make_study(manifest.self_test.phantom, [sequence.name for sequence in spec.inputs])
    mask = Segmenter.open(ModelPackage(folder, manifest), alone=True)(study).mask
    target = folder / manifest.self_test.mask
    target.parent.mkdir(parents=True, exist_ok=True)
    write_mask(mask, study.volumes[study.reference], target)
    records = [
        msgspec.structs.replace(record, sha256=sha256_of(folder / graph_path(record.graph).replace(".xml", ".bin")))
        for record in manifest.weights
    ]
    return seal(folder, msgspec.structs.replace(manifest, weights=tuple(records)))


def write_manifest(folder: Path, text: bytes) -> None:
    """Put another manifest in place, with the hash that belongs to it."""
    (folder / MANIFEST).write_bytes(text)
    (folder / DIGEST).write_text(f"{hashlib.sha256(text).hexdigest()}\n", encoding="ascii", newline="\n")


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the plain dictionaries of a manifest as somebody would who knows how it is spelt and hashed."""
    plain = json.loads((folder / MANIFEST).read_bytes())
    change(plain)
    write_manifest(folder, msgspec.json.encode(plain, order="sorted"))
