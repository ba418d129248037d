"""A network that plain INT8 breaks, a cohort of phantoms for it, and who is to blame: one channel of one activation.

The activation that `blamed` reads holds the image in one channel and a thousand times the image in another, which no
later layer uses. One range for all channels leaves the image less than one step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from cohorts import file_entry, save, save_manifest
from tiny_package import PHANTOM, SPEC, STEEPNESS, make_package

from brain_edge.evaluation.cohort import CaseEntry, Cohort, Split, load_cohort
from brain_edge.image.phantom import HEAD, make_volume
from brain_edge.package import ModelPackage, graph_path, open_package
from brain_edge_conversion.convert.self_test import write_self_test
from brain_edge_conversion.sealing.graph import save_graph
from brain_edge_conversion.sealing.writer import seal

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

OUTLIER = 1000.0
BLAMED = "blamed"
BETWEEN = 0.4
"""Half-way between liquor and grey matter, where the phantom is scaled to 0..1."""
GREY_MATTER = 3
NOISE = 400.0


def outlier_graph() -> Any:
    """An OpenVINO model (1, 1, I, J, K) -> (1, 2, I, J, K) of four convolutions; the second one is to blame."""
    from openvino import Model, PartialShape, Type
    from openvino import opset13 as ops

    image = ops.parameter(PartialShape([1, 1, -1, -1, -1]), Type.f32, name="image")
    stem = np.zeros((4, 1, 3, 3, 3), np.float32)
    stem[0, 0, 1, 1, 1], stem[1, 0, 1, 1, 1] = 1.0, OUTLIER
    mix = np.zeros((8, 4, 1, 1, 1), np.float32)
    mix[:, 0] = 1.0
    mean = np.zeros((8, 8, 3, 3, 3), np.float32)
    mean[0, 0] = (1 + np.arange(27.0).reshape(3, 3, 3) / 27) / (1 + np.arange(27.0) / 27).sum()
    head = np.zeros((2, 8, 1, 1, 1), np.float32)
    head[1, 0] = STEEPNESS
    bias = np.array([0.0, -STEEPNESS * BETWEEN], np.float32).reshape(1, 2, 1, 1, 1)
    node = ops.relu(_convolution(image, stem, "stem"))
    node = ops.relu(_convolution(node, mix, BLAMED))
    node = ops.relu(_convolution(node, mean, "mean"))
    return Model([ops.softmax(ops.add(_convolution(node, head, "head"), bias), axis=1)], [image], "outlier")


def _convolution(node: Any, weights: np.ndarray, name: str) -> Any:
    from openvino import opset13 as ops

    ones, pads = [1, 1, 1], [weights.shape[2] // 2] * 3
    convolved = ops.convolution(node, ops.constant(weights), ones, pads, pads, ones)
    convolved.set_friendly_name(name)
    return convolved


def make_outlier_package(folder: Path) -> ModelPackage:
    """A sealed FP32 package of that network."""
    manifest = make_package(folder).manifest
    save_graph(outlier_graph(), folder / graph_path("tiny"), SPEC)
    write_self_test(ModelPackage(folder, manifest))
    seal(folder, msgspec.structs.replace(manifest, files={}))
    return open_package(folder)


def phantom_cohort(
    folder: Path,
    splits: Sequence[Split],
    *,
    references: bool = True,
    noisy: Collection[int] = (),
    **header: Any,
) -> Cohort:
    """A phantom for each split in the list, each of another subject; the reference is the brain of the phantom.

    Args:
        folder: where images and manifest go.
        splits: one per case.
        references: whether the cases have one.
        noisy: numbers of cases with noise as large as the contrast between tissues.
        header: of the manifest.
    """
    cases = [
        _case(folder, number, split, references=references, noise=NOISE if number in noisy else 0.0)
        for number, split in enumerate(splits, start=1)
    ]
    return load_cohort(save_manifest(folder, *cases, **header))


def brain_of_the_phantom() -> np.ndarray:
    """The ellipsoid (I, J, K) that bounds grey matter, without the skull around it."""
    centre, axes, _ = HEAD[GREY_MATTER]
    middle = (np.array(PHANTOM.shape) - 1) / 2
    places = np.meshgrid(*(np.arange(side) for side in PHANTOM.shape), indexing="ij")
    offsets = [(place - m) * PHANTOM.spacing_mm - c for place, m, c in zip(places, middle, centre, strict=True)]
    return sum((offset / axis) ** 2 for offset, axis in zip(offsets, axes, strict=True)) <= 1


def _case(folder: Path, number: int, split: Split, *, references: bool, noise: float) -> CaseEntry:
    voxels = make_volume(msgspec.structs.replace(PHANTOM, seed=number)).voxels
    voxels = (voxels + np.random.default_rng(number).normal(0, noise, voxels.shape)).astype(np.float32)
    brain = brain_of_the_phantom().astype(np.uint8)
    image = save(folder / f"MUSTERMANN_{number}" / "T1.nii.gz", voxels, PHANTOM.spacing_mm)
    mask = save(folder / f"MUSTERMANN_{number}" / "T1_mask.nii.gz", brain, PHANTOM.spacing_mm)
    return CaseEntry(
        subject=f"MUSTERMANN_{number}",
        split=split,
        inputs={"T1": file_entry(image, folder)},
        reference=file_entry(mask, folder) if references else None,
    )
