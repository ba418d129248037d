"""DICOM series become the volumes that dcm2niix makes of them: same voxels, same place, however they are stored."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pytest
from dicom_series import (
    ORIENTATIONS,
    Series,
    ask,
    by_dcm2niix,
    grid,
    on_grid,
    refusal,
    voxels,
)
from present import present
from pydicom import dcmread
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from brain_edge.errors import InputError
from brain_edge.image.geometry import Geometry
from brain_edge.io.dicom import DicomSource, SeriesInfo, choose_series, list_series, read_series

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pydicom.dataset import Dataset

    from brain_edge.image.volume import Volume


def read(path: Path) -> Volume:
    return read_series(choose_series(list_series(path)))


def assert_same(volume: Volume, values: np.ndarray, geometry: Geometry) -> None:
    """The same voxels at the same place, in whatever order they are stored."""
    ours, our_grid = on_grid(volume.voxels, volume.geometry, "RAS")
    theirs, their_grid = on_grid(values, geometry, "RAS")
    assert our_grid.same_grid(their_grid)
    assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_every_orientation_and_slice_order_ends_at_its_place_in_the_patient(tmp_path: Path, orientation: str):
    """All 48: the slices of 24 of them run against the normal of their plane, and file names say nothing."""
    series = Series(grid(orientation))
    volume = read(series.write(tmp_path / "in"))
    assert_same(volume, series.values, series.geometry)
    lps = volume.geometry.affine[:3, :3] * [[-1], [-1], [1]]
    assert np.linalg.det(lps) > 0  # sorted along the normal, whichever way they were acquired


@pytest.mark.parametrize("orientation", ["LPS", "LPI", "PSR", "LIP", "RAS", "ASL"])
def test_dcm2niix_agrees_on_voxels_and_affine(tmp_path: Path, orientation: str):
    series = Series(grid(orientation))
    volume = read(series.write(tmp_path / "in"))
    assert_same(volume, *by_dcm2niix(tmp_path / "in", tmp_path / "out"))


def test_dcm2niix_agrees_on_an_oblique_series(tmp_path: Path):
    volume = read(Series(grid(oblique=True)).write(tmp_path / "in"))
    assert_same(volume, *by_dcm2niix(tmp_path / "in", tmp_path / "out"))


@pytest.mark.parametrize(
    ("dtype", "bits", "low", "high"),
    [(np.uint16, 16, 0, 65535), (np.uint16, 12, 0, 4095), (np.int16, 16, -32768, 32767), (np.uint8, 8, 0, 255)],
)
def test_signed_and_unsigned_voxels_keep_their_values(tmp_path: Path, dtype: type, bits: int, low: int, high: int):
    series = Series(values=voxels(low, high), dtype=dtype, bits_stored=bits)
    assert_same(read(series.write(tmp_path)), series.values, series.geometry)


def test_rescale_is_applied_as_dcm2niix_applies_it(tmp_path: Path):
    series = Series(slope=0.5, intercept=-100.0, dtype=np.int16, values=voxels(-500, 500))
    volume = read(series.write(tmp_path / "in"))
    assert volume.voxels.dtype == np.float32
    assert_same(volume, series.values * 0.5 - 100, series.geometry)
    import nibabel as nib

    by_dcm2niix(tmp_path / "in", tmp_path / "out")
    image = nib.load(next((tmp_path / "out").glob("*.nii")))
    assert_same(volume, image.get_fdata(), Geometry(image.shape, image.affine))


def test_each_slice_has_its_own_rescale(tmp_path: Path):
    """As Philips writes it."""

    def edit(k: int, dataset: Dataset) -> None:
        dataset.RescaleSlope, dataset.RescaleIntercept = 1 + k / 4, -k

    series = Series(edit=edit)
    k = np.arange(series.geometry.shape[2])
    assert_same(read(series.write(tmp_path)), series.values * (1 + k / 4) - k, series.geometry)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_every_uncompressed_transfer_syntax_is_read(tmp_path: Path, syntax: str):
    def edit(_k: int, dataset: Dataset) -> None:
        dataset.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").byteswap().tobytes()

    series = Series(edit=edit)
    assert_same(read(series.write(tmp_path)), series.values, series.geometry)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_lossless_compression_changes_no_voxel(tmp_path: Path, syntax: str):
    series = Series(edit=lambda _k, dataset: dataset.compress(syntax, generate_instance_uid=False))
    assert_same(read(series.write(tmp_path)), series.values, series.geometry)


def test_jpeg_lossless_changes_no_voxel(tmp_path: Path):
    """The compression of many archives (process 14, selection value 1), made by dcmtk."""
    series = Series()
    for path in sorted(series.write(tmp_path).iterdir()):
        ask("dcmcjpeg", "+e1", path, path)
        assert dcmread(path).file_meta.TransferSyntaxUID == JPEGLosslessSV1
    assert_same(read(tmp_path), series.values, series.geometry)


@pytest.mark.parametrize("oblique", [False, True])
def test_an_enhanced_multi_frame_object_is_read_like_its_slices(tmp_path: Path, oblique: bool):
    """Shared and per-frame functional groups, frames in reversed order; dcm2niix agrees."""
    series = Series(grid(oblique=oblique), slope=2.0, intercept=-3.0)
    (tmp_path / "in").mkdir()
    series.enhanced().save_as(tmp_path / "in" / "one.dcm", enforce_file_format=True)
    volume = read(tmp_path / "in" / "one.dcm")
    assert_same(volume, series.values * 2.0 - 3.0, series.geometry)
    assert [frame.number for frame in volume.header.frames] == list(range(9, -1, -1))
    import nibabel as nib

    by_dcm2niix(tmp_path / "in", tmp_path / "out")
    image = nib.load(next((tmp_path / "out").glob("*.nii")))
    assert_same(volume, image.get_fdata(), Geometry(image.shape, image.affine))


def test_a_compressed_enhanced_object_is_read_frame_by_frame(tmp_path: Path):
    series = Series()
    dataset = series.enhanced()
    dataset.compress(RLELossless, generate_instance_uid=False)
    dataset.save_as(tmp_path / "one.dcm", enforce_file_format=True)
    assert_same(read(tmp_path), series.values, series.geometry)


def test_a_legacy_converted_object_of_highdicom_is_read_like_its_slices(tmp_path: Path):
    """Another library writes the multi-frame object."""
    import highdicom as hd

    series = Series()
    converted = hd.legacy.LegacyConvertedEnhancedMRImage(
        series.datasets(),
        series_instance_uid=hd.UID(),
        series_number=5,
        sop_instance_uid=hd.UID(),
        instance_number=1,
    )
    converted.save_as(tmp_path / "legacy.dcm", enforce_file_format=True)
    assert_same(read(tmp_path), series.values, series.geometry)


def test_a_zip_is_read_like_its_folder_and_nothing_is_unpacked(tmp_path: Path):
    """Names that climb out lead nowhere, because members are only read."""
    series = Series()
    folder = series.write(tmp_path / "in")
    with zipfile.ZipFile(tmp_path / "study.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number, path in enumerate(sorted(folder.iterdir())):
            archive.write(path, f"../../climb/{number}.dcm")
        archive.writestr("/etc/readme.txt", "no DICOM")
    before = sorted(tmp_path.rglob("*"))
    assert_same(read(tmp_path / "study.zip"), series.values, series.geometry)
    assert sorted(tmp_path.rglob("*")) == before
    assert not (tmp_path.parent.parent / "climb").exists()


@pytest.mark.parametrize(("offset", "byte"), [(6, 110), (46, 0xFF)], ids=["version", "name"])
def test_a_damaged_list_of_a_zip_is_refused(offset: int, byte: int, tmp_path: Path):
    """A version of the format that there is not, and a name that is no UTF-8."""
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
        archive.writestr("ä.dcm", bytes(200))
    content = bytearray((tmp_path / "study.zip").read_bytes())
    content[content.rindex(b"PK\x01\x02") + offset] = byte
    (tmp_path / "study.zip").write_bytes(content)
    with pytest.raises(InputError, match=r"study\.zip: the zip is damaged or truncated; copy it again"):
        read(tmp_path / "study.zip")


def test_what_writing_needs_travels_in_the_header_without_pixels(tmp_path: Path):
    series = Series()
    volume = read(series.write(tmp_path))
    assert isinstance(volume.header, DicomSource)
    assert len(volume.header.frames) == 10
    heights = [present(frame.position_mm)[2] for frame in volume.header.frames]
    assert heights == sorted(heights)
    assert "UID ..." in volume.name


def test_truncated_pixels_are_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    Series().write(tmp_path)
    victim = sorted(tmp_path.iterdir())[4]
    victim.write_bytes(victim.read_bytes()[:-50])
    words = refusal(lambda: read(tmp_path), caplog)
    assert "file 5 of 10 in name order cannot be decoded" in words


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
@pytest.mark.parametrize("share", [0.5, 0.95])
def test_truncated_compressed_pixels_are_refused(tmp_path: Path, syntax: str, share: float):
    Series(edit=lambda _k, dataset: dataset.compress(syntax, generate_instance_uid=False)).write(tmp_path)
    victim = sorted(tmp_path.iterdir())[4]
    content = victim.read_bytes()
    start = content.index(b"\xe0\x7f\x10\x00")
    victim.write_bytes(content[: start + int(share * (len(content) - start))])
    assert "file 5 of 10 in name order cannot be decoded" in refusal(lambda: read(tmp_path))


def test_a_truncated_enhanced_object_is_refused(tmp_path: Path):
    path = tmp_path / "one.dcm"
    Series().enhanced().save_as(path, enforce_file_format=True)
    path.write_bytes(path.read_bytes()[:-200])
    assert "the file cannot be decoded" in refusal(lambda: read(path))


def test_a_file_that_changed_after_listing_is_refused(tmp_path: Path):
    Series().write(tmp_path)
    info = choose_series(list_series(tmp_path))
    other = Series().datasets()[0]
    other.save_as(sorted(tmp_path.iterdir())[0], enforce_file_format=True)
    assert "file 1 of 10 in name order has changed" in refusal(lambda: read_series(info))


def test_a_missing_codec_is_named_with_the_way_to_install_it(tmp_path: Path):
    """In a child process where the codec packages cannot be imported."""
    Series(edit=lambda _k, dataset: dataset.compress(JPEGLSLossless, generate_instance_uid=False)).write(tmp_path)
    program = """
import sys
for name in ("jpeg_ls", "_CharLS", "libjpeg", "pylibjpeg", "gdcm", "openjpeg"): sys.modules[name] = None
from brain_edge.io.dicom.read import read_series
from brain_edge.io.dicom.series import choose_series, list_series
from brain_edge.errors import MissingExtraError
info = choose_series(list_series(sys.argv[1]))
try:
    read_series(info)
except MissingExtraError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True)
    assert "decoding JPEG-LS Lossless Image Compression needs pyjpegls" in done.stdout
    assert "pip install 'brain-edge[dicom]'" in done.stdout


def test_reading_imports_neither_torch_nor_openvino_nor_highdicom(tmp_path: Path):
    Series().write(tmp_path)
    program = """
import sys
from brain_edge.io.dicom import choose_series, list_series, read_series
read_series(choose_series(list_series(sys.argv[1])))
print(sorted({"torch", "openvino", "highdicom", "nibabel"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture(scope="module")
def real_series(mri: Callable[[str], Path]) -> SeriesInfo:
    return choose_series(list_series(mri("vs_seg_001_dicom")))


@pytest.mark.data
def test_a_real_series_is_what_dcm2niix_makes_of_it(tmp_path: Path, real_series: SeriesInfo):
    volume = read_series(real_series)
    assert volume.geometry.shape == (512, 512, 120)
    assert_same(volume, *by_dcm2niix(real_series.root, tmp_path))
