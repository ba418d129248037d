"""MeshNet with its published weights on the head that it is shown with: PyTorch's labels, voxel for voxel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from brain_edge.engine.segmenter import Segmenter
from brain_edge.io.nifti import read_volume
from brain_edge.jobs.case import read_study
from brain_edge_conversion.convert.convert import ConvertOptions, convert
from brain_edge_conversion.sources import Request, Resolved, resolve

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from brain_edge.package import ModelPackage

pytestmark = [pytest.mark.data, pytest.mark.timeout(1200)]

HEAD = "brainchop_t1/t1_crop.nii.gz"
WEIGHTS = {"meshnet-tissue": "model5_gw_ae", "meshnet-subcortical": "subcortical"}
MODELS = [
    # a minute and a half of processor time at 256^3
    pytest.param("meshnet-tissue", marks=pytest.mark.full),
    # 30 channels of 256^3 voxels: 2 GB for each of the arrays in between
    pytest.param("meshnet-subcortical", marks=pytest.mark.full),
]


def resolved_from(data_folder: Path, name: str) -> Resolved:
    weights = data_folder / "weights" / "brainchop_models" / WEIGHTS[name] / "model.pth"
    return resolve(Request(source=name, weights={"": weights}))


@pytest.mark.parametrize("name", MODELS)
def test_a_package_gives_the_labels_of_pytorch(
    name: str, data_folder: Path, mri: Callable[[str], Path], tmp_path: Path
):
    resolved = resolved_from(data_folder, name)
    study = read_study({"image": mri(HEAD)})
    package = convert(resolved.model, resolved.weights, study, tmp_path / "package", ConvertOptions())
    parity = package.manifest.parity
    assert parity is not None
    assert parity.graphs[0].relative_error < 1e-4
    assert parity.graphs[0].same_label_share > 0.99999
    assert parity.mask_dice > 0.9999
    require_plausible(package, mri(HEAD))


def require_plausible(package: ModelPackage, head: Path) -> None:
    """Every label is there, in a believable amount, on the grid of the file."""
    volume = read_volume(head)
    segmentation = Segmenter.open(package)(volume)
    assert [str(flag) for flag in segmentation.flags] == []
    assert segmentation.mask.labels.shape == volume.voxels.shape
    assert set(np.unique(segmentation.mask.labels)) == {0, *package.spec.label_names()}
