"""A package of two tiny networks that differ a little, run in two mirrorings: something that can be made cheaper."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import nibabel as nib
import numpy as np
from cohorts import file_entry, save_manifest
from tiny_package import AFTER, FIT, PHANTOM, SCALE, SPEC, STAGE, STEEPNESS, tiny_manifest, tiny_weights

from brain_edge.engine.segmenter import Segmenter
from brain_edge.evaluation.cohort import CaseEntry, Cohort, Split, load_cohort
from brain_edge.image.phantom import make_study
from brain_edge.image.resample import Interpolation
from brain_edge.io.nifti import write_mask
from brain_edge.machine.options import RuntimeOptions
from brain_edge.package import ModelPackage, graph_path
from brain_edge.spec.steps import Orient, PadToMultiple, ResizeTo
from brain_edge_conversion.sealing.graph import save_graph
from brain_edge_conversion.sealing.writer import seal

if TYPE_CHECKING:
    from pathlib import Path

    from brain_edge.spec import ModelSpec

PATIENT = "Smith^John"
SPLITS = (Split.VALIDATION, Split.TEST, Split.TEST)
NETWORK = msgspec.structs.replace(STAGE.network, graphs=("first", "second"), flips=((), (0,)))
ENSEMBLE = msgspec.structs.replace(
    SPEC,
    name="tiny-ensemble",
    stages=(
        msgspec.structs.replace(
            STAGE,
            before=(Orient(axes="RAS"), *FIT, SCALE, PadToMultiple(multiple_of=4, minimum=(64, 64, 64))),
            network=NETWORK,
            after=AFTER,
        ),
    ),
)
APART = 0.08
"""How far apart the thresholds of the two networks are, each on its side of the tiny package's."""


FIXED = msgspec.structs.replace(
    ENSEMBLE,
    stages=(
        msgspec.structs.replace(
            ENSEMBLE.stages[0],
            before=(Orient(axes="RAS"), *FIT, SCALE, ResizeTo(shape=(44, 52, 52), interpolation=Interpolation.NEAREST)),
        ),
    ),
)
"""The same on a fixed grid, where only members and mirrorings can be left out."""


def make_ensemble(folder: Path, spec: ModelSpec = ENSEMBLE, **changes: Any) -> ModelPackage:
    """Build, run once on the phantom and seal the package; `changes` are fields of the manifest."""
    for graph, shift in zip(spec.graphs, (APART, -APART), strict=True):
        save_graph(_graph(shift), folder / graph_path(graph), spec)
    manifest = tiny_manifest(spec, **changes)
    study = make_study(PHANTOM, ["T1"])
    mask = Segmenter.open(ModelPackage(folder, manifest))(study).mask
    (folder / manifest.self_test.mask).parent.mkdir()
    write_mask(mask, study.volumes["T1"], folder / manifest.self_test.mask)
    return seal(folder, manifest)


def _graph(shift: float) -> Any:
    """The tiny graph with a threshold that is moved by a share of the intensities."""
    from openvino import Model, PartialShape, Type
    from openvino import opset13 as ops

    weights, bias = tiny_weights()
    bias = bias + np.array([0.0, STEEPNESS * shift], dtype=np.float32).reshape(bias.shape)
    image = ops.parameter(PartialShape([1, 1, -1, -1, -1]), Type.f32, name="image")
    ones, pads = [1, 1, 1], [1, 1, 1]
    convolved = ops.convolution(image, ops.constant(weights), ones, pads, pads, ones)
    return Model([ops.softmax(ops.add(convolved, ops.constant(bias)), axis=1)], [image], "member")


def make_cohort(folder: Path, package: ModelPackage, splits: tuple[Split, ...] = SPLITS) -> Cohort:
    """One head per split, its seed the number of the case; the references are the masks of the package as it is."""
    segment = Segmenter.open(package, RuntimeOptions(threads=1))
    cases = []
    for number, split in enumerate(splits, start=1):
        volume = make_study(msgspec.structs.replace(PHANTOM, seed=number), ["T1"]).volumes["T1"]
        place = folder / f"{PATIENT}{number}"
        place.mkdir(parents=True)
        nib.save(nib.Nifti1Image(volume.voxels, volume.geometry.affine), place / "T1.nii.gz")
        nib.save(nib.Nifti1Image(segment(volume).mask.labels, volume.geometry.affine), place / "mask.nii.gz")
        inputs = {"T1": file_entry(place / "T1.nii.gz", folder)}
        reference = file_entry(place / "mask.nii.gz", folder)
        cases.append(CaseEntry(subject=place.name, split=split, inputs=inputs, reference=reference))
    return load_cohort(save_manifest(folder, *cases))
