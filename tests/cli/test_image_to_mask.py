"""Images as people have them go to the mask of the same image in plain form: the commands judge themselves by that."""

from __future__ import annotations

import json
import shutil
import zipfile
from codecs import BOM_UTF8
from pathlib import Path  # noqa: TC003 - here, because what follows cannot be sorted
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
import pytest
from bids_dataset import phantom_dataset
from cli_program import make_package, succeed
from dicom_series import FLAIR_PROTOCOL, SHAPE, T1_PROTOCOL, Series
from tiny_package import PHANTOM

from brain_edge.image.phantom import Phantom, make_volume

if TYPE_CHECKING:
    from collections.abc import Callable

HEAD = np.round(make_volume(PHANTOM).voxels).astype(np.uint16)
AFFINE = np.diag([-4.0, -4.0, 4.0, 1.0])
SLICES = make_volume(Phantom(shape=(*SHAPE[:2], 40), spacing_mm=5.0))
APPLE = b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(4072)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_package(tmp_path_factory.mktemp("tiny")).folder


@pytest.fixture
def mask_of(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., np.ndarray[Any, Any]]:
    monkeypatch.chdir(tmp_path)

    def run(*source: object) -> np.ndarray[Any, Any]:
        """Labels of a head that is all there, in the order of its voxels."""
        succeed("run", package, *source, "-o", "mask.nii.gz")
        labels = np.asarray(nibabel.load("mask.nii.gz").dataobj)
        assert 0.02 < labels.mean() < 0.6
        return labels

    return run


@pytest.fixture(scope="module")
def wanted(package: Path, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray[Any, Any]:
    """The mask of the head in an ordinary file."""
    folder = tmp_path_factory.mktemp("wanted")
    nibabel.save(nibabel.Nifti1Image(HEAD.astype(np.int16), AFFINE), folder / "head.nii.gz")
    succeed("run", package, folder / "head.nii.gz", "-o", folder / "mask.nii.gz")
    return np.asarray(nibabel.load(folder / "mask.nii.gz").dataobj)


@pytest.mark.parametrize("keeps_sform", [True, False])
def test_of_a_quaternion_rounded_past_one(keeps_sform: bool, mask_of, wanted, tmp_path: Path):
    header = nibabel.Nifti1Image(HEAD.astype(np.int16), AFFINE).header
    header.set_qform(AFFINE, 1)
    assert header["quatern_d"] == 1
    header["quatern_d"], header["vox_offset"] = np.sqrt(1 + 1e-6), 352
    header["sform_code"] = int(keeps_sform)
    content = header.binaryblock + bytes(4) + HEAD.astype("<i2").tobytes(order="F")
    (tmp_path / "rounded.nii").write_bytes(content)
    np.testing.assert_array_equal(mask_of("rounded.nii"), wanted)


def test_of_freesurfer_in_unsigned_16_bits(mask_of, wanted, tmp_path: Path):
    nibabel.save(nibabel.MGHImage(HEAD, AFFINE), tmp_path / "head.mgz")
    assert nibabel.load(tmp_path / "head.mgz").get_data_dtype() == np.dtype(">u2")
    np.testing.assert_array_equal(mask_of("head.mgz"), wanted)


def test_of_a_dataset_described_with_a_byte_order_mark(package, tmp_path: Path):
    for name, mark in (("plain", b""), ("marked", BOM_UTF8)):
        raw = phantom_dataset(tmp_path / name, ("sub-01_T1w",))
        description = raw / "dataset_description.json"
        description.write_bytes(mark + description.read_bytes())
        (raw / ".bidsignore").write_bytes(mark + b"extra/\n")
        succeed("bids", raw, tmp_path / f"{name}-out", "participant", "--package", package)
    masks = [next((tmp_path / f"{name}-out").rglob("*_mask.nii.gz")) for name in ("plain", "marked")]
    assert masks[0].read_bytes() == masks[1].read_bytes()


def series(protocol: dict[str, Any] | None = None, **changes: Any) -> Series:
    values = np.round(SLICES.voxels).astype(int)
    return Series(SLICES.geometry, values, protocol={**T1_PROTOCOL, **(protocol or {})}, **changes)


@pytest.fixture
def of_series(mask_of, tmp_path: Path) -> np.ndarray[Any, Any]:
    """The mask of an ordinary series, which stays in `plain`."""
    return mask_of(series().write(tmp_path / "plain"))


def test_of_what_macos_writes_beside_a_series(mask_of, of_series, tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "finder.zip", "w") as archive:
        for path in sorted((tmp_path / "plain").iterdir()):
            archive.write(path, f"plain/{path.name}")
            archive.writestr(f"__MACOSX/plain/._{path.name}", APPLE)
    for path in sorted((tmp_path / "plain").iterdir()):
        path.with_name(f"._{path.name}").write_bytes(APPLE)
    for source in ("finder.zip", "plain"):
        np.testing.assert_array_equal(mask_of(source), of_series)


def test_of_a_folder_of_images_that_was_on_a_mac(package, wanted, tmp_path: Path, monkeypatch):
    """No case is made of a file that the Finder left."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "heads").mkdir()
    nibabel.save(nibabel.Nifti1Image(HEAD.astype(np.int16), AFFINE), tmp_path / "heads/head.nii.gz")
    (tmp_path / "heads/._head.nii.gz").write_bytes(APPLE)
    (tmp_path / "heads/.DS_Store").write_bytes(bytes(500))
    succeed("run", package, "heads", "-o", "masks")
    assert [path.name for path in (tmp_path / "masks").glob("*.nii.gz")] == ["head_mask.nii.gz"]
    np.testing.assert_array_equal(np.asarray(nibabel.load("masks/head_mask.nii.gz").dataobj), wanted)


def test_of_a_description_with_the_word_loc(mask_of, of_series, tmp_path: Path):
    words = series({"SeriesDescription": "T1 MPRAGE stereotaxy loc"}).write(tmp_path / "loc")
    np.testing.assert_array_equal(mask_of(words), of_series)
    scout = series({"SeriesDescription": "AAHead_Scout", "ProtocolName": "head"}, uid="1.2.826.0.1.3680043.8.498.7")
    chosen = mask_of(scout.write(tmp_path / "scout"), "--series", scout.uid)
    np.testing.assert_array_equal(chosen, of_series)


def test_of_a_memprage_beside_another_contrast(mask_of, of_series, tmp_path: Path):
    """The root mean square of four echoes, which states none of its times: its name alone says T1."""
    silent = dict.fromkeys(("ScanningSequence", "SequenceVariant", "RepetitionTime", "EchoTime", "InversionTime"), "")
    named = silent | {"SeriesDescription": "MEMPRAGE 4e RMS", "ProtocolName": "ABCD_MEMPRAGE"}
    study = series(named, number=2).write(tmp_path / "study")
    flair = series(FLAIR_PROTOCOL, number=3)
    flair.values = flair.values[::-1]
    flair.write(study)
    np.testing.assert_array_equal(mask_of(study), of_series)


def test_of_a_series_into_which_dcm2niix_has_written(mask_of, of_series, tmp_path: Path):
    """The series is meant where one is chosen, and the image where the image is named."""
    shutil.copytree(tmp_path / "plain", tmp_path / "both")
    nibabel.save(nibabel.Nifti1Image(HEAD.astype(np.int16), AFFINE), tmp_path / "both/converted.nii.gz")
    listed = json.loads(succeed("info", "plain", "--json").out)
    np.testing.assert_array_equal(mask_of("both", "--series", listed[0]["uid"]), of_series)
    assert mask_of("both/converted.nii.gz").shape == HEAD.shape


def test_of_a_reference_that_nibabel_has_scaled_to_bytes(package, wanted, tmp_path: Path, monkeypatch):
    """A mask of floats saved as bytes is 0 and 255 with a slope: `evaluate` finds the mask of the package in it."""
    monkeypatch.chdir(tmp_path)
    for number in (1, 2, 3):
        folder = tmp_path / f"heads/p{number}"
        folder.mkdir(parents=True)
        head = HEAD.astype(np.int16)
        head[0, 0, 0] = number
        nibabel.save(nibabel.Nifti1Image(head, AFFINE), folder / "T1.nii.gz")
        scaled = nibabel.Nifti1Image(wanted.astype(float), AFFINE)
        scaled.set_data_dtype(np.uint8)
        nibabel.save(scaled, folder / "T1_brainmask.nii.gz")
        assert nibabel.load(folder / "T1_brainmask.nii.gz").dataobj.slope != 1
    succeed("cohort", "create", "heads", "-o", "cohort.toml")
    summaries = succeed("evaluate", package, "cohort.toml", "--json").json["summaries"]
    assert [(each["cases"], each["mean_dice"]) for each in summaries] == [(3, 1.0)]
