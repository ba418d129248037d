"""A package with a preparation takes a study as it was scanned, and its masks lie on the images of that study."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from cli_program import make_pair_package, refused, save_phantom, succeed
from tiny_package import PHANTOM, SPEC, STAGE, make_package

from brain_edge.engine.segmenter import Segmenter
from brain_edge.errors import MissingExtraError, OutputError, UsageError
from brain_edge.image.geometry import Geometry
from brain_edge.image.metrics import least_dice
from brain_edge.image.phantom import make_volume
from brain_edge.image.volume import Study, Volume
from brain_edge.io.nifti import read_numbers, read_volume, write_image
from brain_edge.machine.options import RuntimeOptions
from brain_edge.preparation.parts import Part
from brain_edge.preparation.preparer import Preparer
from brain_edge.registration.rigid import Rigid
from brain_edge.registration.through import resample_through
from brain_edge.spec import Atlas, Label, PlausibleLabel, Preparation, Sequence, Skull, Task

if TYPE_CHECKING:
    from pathlib import Path

    from brain_edge.package import ModelPackage

GRID = msgspec.structs.replace(SPEC, name="on-a-grid", preparation=Preparation(references=("T1",), spacing_mm=4.0))
"""The head as it was scanned, on a grid of 4 mm: nothing has to be registered."""

BRAINS = msgspec.structs.replace(
    SPEC,
    name="of-brains",
    task=Task.LESION,
    stages=(msgspec.structs.replace(STAGE, name="finding"),),
    labels=(Label(value=1, name="finding"),),
    plausible=type(SPEC.plausible)(),
    preparation=Preparation(references=("T1",), spacing_mm=4.0, skull=Skull.REMOVED_AFTER),
)
"""A network of brains without a skull, on the same grid."""


def scanned() -> Volume:
    """The phantom in slices of 6 mm, oblique."""
    head = make_volume(PHANTOM)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]]
    grid = Geometry((60, 70, 36), turn @ np.diag([3.0, 3.0, 6.0, 1.0]))
    centred = grid.affine.copy()
    centred[:3, 3] -= grid.corners_mm().mean(axis=0)
    return resample_through(head, Rigid.identity(), Geometry(grid.shape, centred))


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> ModelPackage:
    return make_package(tmp_path_factory.mktemp("packages") / "grid", GRID)


@pytest.fixture(scope="module")
def head(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("heads") / "head.nii.gz"
    write_image(scanned(), path)
    return path


def labels(path: Path) -> tuple[np.ndarray, Geometry]:
    found, geometry = read_numbers(path)
    return np.asarray(found), geometry


class TestRun:
    def test_brings_the_mask_back_to_the_image(self, package, head, tmp_path):
        record = succeed("run", package.folder, head, "-o", tmp_path / "mask.nii.gz", "--json").json
        found, grid = labels(tmp_path / "mask.nii.gz")
        assert grid.same_grid(read_volume(head).geometry)
        assert record["preparation"]["parts"] == [str(Part.GRID)]
        succeed("run", package.folder, head, "-o", tmp_path / "plain.nii.gz", "--as-they-are", "-q")
        assert least_dice(found, labels(tmp_path / "plain.nii.gz")[0]) > 0.93

    def test_writes_a_mask_for_each_grid(self, package, head, tmp_path):
        both = ("--on", "T1", "--on", "atlas")
        record = succeed("run", package.folder, head, "-o", tmp_path / "mask.nii.gz", *both, "--json").json
        first, second = labels(tmp_path / "mask.nii.gz"), labels(tmp_path / "mask_atlas.nii.gz")
        assert first[1].same_grid(read_volume(head).geometry)
        assert second[1].spacing_mm == pytest.approx((4.0, 4.0, 4.0))
        assert record["also"] == {"atlas": str(tmp_path / "mask_atlas.nii.gz")}
        millilitres = [np.count_nonzero(found) * grid.voxel_volume_ml for found, grid in (first, second)]
        assert millilitres[0] == pytest.approx(millilitres[1], rel=0.02)

    def test_writes_probabilities_and_brain_on_the_same_grid(self, package, head, tmp_path):
        others = ("--probabilities", tmp_path / "p.nii.gz", "--brain", tmp_path / "b.nii.gz")
        succeed("run", package.folder, head, "-o", tmp_path / "mask.nii.gz", *others, "-q")
        mask, grid = labels(tmp_path / "mask.nii.gz")
        assert read_volume(tmp_path / "b.nii.gz").geometry.same_grid(grid)
        assert np.array_equal(
            read_volume(tmp_path / "b.nii.gz").voxels > 0, (mask > 0) & (read_volume(head).voxels > 0)
        )

    @pytest.mark.parametrize("grid", ["T1", "atlas"])
    def test_counts_a_volume_once_on_the_grid_of_the_mask(self, head, tmp_path, grid):
        narrow = (PlausibleLabel(label=1, volume_ml=(1.0, 2.0)),)
        plausible = msgspec.structs.replace(GRID.plausible, labels=narrow)
        package = make_package(tmp_path / "narrow", msgspec.structs.replace(GRID, plausible=plausible))
        record = succeed(
            *("run", package.folder, head, "-o", tmp_path / "mask.nii.gz", "--on", grid, "--json", "-q")
        ).json
        (flag,) = [each for each in record["flags"] if each["kind"] == "volume"]
        found, geometry = labels(tmp_path / "mask.nii.gz")
        assert flag["value"] == record["volumes_ml"]["brain"]
        assert flag["value"] == pytest.approx(np.count_nonzero(found) * geometry.voxel_volume_ml)

    def test_leaves_nothing_of_a_kept_study_on_a_full_disk(self, package, head, tmp_path, small_disk):
        kept = small_disk / "kept"
        words = refused(1, "run", package.folder, head, "-o", tmp_path / "mask.nii.gz", "--prepared", kept)
        assert "the disk is full; free some space or choose a folder on another disk" in words
        assert words.count("\n") == 1
        assert ".partial" not in words
        assert list(kept.iterdir()) == []
        assert list(tmp_path.glob("mask*")) == []

    def test_keeps_finished_cases_of_a_batch_unless_another_grid_is_asked_for(self, package, head, tmp_path):
        batch = ("run", package.folder, head.parent, "-o", tmp_path)
        succeed(*batch)
        assert "1 of 1 cases were already finished" in succeed(*batch).out
        assert "already finished" not in succeed(*batch, "--on", "atlas").out
        assert labels(tmp_path / "head_mask.nii.gz")[1].spacing_mm == pytest.approx((4.0, 4.0, 4.0))

    def test_refuses_a_grid_that_no_sequence_has(self, package, head, tmp_path):
        words = refused(2, "run", package.folder, head, "-o", tmp_path / "mask.nii.gz", "--on", "T2")
        assert "expected --on as one of T1 or atlas, got 'T2'" in words

    def test_of_a_package_without_a_preparation_has_no_other_grid(self, head, tmp_path):
        plain = make_package(tmp_path / "plain")
        words = refused(2, "run", plain.folder, head, "-o", tmp_path / "mask.nii.gz", "--on", "T1")
        assert "--on T1 has no effect: tiny takes images as they are" in words

    def test_of_a_package_without_a_preparation_takes_nothing_for_one(self, head, tmp_path):
        plain = make_package(tmp_path / "plain")
        given = ("--atlas", head, "--prepared", tmp_path / "kept")
        words = refused(2, "run", plain.folder, head, "-o", tmp_path / "mask.nii.gz", *given)
        assert "--atlas, --prepared have no effect with tiny, which has no preparation; remove them" in words
        assert not (tmp_path / "mask.nii.gz").exists()

    @pytest.mark.parametrize("option", ["--atlas", "--prepared"])
    def test_of_images_as_they_are_takes_nothing_for_a_preparation(self, package, head, tmp_path, option):
        given = ("--as-they-are", option, tmp_path / "kept")
        words = refused(2, "run", package.folder, head, "-o", tmp_path / "mask.nii.gz", *given)
        assert f"expected --as-they-are or {option}, got both; remove --as-they-are to prepare the images" in words
        assert not (tmp_path / "mask.nii.gz").exists()

    def test_of_a_package_without_an_atlas_takes_none(self, package, head, tmp_path):
        words = refused(2, "run", package.folder, head, "-o", tmp_path / "mask.nii.gz", "--atlas", head)
        assert "--atlas has no effect with this package, whose preparation has no atlas; remove --atlas" in words

    def test_refuses_another_atlas_once_for_all_cases(self, head, tmp_path):
        atlas = Atlas(space="Small", shape=(60, 70, 60), spacing_mm=3.0, axes="RAS", origin_mm=(0.0, 0.0, 0.0))
        wanted = msgspec.structs.replace(SPEC, preparation=Preparation(references=("T1",), atlas=atlas))
        package = make_package(tmp_path / "atlas", wanted)
        words = refused(3, "run", package.folder, head.parent, "-o", tmp_path / "masks", "--atlas", head)
        assert words.startswith(f"error: {head}: expected the atlas Small on the grid 60 x 70 x 60 voxels")

    def test_refuses_a_file_as_the_folder_of_prepared_studies_before_any_work(self, tmp_path, monkeypatch):
        (tmp_path / "kept").write_text("a file")
        preparer = Preparer(Preparation(references=("T1",), spacing_mm=4.0), {}, 1, kept=tmp_path / "kept")
        monkeypatch.setattr("brain_edge.preparation.work.resample_through", None)
        with pytest.raises(OutputError, match="kept: could not be written"):
            preparer(Study.of(T1=scanned()))


class TestStudy:
    def test_of_several_sequences_may_be_one_folder(self, tmp_path):
        pair = make_pair_package(tmp_path / "pair")
        for name in ("T1", "T2"):
            (tmp_path / "study").mkdir(exist_ok=True)
            save_phantom(tmp_path / "study" / f"one_{name}.nii.gz", seed=len(name) + ord(name[1]))
        succeed("run", pair.folder, tmp_path / "study", "-o", tmp_path / "mask.nii.gz", "-q")
        named = [f"{name}={tmp_path}/study/one_{name}.nii.gz" for name in ("T1", "T2")]
        succeed("run", pair.folder, *named, "-o", tmp_path / "named.nii.gz", "-q")
        assert (tmp_path / "mask.nii.gz").read_bytes() == (tmp_path / "named.nii.gz").read_bytes()

    def test_is_prepared_as_info_says(self, package):
        told = succeed("info", package.folder).out
        assert "registers the other sequences to T1" in told
        assert "keeps the skull" in told


class TestPreparedStudy:
    def test_passes_unchanged(self, package):
        head = make_volume(PHANTOM)
        found = Segmenter.open(package)(head)
        assert found.prepared is not None
        assert found.prepared.study.volumes["T1"] is head
        assert np.array_equal(found.mask.labels, Segmenter.open(package, alone=True)(head).mask.labels)

    def test_without_a_skull_needs_no_skull_stripper(self, tmp_path):
        brains = make_package(tmp_path / "brains", BRAINS)
        head = make_volume(PHANTOM)
        stripped = Volume(np.where(head.voxels > 0.9 * head.voxels.max(), 0, head.voxels), head.geometry)
        small = Volume(np.where(_ball(head), stripped.voxels, 0), head.geometry)
        found = Segmenter.open(brains)(small)
        assert found.prepared is not None
        assert found.prepared.parts == ()


class TestSkull:
    def test_is_removed_on_the_new_grid_by_the_stage_0_that_is_given(self, tmp_path):
        zero, brains = make_package(tmp_path / "zero"), make_package(tmp_path / "brains", BRAINS)
        found = Segmenter.open(brains, RuntimeOptions(stage_zero=zero.folder))(scanned())
        assert found.prepared is not None
        assert found.prepared.parts == (Part.GRID, Part.SKULL)
        prepared = found.prepared.study.volumes["T1"]
        whole = resample_through(scanned(), Rigid.identity(), prepared.geometry)
        brain = Segmenter.open(zero)(whole).mask.labels > 0
        assert np.array_equal(prepared.voxels, np.where(brain, whole.voxels, np.float32(0)))
        assert found.mask.geometry.same_grid(scanned().geometry)

    def test_is_not_removed_by_another_model(self, tmp_path):
        brains = make_package(tmp_path / "brains", BRAINS)
        with pytest.raises(UsageError, match="expected a skull-stripper, got of-brains, a model for lesion"):
            Segmenter.open(brains, RuntimeOptions(stage_zero=brains.folder))

    def test_without_a_stage_0_is_refused_before_any_work(self, tmp_path):
        brains = make_package(tmp_path / "brains", BRAINS)
        with pytest.raises(UsageError, match="got a head with its skull and no skull-stripper; give --stage-zero PKG"):
            Segmenter.open(brains)(scanned())

    def test_without_a_stage_0_is_refused_once_for_all_studies(self, tmp_path):
        brains = make_package(tmp_path / "brains", BRAINS)
        (tmp_path / "heads").mkdir()
        (tmp_path / "heads" / "damaged.nii.gz").write_bytes(b"no image")
        for name in ("one", "two"):
            write_image(scanned(), tmp_path / "heads" / f"{name}.nii.gz")
        words = refused(2, "run", brains.folder, tmp_path / "heads", "-o", tmp_path / "masks")
        assert words.count("give --stage-zero PKG") == words.count("error:") == 1
        assert not (tmp_path / "masks" / "summary.tsv").exists()


def test_the_missing_extra_is_named_before_any_work(monkeypatch):
    pair = msgspec.structs.replace(
        SPEC,
        inputs=(*SPEC.inputs, Sequence(name="T2")),
        stages=(msgspec.structs.replace(STAGE, network=msgspec.structs.replace(STAGE.network, channels_in=2)),),
        preparation=Preparation(references=("T1",), spacing_mm=4.0),
    )
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    assert pair.preparation
    preparer = Preparer(pair.preparation, pair.contrasts, 1)
    other = Volume(scanned().voxels ** 0.5, scanned().geometry)
    with pytest.raises(MissingExtraError, match=r"registration needs SimpleITK.*brain-edge\[register\]"):
        preparer(Study.of(T1=scanned(), T2=other))


def _ball(volume: Volume) -> np.ndarray:
    index = np.indices(volume.voxels.shape) - (np.array(volume.voxels.shape)[:, None, None, None] - 1) / 2
    return np.asarray(np.linalg.norm(index * 4.0, axis=0) < 70)
