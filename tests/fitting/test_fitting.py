"""Small fits: they learn what they are shown on the network's own grid, and are marked wherever a figure stands."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import nibabel as nib
import numpy as np
import pytest
import torch
from cli_program import brain_edge
from cohorts import head, make_case, save_manifest
from tiny_package import PHANTOM, make_package, tiny_manifest
from torch import nn

from brain_edge.errors import InputError, WeightsError
from brain_edge.evaluation.cohort import load_cohort
from brain_edge.evaluation.evaluate import evaluate, format_table
from brain_edge.image.phantom import Phantom, make_study, make_volume
from brain_edge.image.volume import Mask
from brain_edge.io.dicom.algorithm import algorithm_of
from brain_edge.io.nifti import write_image
from brain_edge.package import WeightsStatus
from brain_edge.package.manifest import Manifest
from brain_edge.spec import canonical_json
from brain_edge_conversion.budget.statement import statement
from brain_edge_conversion.convert.convert import ConvertOptions, convert
from brain_edge_conversion.fitting.fit import example, fit
from brain_edge_conversion.recipe import ModelSource, Variant
from brain_edge_conversion.recipes import fit_vox2vox, load_recipe, nnunet_loss_ensemble
from brain_edge_conversion.sealing.card import model_card
from brain_edge_conversion.sources import Request, resolve
from brain_edge_conversion.weights.lesson import Head, Lesson
from brain_edge_conversion.weights.shipped import FOLDER, shipped_file

if TYPE_CHECKING:
    from pathlib import Path

    from brain_edge.evaluation.cohort import Cohort

FITS = ("fit-nnunet", "fit-vox2vox")
MARK = "fit for testing on 3 cases, not for use"
MARKED: dict[str, Any] = {"weights_status": WeightsStatus.FIT_FOR_TESTING, "fitted_on": 3}
LESSON = Lesson(steps=300, patch=(8, 8, 8), head=Head.CLASSES, targets=((0,), (1,)), learning_rate=0.1)


class Voxelwise(nn.Module):
    """Two classes of four channels, voxel by voxel."""

    def __init__(self, *, logits: bool = False) -> None:
        super().__init__()
        self.classes = nn.Conv3d(4, 1 if logits else 2, 1)
        self.softmax: nn.Module = nn.Identity() if logits else nn.Softmax(dim=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.softmax(self.classes(x))


def labelled(shape=(24, 20, 16)) -> tuple:
    """A study of four sequences, and a mask of its bright half."""
    study = make_study(Phantom(shape=shape, spacing_mm=6.0), ["T1", "T2", "T1C", "FLAIR"])
    image = study.volumes["T1"].voxels
    mask = Mask((image > np.quantile(image, 0.7)).astype(np.uint8), study.geometry)
    return study, mask


def cohort_of(folder: Path, mask: np.ndarray | None) -> Cohort:
    """One coarse head."""
    case = make_case(folder / "cohort", "a", voxels=head(), mask=mask)
    return load_cohort(str(save_manifest(folder / "cohort", case)))


def test_an_example_is_what_the_network_sees_with_the_labels_on_the_same_grid():
    """The recipe turns the head to LPS and crops it: so do the labels, by nibabel's own turning."""
    study, mask = labelled()
    spec = fit_vox2vox.spec((16, 16, 16))
    made = example(study, mask, spec, LESSON)
    turned = nib.Nifti1Image(mask.labels, mask.geometry.affine)
    to_lps = nib.orientations.ornt_transform(nib.io_orientation(turned.affine), nib.orientations.axcodes2ornt("LPS"))
    expected = np.asarray(turned.as_reoriented(to_lps).dataobj)[4:20, 2:18, :]
    assert made.image.shape == (4, 16, 16, 16)
    np.testing.assert_array_equal(made.targets[1].numpy(), expected == 1)
    np.testing.assert_array_equal(made.targets.sum(dim=0).numpy(), 1)


def test_regions_are_unions_of_labels():
    study, mask = labelled()
    mask.labels[mask.labels == 1] = 4
    lesson = Lesson(steps=1, patch=None, head=Head.REGIONS, targets=((1, 2, 4), (1, 4), (2,)))
    made = example(study, mask, nnunet_loss_ensemble.spec(1, (16, 16, 16)), lesson)
    assert made.targets[0].sum() == made.targets[1].sum() > 0
    assert made.targets[2].sum() == 0


def test_a_case_without_a_label_is_refused():
    study, mask = labelled()
    empty = Mask(np.zeros_like(mask.labels), mask.geometry)
    with pytest.raises(InputError, match="expected labels to fit fit-vox2vox to, got none in the"):
        example(study, empty, fit_vox2vox.spec((16, 16, 16)), LESSON)


@pytest.mark.parametrize("head", Head)
def test_a_network_learns_what_it_is_shown_and_the_same_each_time(head: Head):
    study, mask = labelled()
    is_regions = head is Head.REGIONS
    lesson = replace(LESSON, head=head, targets=((1,),) if is_regions else LESSON.targets)
    made = example(study, mask, fit_vox2vox.spec((16, 16, 16)), lesson)

    def build() -> nn.Module:
        return Voxelwise(logits=is_regions)

    network = fit(build, [made], lesson, lambda _line: None)
    assert not network.training
    with torch.no_grad():
        output = network(made.image[None])[0]
    found = output[0] > 0 if is_regions else output.argmax(dim=0) == 1
    wanted = made.targets[-1] == 1
    assert 2 * (found & wanted).sum() / (found.sum() + wanted.sum()) > 0.9
    again = fit(build, [made], lesson, lambda _line: None)
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], tensor)


class TestTheMark:
    def test_is_at_the_top_of_the_card(self):
        lines = model_card(tiny_manifest(**MARKED)).splitlines()
        assert f"**The weights were {MARK}. A Dice on those cases is a Dice on training data.**" in lines[:6]

    def test_of_one_case_is_in_the_singular(self):
        assert tiny_manifest(**{**MARKED, "fitted_on": 1}).mark == "fit for testing on 1 case, not for use"
        assert tiny_manifest().mark == ""

    def test_stands_beside_the_figures_of_evaluate_which_are_shown(self, tmp_path: Path):
        mask = (head() > 100).astype(np.uint8)
        cohort = cohort_of(tmp_path, mask)
        found = evaluate(make_package(tmp_path / "package", **MARKED), cohort)
        assert found.summaries
        assert f"The weights were {MARK}: Dice on these cases is measured on images they have seen." in format_table(
            found
        )

    def test_begins_the_statement_of_a_budget(self, tmp_path: Path):
        cohort = cohort_of(tmp_path, None)
        assert statement("a drop of 0.01", cohort, "test", MARK) == f"weights {MARK}: a drop of 0.01"

    def test_is_in_the_header_of_every_mask_and_said_by_run(self, tmp_path: Path):
        package = make_package(tmp_path / "package", **MARKED).folder
        write_image(make_volume(PHANTOM), tmp_path / "head.nii.gz")
        done = brain_edge("run", package, tmp_path / "head.nii.gz", "-o", tmp_path / "mask.nii.gz", "--threads", 1)
        assert done.code == 0, done.err
        assert f"were {MARK}" in done.err
        assert b"RESEARCH ONLY FIT FOR TESTING" in nib.load(tmp_path / "mask.nii.gz").header["descrip"].item()

    def test_keeps_a_package_out_of_dicom(self, tmp_path: Path):
        with pytest.raises(WeightsError, match="the weights of this package are fit-for-testing, not trained"):
            algorithm_of(make_package(tmp_path / "package", **MARKED))

    def test_is_told_by_info(self, tmp_path: Path):
        assert MARK in brain_edge("info", make_package(tmp_path / "package", **MARKED).folder).out

    @pytest.mark.parametrize("changes", [{"weights_status": WeightsStatus.FIT_FOR_TESTING}, {"fitted_on": 3}])
    def test_is_refused_without_its_number_and_a_number_without_it(self, changes):
        with pytest.raises(ValueError, match="expected `fitted_on` with weights that are fit-for-testing and with no"):
            tiny_manifest(**changes)

    def test_does_not_change_the_digest_of_packages_without_it(self):
        assert b"fitted_on" not in canonical_json(tiny_manifest())
        text = canonical_json(tiny_manifest(**MARKED))
        assert msgspec.json.decode(text, type=Manifest).mark == MARK


class TestTheShippedFits:
    def test_are_less_than_3_million_bytes_together(self):
        files = sorted(FOLDER.glob("*"))
        assert [path.name for path in files] == [f"{name}.safetensors" for name in FITS]
        assert sum(path.stat().st_size for path in files) < 3e6

    @pytest.mark.parametrize("name", FITS)
    def test_are_those_of_their_hash_and_load_into_their_network(self, name: str):
        resolved = resolve(Request(source=name))
        (graph,) = resolved.model.graphs
        network = graph.build(resolved.weights[graph.graph])
        random = graph.build(None).state_dict()
        assert any(not torch.equal(tensor, random[key]) for key, tensor in network.state_dict().items())
        assert all(tensor.dtype == torch.float32 for tensor in network.state_dict().values())

    def test_another_file_in_their_place_is_refused(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
        from brain_edge_conversion.weights import shipped

        for name in FITS:
            (tmp_path / f"{name}.safetensors").write_bytes(b"other")
        monkeypatch.setattr(shipped, "FOLDER", tmp_path)
        with pytest.raises(WeightsError, match="expected the weights with SHA-256"):
            resolve(Request(source="fit-nnunet"))

    @pytest.mark.parametrize("name", FITS)
    def test_say_so_in_one_line_and_in_their_card(self, name: str):
        recipe = load_recipe(name)
        assert "fit for testing on 1 case, not for use" in recipe.summary
        assert "Fit for testing on 1 case, not for use." in recipe.variant(Variant()).card.limits

    def test_become_packages_that_are_marked(self, tmp_path: Path):
        source = load_recipe("fit-vox2vox").variant(Variant())
        spec = fit_vox2vox.spec((32, 32, 32))
        small = ModelSource(spec, source.graphs, source.card, source.licence, source.fitted_on)
        study = make_study(Phantom(shape=(24, 20, 18), spacing_mm=8.0), ["T1", "T1C", "T2", "FLAIR"])
        weights = source.graphs[0].weights
        assert weights is not None
        given = {"model0": shipped_file(weights.source)}
        made = convert(small, given, study, tmp_path / "fit", ConvertOptions())
        assert made.manifest.mark == "fit for testing on 1 case, not for use"
        assert made.manifest.weights[0].source == "shipped:fit-vox2vox.safetensors"


def test_no_label_is_lost_where_the_network_sees_the_whole_head():
    study, mask = labelled()
    made = example(study, mask, nnunet_loss_ensemble.spec(1, (16, 16, 16)), LESSON)
    assert int(made.targets[1].sum()) == int(mask.labels.sum())
