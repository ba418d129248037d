"""The networks of niivue-tinygrad with their published weights: PyTorch's labels, and brains where the masks say."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import openvino
import pytest
import torch
from present import present

from brain_edge.engine.segmenter import Segmenter
from brain_edge.image.metrics import dice
from brain_edge.io.nifti import read_volume
from brain_edge.jobs.case import read_study
from brain_edge.spec.steps import CropOrPadTo
from brain_edge_conversion.convert.convert import ConvertOptions, convert
from brain_edge_conversion.recipe import Variant
from brain_edge_conversion.recipes import load_recipe
from brain_edge_conversion.recipes._niivue import CORTEX_ML, _volume_ml
from brain_edge_conversion.sources import Request, Resolved, resolve

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from brain_edge.package import ModelPackage

HEAD = "brainchop_t1/t1_crop.nii.gz"
FILES = {
    "aparc50": "net_aparc50",
    "dk-atlas": "net_DKatlas",
    "mindgrab": "net_mindgrab",
    "robust-subcortical": "net_big_robust_tissue",
    "robust-tissue": "net_robust_tissue",
}
SMALL = (32, 32, 32)
"""Middle of a head, in voxels of 1 mm: a whole one takes a minute and, for `dk-atlas`, 7 GB of logits."""
MASKED = {
    "T1w": "ms_longitudinal/patient01/study1_T1W",
    "T2w": "ms_longitudinal/patient01/study1_T2W",
    "FLAIR": "ms_longitudinal/patient04/study1_FLAIR",
}


def resolved_from(data_folder: Path, name: str) -> Resolved:
    weights = data_folder / "weights" / "niivue_tinygrad" / f"{FILES[name]}.safetensors"
    return resolve(Request(source=name, weights={"": weights}))


def of_the_middle(resolved: Resolved) -> Resolved:
    """The model with one more step before its network: the middle of the head, with the intensities of all of it."""
    spec = resolved.model.spec
    (stage,) = spec.stages
    before = (*stage.before, CropOrPadTo(shape=SMALL))
    small = msgspec.structs.replace(spec, stages=(msgspec.structs.replace(stage, before=before),))
    return replace(resolved, model=replace(resolved.model, spec=small))


# half a minute of processor time each, most of it for the conformed phantom of the self-test
@pytest.mark.full
@pytest.mark.data
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", FILES)
def test_a_package_gives_the_labels_of_pytorch_in_the_middle_of_a_real_head(
    name: str, data_folder: Path, mri: Callable[[str], Path], tmp_path: Path
):
    resolved = of_the_middle(resolved_from(data_folder, name))
    study = read_study({"image": mri(HEAD)})
    package = convert(resolved.model, resolved.weights, study, tmp_path / "package", ConvertOptions())
    parity = present(package.manifest.parity)
    assert parity.graphs[0].relative_error < 1e-4
    assert parity.graphs[0].same_label_share > 0.99999


@pytest.mark.data
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")  # GroupNorm compares its sizes, which are constants here
@pytest.mark.parametrize("name", FILES)
def test_openvino_traces_the_published_network_at_a_small_side(name: str, data_folder: Path):
    (graph,) = resolved_from(data_folder, name).model.graphs
    network = graph.build(data_folder / "weights" / "niivue_tinygrad" / f"{FILES[name]}.safetensors")
    image = torch.rand(1, 1, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    traced = openvino.convert_model(network, example_input=image)
    exactly = {"INFERENCE_PRECISION_HINT": "f32"}
    (found,) = openvino.compile_model(traced, "CPU", exactly)(image.numpy()).values()
    with torch.no_grad():
        expected = network(image).numpy()
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("name", FILES)
def test_a_structure_of_one_side_has_half_of_the_range_of_both(name: str):
    spec = load_recipe(name).variant(Variant()).spec
    for label in spec.labels:
        if label.name.startswith(("Left-", "ctx-lh-")):
            both = label.name.removeprefix("Left-").removeprefix("ctx-lh-")
            assert np.allclose(2 * np.array(_volume_ml(label.name)), _volume_ml(both))


def test_the_parcels_of_the_cortex_are_the_34_of_the_atlas_on_each_side():
    names = load_recipe("dk-atlas").variant(Variant()).spec.label_names().values()
    for side in ("lh", "rh"):
        assert [name.removeprefix(f"ctx-{side}-") for name in names if name.startswith(f"ctx-{side}-")] == [*CORTEX_ML]
    assert len(CORTEX_ML) == 34


# a minute of processor time and 2 GB for each of the arrays in between, at 256^3
@pytest.mark.full
@pytest.mark.data
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["robust-tissue", "robust-subcortical", "aparc50"])
def test_all_labels_of_a_whole_head_are_there_in_believable_amounts(
    name: str, data_folder: Path, mri: Callable[[str], Path], tmp_path: Path
):
    segmentation = Segmenter.open(whole(data_folder, name, mri, tmp_path))(read_volume(mri(HEAD)))
    assert [str(flag) for flag in segmentation.flags] == []


# four passes of a minute and more of processor time each
@pytest.mark.full
@pytest.mark.data
@pytest.mark.timeout(3600)
def test_mindgrab_finds_the_brain_in_every_contrast(data_folder: Path, mri: Callable[[str], Path], tmp_path: Path):
    segmenter = Segmenter.open(whole(data_folder, "mindgrab", mri, tmp_path))
    for contrast, head in MASKED.items():
        found = segmenter(read_volume(mri(f"{head}.nii.gz"))).mask.labels > 0
        published = read_volume(mri(f"{head}_brainmask.nii.gz")).voxels > 0
        assert present(dice(found, published)) > 0.93, contrast


def whole(data_folder: Path, name: str, mri: Callable[[str], Path], tmp_path: Path) -> ModelPackage:
    """The package of a recipe, compared with PyTorch on a whole head."""
    resolved = resolved_from(data_folder, name)
    return convert(
        resolved.model, resolved.weights, read_study({"image": mri(HEAD)}), tmp_path / "package", ConvertOptions()
    )
