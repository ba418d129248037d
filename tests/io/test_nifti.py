"""Images in, masks out: judged by nibabel and SimpleITK, on every orientation, with every refusal in words."""

from __future__ import annotations

import gzip
import os
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - what its own manual calls it
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from phantoms import (
    OBLIQUE,
    ORIENTATIONS,
    SHAPE,
    make_affine,
    make_head,
    make_mask,
    make_nifti,
    make_volume,
    save_head,
    save_with_fields,
)
from scipy.spatial.transform import Rotation

from brain_edge.errors import GeometryError, InputError, OutputError, UsageError
from brain_edge.image.geometry import Geometry
from brain_edge.image.volume import Mask, Volume
from brain_edge.io.nifti import read_volume, write_mask, write_probabilities, write_stripped

if TYPE_CHECKING:
    from pathlib import Path

QFORM_FIELDS = ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")
SFORM_FIELDS = ("srow_x", "srow_y", "srow_z")


def mask_file_of(source: Path, out: Path) -> Path:
    """Read a head, make a mask of it and write it."""
    volume = read_volume(source)
    write_mask(make_mask(volume), volume, out)
    return out


def assert_same_place(first: Path, second: Path) -> None:
    """SimpleITK sees two files on the very same grid."""
    one, other = sitk.ReadImage(str(first)), sitk.ReadImage(str(second))
    assert one.GetSize() == other.GetSize()
    assert one.GetOrigin() == other.GetOrigin()
    assert one.GetSpacing() == other.GetSpacing()
    assert one.GetDirection() == other.GetDirection()


# --- reading what is right -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "i8", "f4", "f8"])
@pytest.mark.parametrize("endianness", ["<", ">"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_every_real_voxel_type_is_read_as_nibabel_reads_it(tmp_path, dtype, endianness, kind, suffix):
    path = save_head(tmp_path / f"head{suffix}", make_head(dtype=dtype), kind=kind, endianness=endianness)
    volume, judge = read_volume(path), nib.load(path)
    assert judge.header.endianness == endianness
    assert volume.voxels.dtype == np.float32
    np.testing.assert_array_equal(volume.voxels, judge.get_fdata(dtype=np.float32))
    np.testing.assert_array_equal(volume.geometry.affine, judge.affine)


@pytest.mark.parametrize(("slope", "inter"), [(0.37, 0.0), (2.5, -1024.0), (-1.0, 3.0), (1.0, 0.5), (1e-4, 0.0)])
@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "f4"])
def test_scaled_voxels_become_the_intensities_of_nibabel(tmp_path, slope, inter, dtype):
    path = save_with_fields(tmp_path / "head.nii", make_head(dtype=dtype), scl_slope=slope, scl_inter=inter)
    expected = nib.load(path).get_fdata().astype(np.float32)
    np.testing.assert_array_equal(read_volume(path).voxels, expected)


@pytest.mark.parametrize("slope", [0.0, np.nan])
def test_a_slope_of_zero_or_nan_means_no_scaling(tmp_path, slope):
    path = save_with_fields(tmp_path / "head.nii", scl_slope=slope, scl_inter=7.0)
    np.testing.assert_array_equal(read_volume(path).voxels, make_head())


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_each_of_the_48_orientations_is_read_and_a_mask_lies_on_it(tmp_path, orientation):
    source = save_head(tmp_path / "head.nii.gz", affine=make_affine(orientation))
    assert len(ORIENTATIONS) == 48
    assert read_volume(source).geometry.orientation == orientation
    out = mask_file_of(source, tmp_path / "mask.nii.gz")
    assert_same_place(source, out)
    assert "".join(nib.aff2axcodes(nib.load(out).affine)) == orientation
    np.testing.assert_array_equal(np.asarray(nib.load(out).dataobj) > 0, make_head() > 0)


def test_simpleitk_sees_our_voxels_at_the_same_place_in_the_world(tmp_path):
    """A voxel by its index: our affine (RAS) and SimpleITK's transform (LPS) name the same point and value."""
    path = save_head(tmp_path / "head.nii", affine=make_affine("PIR"))
    volume, judge = read_volume(path), sitk.ReadImage(str(path))
    for index in [(0, 0, 0), (3, 9, 4), (13, 16, 10)]:
        x, y, z = judge.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose((volume.geometry.affine @ [*index, 1])[:3], (-x, -y, z), atol=1e-4)
        assert volume.voxels[index] == judge[index]


def test_an_oblique_sheared_grid_is_read_and_written_exactly(tmp_path):
    source = save_head(tmp_path / "head.nii.gz", affine=OBLIQUE, codes=(1, 0))
    out = mask_file_of(source, tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(nib.load(out).affine, nib.load(source).affine)
    np.testing.assert_allclose(read_volume(source).geometry.affine, OBLIQUE, atol=1e-5)


@pytest.mark.parametrize("further", [(1,), (1, 1), (1, 1, 1, 1)])
def test_one_volume_in_a_four_dimensional_file_is_that_volume(tmp_path, further):
    source = save_head(tmp_path / "head.nii.gz", make_head().reshape(*SHAPE, *further))
    np.testing.assert_array_equal(read_volume(source).voxels, make_head())
    out = nib.load(mask_file_of(source, tmp_path / "mask.nii.gz"))
    assert out.shape == SHAPE
    np.testing.assert_array_equal(out.affine, nib.load(source).affine)


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "f4"])
@pytest.mark.parametrize("suffix", [".mgz", ".mgh"])
def test_freesurfer_files_are_read_and_get_a_nifti_mask_at_their_place(tmp_path, dtype, suffix):
    source = tmp_path / f"head{suffix}"
    image = nib.MGHImage(make_head(dtype=dtype), make_affine("LIA"))
    nib.save(image, source)
    volume = read_volume(source)
    np.testing.assert_array_equal(volume.voxels, make_head(dtype=dtype))
    np.testing.assert_allclose(volume.geometry.affine, make_affine("LIA"), atol=1e-4)
    out = nib.load(mask_file_of(source, tmp_path / "mask.nii.gz"))
    np.testing.assert_allclose(out.affine, image.affine, atol=1e-4)
    assert (int(out.header["sform_code"]), int(out.header["qform_code"])) == (1, 1)
    assert out.header.get_xyzt_units()[0] == "mm"


@pytest.mark.parametrize("name", ["head.nii", "head.nii.gz", "head"])
def test_the_content_decides_whether_a_file_is_compressed(tmp_path, name):
    """Names lie: archives hand out gzip streams called .nii, and plain files called .nii.gz."""
    plain = save_head(tmp_path / "plain.nii").read_bytes()
    (tmp_path / name).write_bytes(plain)
    np.testing.assert_array_equal(read_volume(tmp_path / name).voxels, make_head())
    (tmp_path / name).write_bytes(gzip.compress(plain))
    np.testing.assert_array_equal(read_volume(tmp_path / name).voxels, make_head())


def test_a_file_of_several_gzip_members_is_one_image(tmp_path):
    """As bgzip and pigz write them."""
    plain = save_head(tmp_path / "plain.nii").read_bytes()
    (tmp_path / "head.nii.gz").write_bytes(gzip.compress(plain[:1000]) + gzip.compress(plain[1000:]))
    np.testing.assert_array_equal(read_volume(tmp_path / "head.nii.gz").voxels, make_head())


def test_an_image_larger_than_a_block_is_read_whole(tmp_path):
    voxels = make_head((97, 101, 103), np.float32)
    assert voxels.nbytes > 2 << 20
    path = save_head(tmp_path / "head.nii.gz", voxels)
    np.testing.assert_array_equal(read_volume(path).voxels, voxels)


def test_header_extensions_are_skipped_and_not_copied(tmp_path):
    image = make_nifti()
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"patient Doe " * 100))
    image.header["descrip"], image.header["db_name"] = b"Doe", b"Doe"
    nib.save(image, tmp_path / "head.nii")
    np.testing.assert_array_equal(read_volume(tmp_path / "head.nii").voxels, make_head())
    out = mask_file_of(tmp_path / "head.nii", tmp_path / "mask.nii")
    assert not nib.load(out).header.extensions
    assert b"Doe" not in out.read_bytes()


def test_only_a_statement_in_doubt_is_refused_a_head_moved_in_the_world_is_not(tmp_path):
    """An image registered to a template: the qform is the scanner's, the sform is 20 degrees and 9 mm away."""
    image = make_nifti(codes=(4, 1))
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("xyz", [20, -10, 5], degrees=True).as_matrix()
    turn[:3, 3] = 9
    image.set_sform(turn @ make_affine(), code=4)
    nib.save(image, tmp_path / "head.nii")
    judge = nib.load(tmp_path / "head.nii")
    assert not np.allclose(judge.get_qform(), judge.get_sform())
    np.testing.assert_array_equal(read_volume(tmp_path / "head.nii").geometry.affine, judge.get_sform())
    out = nib.load(mask_file_of(tmp_path / "head.nii", tmp_path / "mask.nii"))
    np.testing.assert_array_equal(out.get_qform(), judge.get_qform())
    np.testing.assert_array_equal(out.get_sform(), judge.get_sform())


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("excess", [1e-7, 1e-6, 9e-6])
def test_a_quaternion_rounded_past_one_is_read_as_simpleitk_reads_it(tmp_path, excess, kind):
    path = tmp_path / "head.nii"
    image = kind(make_head(dtype=np.int16), make_affine("LIA"))
    image.set_qform(make_affine("LIA"), 1)
    image.header["sform_code"] = 0
    quaternion = np.array([0, -np.sqrt(0.5), np.sqrt(0.5)]) * np.sqrt(1 + excess)
    for name, part in zip(("quatern_b", "quatern_c", "quatern_d"), quaternion, strict=True):
        image.header[name] = part
    start = len(image.header.binaryblock) + 4
    image.header["vox_offset"] = start
    path.write_bytes(image.header.binaryblock + bytes(4) + make_head(dtype=np.int16).tobytes(order="F"))
    np.testing.assert_allclose(read_volume(path).geometry.affine, make_affine("LIA"), atol=1e-4)
    written = nib.load(mask_file_of(path, tmp_path / "mask.nii"))
    np.testing.assert_allclose(written.affine, make_affine("LIA"), atol=1e-4)
    if kind is nib.Nifti1Image:  # SimpleITK reads no NIfTI-2
        read = sitk.ReadImage(str(path))
        lps = np.reshape(read.GetDirection(), (3, 3)) * read.GetSpacing()
        np.testing.assert_allclose(np.diag([-1, -1, 1]) @ lps, make_affine("LIA")[:3, :3], atol=1e-4)


def test_a_missing_qfac_is_one_as_the_standard_says(tmp_path):
    path = save_with_fields(tmp_path / "head.nii", sform_code=0, pixdim=(0, 0.0))
    np.testing.assert_allclose(read_volume(path).geometry.affine, make_affine(), atol=1e-5)


@pytest.mark.data
@pytest.mark.parametrize(
    "name",
    [
        "brainchop_t1/t1_crop.nii.gz",
        "ms_cross/patient07/T1.nii.gz",
        "ms_cross/patient07/FLAIR.nii.gz",
        "ms_longitudinal/patient01/study1_T1W.nii.gz",
        "ms_longitudinal/patient01/study2_FLAIR.nii.gz",
        "ms_longitudinal/patient09/study2_FLAIR.nii.gz",
        "tcga_fg_6692/skull_stripped/OtherEXampleFromTCIA_t1_bet.nii.gz",
    ],
)
def test_real_heads_are_read_as_nibabel_reads_them_and_masks_lie_on_them(tmp_path, mri, name):
    source = mri(name)
    volume, judge = read_volume(source), nib.load(source)
    np.testing.assert_array_equal(volume.voxels, judge.get_fdata(dtype=np.float32))
    np.testing.assert_array_equal(volume.geometry.affine, judge.affine)
    out = mask_file_of(source, tmp_path / "mask.nii.gz")
    assert_same_place(source, out)
    np.testing.assert_array_equal(nib.load(out).affine, judge.affine)


# --- refusing what is wrong ------------------------------------------------------------------------------


def refused(path: Path, message: str, error: type[InputError] = InputError) -> None:
    """The file is refused with exit code 3, by a message that names it and matches."""
    with pytest.raises(error, match=message) as caught:
        read_volume(path)
    assert type(caught.value) is error
    assert caught.value.exit_code == 3
    assert str(caught.value).startswith(f"{path}: ")


def test_what_is_not_there_or_not_a_file_is_refused(tmp_path):
    refused(tmp_path / "absent.nii", r"there is no such file; check the path")
    refused(tmp_path, r"expected an image file, got a folder")
    (tmp_path / "file").touch()
    refused(tmp_path / "file" / "head.nii", r"cannot be read \(Not a directory\)")
    refused(tmp_path / "file", r"got an empty file \(0 bytes\); copy or export it again")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in the file system here")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.nii")
    refused(tmp_path / "pipe.nii", r"expected an image file, got a device or pipe")


def test_a_file_without_permission_is_refused(tmp_path, without_rights):
    path = save_head(tmp_path / "head.nii")
    path.chmod(0)
    with without_rights():
        refused(path, r"no permission to read this file")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no image, but as long as one is" * 20, r"expected a NIfTI .* got a file that begins with b'no image'"),
        (b"short", r"got a file that begins with b'short'; export or convert the image again"),
        (b"/annex/objects/SHA256E-s123--abc.nii.gz\n", r"got a pointer of git-annex in place of the image; fetch the"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\n", r"a pointer of Git LFS .*git lfs pull"),
        (b"PK\3\4" + b"\0" * 600, r"got a zip; unpack it"),
        (b"\x5c\1\0\0" + b"\0" * 700, r"got one file of a \.hdr/\.img pair \(Analyze or NIfTI\); save the pair as"),
        (b"\0" * 128 + b"DICM" + b"\0" * 600, r"got a DICOM file; give the folder of its series, or convert it"),
        (b"\x5c\1\0\0" + b"\0" * 340 + b"ni1\0" + b"\0" * 600, r"got one file of a \.hdr/\.img pair"),
        (gzip.compress(b"text in a gzip stream", mtime=0), r"got a file that begins with b'text in "),
    ],
    ids=["text", "short text", "annex", "LFS", "zip", "Analyze", "DICOM", "NIfTI header", "text in gzip"],
)  # fmt: skip
def test_another_format_is_refused(tmp_path, content, message):
    (tmp_path / "head.nii.gz").write_bytes(content)
    refused(tmp_path / "head.nii.gz", message)


def test_a_link_that_leads_nowhere_says_where_it_leads(tmp_path):
    path = tmp_path / "head.nii.gz"
    path.symlink_to(".git/annex/objects/xx/head.nii.gz")
    refused(path, r"the link leads nowhere \(\.git/annex/objects/xx/head\.nii\.gz\); fetch the content \(datalad get,")


def test_the_voxels_of_a_pair_are_told_by_their_name(tmp_path):
    nib.save(nib.AnalyzeImage(np.zeros((9, 9, 9), np.int16), np.eye(4)), tmp_path / "head.img")
    for name in ("head.img", "head.hdr"):
        refused(tmp_path / name, r"got one file of a \.hdr/\.img pair \(Analyze or NIfTI\); save the pair as one \.nii")


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(tmp_path, share):
    path = save_head(tmp_path / "head.nii.gz", np.random.default_rng(1).integers(0, 99, (20, 20, 20)).astype("i2"))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    refused(path, r"the file is truncated|got a file that begins with")
    plain = gzip.decompress(whole)
    path.write_bytes(plain[: int(len(plain) * share)])
    refused(path, r"the file is truncated: its header promises 20 x 20 x 20 voxels|got a file that begins with")


def test_a_gzip_stream_without_its_checksum_is_refused(tmp_path):
    """All voxels are there, but nothing proves that they are right."""
    path = save_head(tmp_path / "head.nii.gz")
    path.write_bytes(path.read_bytes()[:-4])
    refused(path, r"the file is truncated \(its gzip stream is incomplete\); copy it again")


def test_a_flipped_bit_in_a_gzip_stream_is_refused(tmp_path):
    path = save_head(tmp_path / "head.nii.gz")
    content = bytearray(path.read_bytes())
    content[-6] ^= 1  # in the checksum: the voxels decompress without complaint
    path.write_bytes(content)
    refused(path, r"its gzip stream is damaged \(.+\); copy it again")
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    refused(path, r"its gzip stream is damaged|the file is truncated|expected")


def test_a_checksum_far_behind_the_voxels_is_compared_too(tmp_path):
    """Some programs write on behind the voxels; the checksum of the stream is of that, too."""
    path = save_head(tmp_path / "head.nii.gz")
    content = bytearray(gzip.compress(gzip.decompress(path.read_bytes()) + bytes(8 << 20)))
    path.write_bytes(content)
    np.testing.assert_array_equal(read_volume(path).voxels, make_head())
    content[-6] ^= 1
    path.write_bytes(content)
    refused(path, r"its gzip stream is damaged \(.+\); copy it again")


def test_a_header_that_promises_more_than_a_file_can_hold_is_refused_before_memory_is_taken(tmp_path):
    path = save_with_fields(tmp_path / "head.nii", dim=(slice(1, 4), 1000))
    refused(path, r"truncated: its header promises 1000 x 1000 x 1000 voxels \(2000000000 bytes\)")
    path.write_bytes(gzip.compress(path.read_bytes()))
    refused(path, r"truncated: its header promises 1000 x 1000 x 1000 voxels")
    path = save_with_fields(tmp_path / "large.nii", dim=(slice(1, 4), 30_000))
    refused(path, r"expected at most 1073741824 voxels, got 30000 x 30000 x 30000; resample the image", GeometryError)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sizeof_hdr": 349}, r"the header is damaged \(it does not state its own length\)"),
        ({"dim": (0, 0)}, r"the header is damaged \(it states 0 dimensions\)"),
        ({"dim": (0, 9)}, r"the header is damaged \(it states 9 dimensions\)"),
        ({"dim": (2, 0)}, r"the header is damaged \(it states 14 x 0 x 11 voxels\)"),
        ({"dim": (1, -14)}, r"the header is damaged \(it states -14 x 17 x 11 voxels\)"),
        ({"vox_offset": 0}, r"the header is damaged \(voxels start at byte 0\)"),
        ({"vox_offset": np.nan}, r"the header is damaged \(voxels start at byte nan\)"),
        ({"vox_offset": 1e9}, r"the file is truncated"),
        ({"datatype": 77}, r"the header is damaged \(voxels of type 77\)"),
        ({"scl_slope": np.inf}, r"the header is damaged \(scl_slope is inf"),
        ({"scl_inter": np.nan}, r"the header is damaged \(scl_slope is 1\.0, scl_inter is nan\)"),
    ],
)  # fmt: skip
def test_a_damaged_header_is_refused(tmp_path, fields, message):
    refused(save_with_fields(tmp_path / "head.nii", **fields), message)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((14, 17), r"expected a volume, got a single slice of 14 x 17 voxels; give the whole series"),
        ((14, 17, 1), r"expected a volume, got a single slice of 14 x 17 x 1 voxels"),
        ((1, 14, 17), r"expected a volume, got a single slice"),
        ((14, 17, 1, 30), r"expected a volume, got a single slice"),
        ((1, 14, 17, 5), r"got a first axis of one \(1 x 14 x 17 x 5 voxels\); save the image without it"),
        ((4, 5, 6, 2), r"expected one volume, got 2 in one file \(4 x 5 x 6 x 2\); .*fslsplit.*four_to_three"),
        ((4, 5, 6, 1, 3), r"expected one volume, got 3 in one file \(4 x 5 x 6 x 1 x 3\)"),
    ],
)  # fmt: skip
def test_slices_and_series_are_refused(tmp_path, shape, message):
    voxels = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    refused(save_head(tmp_path / "head.nii.gz", voxels), message)


def test_a_freesurfer_series_is_refused(tmp_path):
    path = tmp_path / "head.mgz"
    nib.save(nib.MGHImage(np.arange(240, dtype=np.float32).reshape(4, 5, 6, 2), make_affine()), path)
    refused(path, r"expected one volume, got 2 in one file")


@pytest.mark.parametrize(
    ("dtype", "name"),
    [("c8", "complex64"), ("c16", "complex128"), ([("R", "u1"), ("G", "u1"), ("B", "u1")], "RGB")],
)
def test_complex_and_colour_images_are_refused(tmp_path, dtype, name):
    path = tmp_path / "head.nii"
    nib.save(nib.Nifti1Image(np.ones((4, 5, 6), dtype), make_affine()), path)
    refused(path, rf"expected one real number per voxel, got the NIfTI data type {name}; save the magnitude or one")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e200])
def test_nan_infinity_and_what_does_not_fit_float32_are_refused(tmp_path, value):
    voxels = make_head(dtype=np.float64)
    voxels[5, 5, 5] = value
    refused(save_head(tmp_path / "head.nii.gz", voxels), r"expected finite intensities, got NaN or infinity")


@pytest.mark.parametrize("value", [0, 7])
def test_a_constant_image_is_refused(tmp_path, value):
    path = save_head(tmp_path / "head.nii.gz", np.full(SHAPE, value, np.int16))
    refused(path, rf"expected an image, got {value} in every voxel \(an empty volume\)")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"srow_y": np.nan}, r"expected a finite 4 x 4 affine, got an affine with NaN"),
        ({"srow_x": 0}, r"expected a positive spacing|expected an invertible affine"),
        ({"srow_y": (slice(0, 4), [1, 0, 0, 5])}, r"expected a positive spacing .*, got 1\.414 x 0 x 3 mm"),
        ({"srow_z": (slice(0, 4), [0, 1.25, 0, 5])}, r"expected a positive spacing|expected an invertible affine"),
        ({"sform_code": 0, "pixdim": (2, 0.0)}, r"expected a positive spacing along each axis, got 1 x 0 x 3 mm"),
        ({"sform_code": 0, "pixdim": (2, -1.25)}, r"the qform is damaged \(pixdims\[1,2,3\] should be positive\)"),
        ({"sform_code": 0, "pixdim": (0, 0.5)}, r"the qform is damaged \(qfac"),
        ({"sform_code": 0, "quatern_b": 2.0}, r"the qform is damaged"),
        ({"sform_code": 0, "quatern_b": 1.00001}, r"the qform is damaged"),
        ({"sform_code": 0, "qoffset_x": np.inf}, r"expected a finite 4 x 4 affine"),
        ({"sform_code": 0, "qform_code": 0},
         r"expected an orientation, got none \(sform_code and qform_code are 0\): left and right .*fslorient"),
        ({"qform_code": 0, "pixdim": (1, 2.0)},
         r"expected one spacing, got 1 x 1\.25 x 3 mm from the sform and 2 x 1\.25 x 3 mm from pixdim"),
        ({"qform_code": 0, "pixdim": (2, 0.0)}, r"and 1 x 0 x 3 mm from pixdim"),
        ({"srow_x": (0, -1.0)},
         r"expected one orientation, got LAS from the sform and RAS from the qform\. .*-copysform2qform"),
        ({"xyzt_units": 1}, r"expected millimetres, got a header in metres \(xyzt_units\)"),
        ({"xyzt_units": 3 + 8}, r"expected millimetres, got a header in micrometres"),
        ({"xyzt_units": 5}, r"expected millimetres, got a header in units of code 5"),
    ],
)  # fmt: skip
def test_a_grid_in_doubt_is_refused(tmp_path, fields, message):
    refused(save_with_fields(tmp_path / "head.nii", **fields), message, GeometryError)


def test_programs_do_take_left_for_right_where_sform_and_qform_are_mirrored(tmp_path):
    """The reason for the refusal above: nibabel and SimpleITK read the same file with opposite x axes."""
    path = save_with_fields(tmp_path / "head.nii", srow_x=(slice(0, 4), [-1, 0, 0, 10]), sform_code=2)
    assert nib.aff2axcodes(nib.load(path).affine)[0] == "L"
    assert sitk.ReadImage(str(path)).GetDirection()[0] == -1.0  # LPS: x grows to the right
    refused(path, r"expected one orientation", GeometryError)


@pytest.mark.parametrize("unit", [0, 2, 10])
def test_millimetres_and_files_that_state_no_unit_are_read(tmp_path, unit):
    path = save_with_fields(tmp_path / "head.nii", xyzt_units=unit)
    assert read_volume(path).geometry.spacing_mm == (1.0, 1.25, 3.0)
    assert nib.load(mask_file_of(path, tmp_path / "mask.nii")).header["xyzt_units"] == unit


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mgh", ".mgz"])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.lists(st.tuples(st.integers(0, 560), st.integers(0, 255)), min_size=1, max_size=8))
@example(noise=[(303, 127)])  # a signalling NaN in srow_y
def test_whatever_is_wrong_with_a_file_the_error_is_one_of_ours(tmp_path, suffix, noise):
    """Bytes of the header, or of the gzip stream, are overwritten: it is read, or refused with its name."""
    path = tmp_path / f"head{suffix}"
    image = make_nifti() if suffix.startswith(".nii") else nib.MGHImage(make_head(), make_affine())
    nib.save(image, path)
    content = bytearray(path.read_bytes())
    for place, value in noise:
        content[place] = value
    path.write_bytes(content)
    try:
        volume = read_volume(path)
    except InputError as error:
        assert str(error).startswith(f"{path}: ")  # noqa: PT017 - most noise is harmless
    else:
        assert np.isfinite(volume.voxels).all()


def test_a_freesurfer_file_without_orientation_is_refused(tmp_path):
    path = tmp_path / "head.mgh"
    nib.save(nib.MGHImage(make_head(dtype=np.float32), make_affine()), path)
    content = bytearray(path.read_bytes())
    content[28:30] = b"\0\0"
    path.write_bytes(content)
    refused(path, r"expected an orientation, got none \(goodRASFlag is 0\)", GeometryError)


def test_a_freesurfer_file_of_unknown_voxels_is_refused(tmp_path):
    path = tmp_path / "head.mgh"
    nib.save(nib.MGHImage(make_head(dtype=np.float32), make_affine()), path)
    content = bytearray(path.read_bytes())
    content[20:24] = b"\0\0\0\x63"
    path.write_bytes(content)
    refused(path, r"the header is damaged \(voxels of type 99\)")


@pytest.mark.parametrize(
    ("code", "name"), [(2, "64-bit integers"), (5, "bits"), (7, "complex numbers"), (9, "colours")]
)
def test_freesurfer_voxels_without_one_real_number_are_named(tmp_path, code, name):
    path = tmp_path / "head.mgh"
    nib.save(nib.MGHImage(make_head(dtype=np.float32), make_affine()), path)
    content = bytearray(path.read_bytes())
    content[20:24] = code.to_bytes(4, "big")
    path.write_bytes(content)
    refused(path, rf"expected one real number per voxel, got MGH voxels of {name}; convert them")


# --- writing masks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("codes", [(1, 1), (2, 1), (4, 2), (1, 0), (0, 1), (3, 3)])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("endianness", ["<", ">"])
def test_a_mask_keeps_both_transforms_and_their_codes_to_the_bit(tmp_path, codes, kind, endianness):
    affine = make_affine("LSP")
    affine[:3, :3] = Rotation.from_euler("zyx", [7, 3, -4], degrees=True).as_matrix() @ affine[:3, :3]
    source = save_head(tmp_path / "head.nii.gz", affine=affine, codes=codes, kind=kind, endianness=endianness)
    out = mask_file_of(source, tmp_path / "mask.nii.gz")
    before, after = nib.load(source).header, nib.load(out).header
    assert type(after) is type(before)
    for field in ("qform_code", "sform_code", "xyzt_units", *QFORM_FIELDS, *SFORM_FIELDS):
        np.testing.assert_array_equal(after[field], before[field], err_msg=field)
    np.testing.assert_array_equal(after["pixdim"][:4], before["pixdim"][:4])
    if kind is nib.Nifti1Image:  # SimpleITK reads no NIfTI-2
        assert_same_place(source, out)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".NII.GZ"])
def test_labels_come_back_as_they_were(tmp_path, suffix):
    volume = make_volume()
    mask = make_mask(volume)
    write_mask(mask, volume, tmp_path / f"mask{suffix}")
    image = nib.Nifti1Image.from_filename(tmp_path / f"mask{suffix}")
    assert image.get_data_dtype() == np.uint8
    assert (image.dataobj.slope, image.dataobj.inter) == (1.0, 0.0)
    assert int(image.header["intent_code"]) == 0
    np.testing.assert_array_equal(np.asarray(image.dataobj), mask.labels)


def test_simpleitk_reads_the_labels_in_its_own_axis_order(tmp_path):
    volume = make_volume()
    write_mask(make_mask(volume), volume, tmp_path / "mask.nii.gz")
    judge = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "mask.nii.gz")))
    np.testing.assert_array_equal(judge.transpose(), make_mask(volume).labels)


@pytest.mark.parametrize("order", ["C", "F"])
def test_equal_masks_are_equal_bytes(tmp_path, order):
    """Neither the time nor the name nor the memory layout is in the file."""
    volume = make_volume()
    mask = make_mask(volume)
    write_mask(mask, volume, tmp_path / "a.nii.gz")
    write_mask(Mask(np.array(mask.labels, order=order), mask.geometry), volume, tmp_path / "b.nii.gz")
    content = (tmp_path / "a.nii.gz").read_bytes()
    assert content == (tmp_path / "b.nii.gz").read_bytes()
    assert content[3:8] == b"\0" * 5  # gzip: no flags (so no name), no time


@pytest.mark.parametrize(
    ("given", "kept"),
    [("brain-edge 0.1.0 deepbet", b"brain-edge 0.1.0 deepbet"), ("é" + "x" * 100, b"?" + b"x" * 78), ("", b"")],
)
def test_the_description_is_kept_as_far_as_it_fits(tmp_path, given, kept):
    volume = make_volume()
    write_mask(make_mask(volume), volume, tmp_path / "mask.nii", given)
    assert nib.load(tmp_path / "mask.nii").header["descrip"] == kept


@pytest.mark.parametrize("name", ["mask.mgz", "mask.dcm", "mask", "mask.gz", "mask.nii.bz2"])
def test_another_suffix_is_refused(tmp_path, name):
    volume = make_volume()
    with pytest.raises(UsageError, match=r"expected an output that ends in \.nii or \.nii\.gz, got 'mask"):
        write_mask(make_mask(volume), volume, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_mask_on_another_grid_is_refused(tmp_path):
    volume = make_volume()
    elsewhere = Mask(make_mask(volume).labels, Geometry(SHAPE, make_affine("LAS")))
    with pytest.raises(
        GeometryError, match=r"head and its mask: expected one grid, got 14 x 17 x 11 voxels of .* mm, RAS, from"
    ):
        write_mask(elsewhere, volume, tmp_path / "mask.nii")
    assert list(tmp_path.iterdir()) == []


def test_a_header_of_another_place_is_refused(tmp_path):
    """A volume that was moved but carries the header of its file would put the mask at the old place."""
    moved = make_volume(make_affine("LAS"), make_nifti().header)
    with pytest.raises(GeometryError, match=r"the volume and its NIfTI header: expected one grid"):
        write_mask(make_mask(moved), moved, tmp_path / "mask.nii")


def test_an_output_that_cannot_be_written_is_said_so(tmp_path):
    volume = make_volume()
    with pytest.raises(OutputError, match=r"the folder .*absent does not exist; create it first"):
        write_mask(make_mask(volume), volume, tmp_path / "absent" / "mask.nii")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_full_disk_leaves_no_half_mask_and_keeps_the_old_one(small_disk, suffix):
    geometry = Geometry((80, 80, 80), make_affine())
    noise = np.random.default_rng(1).integers(0, 256, geometry.shape).astype(np.uint8)
    volume = Volume(noise.astype(np.float32), geometry)
    target = small_disk / f"mask{suffix}"
    target.write_bytes(b"old")
    with pytest.raises(OutputError, match=r"could not be written: the disk is full; free some space") as caught:
        write_mask(Mask(noise, geometry), volume, target)
    assert caught.value.exit_code == 1
    assert target.read_bytes() == b"old"
    assert [path.name for path in small_disk.iterdir()] == [target.name]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    spacing=st.tuples(*[st.floats(0.3, 6.0)] * 3),
    mirrored=st.booleans(),
    origin=st.tuples(*[st.floats(-250, 250)] * 3),
    shape=st.tuples(*[st.integers(2, 9)] * 3),
    dtype=st.sampled_from(["u1", "i2", "u2", "f4"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_grid_and_voxels_come_back(tmp_path, angles, spacing, mirrored, origin, shape, dtype, seed):
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("zyx", angles, degrees=True).as_matrix() * spacing
    affine[:3, 2] *= -1 if mirrored else 1
    affine[:3, 3] = origin
    voxels = np.random.default_rng(seed).integers(0, 256, shape).astype(dtype)
    voxels[0, 0, 0], voxels[-1, -1, -1] = 0, 255
    source = save_head(tmp_path / "head.nii.gz", voxels, affine)
    volume = read_volume(source)
    np.testing.assert_array_equal(volume.voxels, voxels)
    np.testing.assert_array_equal(volume.geometry.affine, nib.load(source).affine)
    labels = (voxels > 100).astype(np.uint8)
    write_mask(Mask(labels, volume.geometry), volume, tmp_path / "mask.nii.gz")
    back = nib.load(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(np.asarray(back.dataobj), labels)
    np.testing.assert_array_equal(back.affine, volume.geometry.affine)
    np.testing.assert_array_equal(back.get_qform(), nib.load(source).get_qform())
    assert_same_place(source, tmp_path / "mask.nii.gz")


# --- writing stripped images and probabilities -----------------------------------------------------------


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "f4", "f8"])
@pytest.mark.parametrize("endianness", ["<", ">"])
def test_a_stripped_image_keeps_type_and_every_voxel_inside(tmp_path, dtype, endianness):
    source = save_head(tmp_path / "head.nii.gz", make_head(dtype=dtype), endianness=endianness)
    volume = read_volume(source)
    inside = volume.voxels > 60
    write_stripped(source, Mask(inside.astype(np.uint8), volume.geometry), tmp_path / "brain.nii.gz", "stripped")
    image = nib.load(tmp_path / "brain.nii.gz")
    assert image.get_data_dtype() == np.dtype(dtype)
    assert image.header["descrip"] == b"stripped"
    np.testing.assert_array_equal(np.asarray(image.dataobj), np.where(inside, make_head(dtype=dtype), 0))
    assert_same_place(source, tmp_path / "brain.nii.gz")


def test_a_stripped_image_keeps_the_slope(tmp_path):
    source = save_with_fields(tmp_path / "head.nii", scl_slope=0.37)
    volume = read_volume(source)
    inside = volume.voxels > 20
    write_stripped(source, Mask(inside.astype(np.uint8), volume.geometry), tmp_path / "brain.nii")
    image = nib.load(tmp_path / "brain.nii")
    assert image.get_data_dtype() == np.int16
    np.testing.assert_array_equal(image.get_fdata(), np.where(inside, nib.load(source).get_fdata(), 0.0))


def test_an_intercept_does_not_make_the_background_bright(tmp_path):
    source = save_with_fields(tmp_path / "head.nii", scl_slope=2.0, scl_inter=100.5)
    volume = read_volume(source)
    inside = volume.voxels > 200
    write_stripped(source, Mask(inside.astype(np.uint8), volume.geometry), tmp_path / "brain.nii")
    image = nib.load(tmp_path / "brain.nii")
    assert image.get_data_dtype() == np.float32
    np.testing.assert_array_equal(image.get_fdata(), np.where(inside, nib.load(source).get_fdata(), 0.0))


def test_a_freesurfer_head_is_stripped_to_nifti(tmp_path):
    source = tmp_path / "head.mgz"
    nib.save(nib.MGHImage(make_head(), make_affine("LIA")), source)
    volume = read_volume(source)
    write_stripped(source, make_mask(volume), tmp_path / "brain.nii.gz")
    np.testing.assert_array_equal(np.asarray(nib.load(tmp_path / "brain.nii.gz").dataobj), make_head())


def test_a_mask_of_another_image_does_not_strip_this_one(tmp_path):
    source = save_head(tmp_path / "head.nii", affine=make_affine("LPS"))
    with pytest.raises(
        GeometryError, match=r"head\.nii and its mask: expected one grid, got .* LPS, from .* and .* RAS"
    ):
        write_stripped(source, make_mask(make_volume()), tmp_path / "brain.nii")
    assert not (tmp_path / "brain.nii").exists()


@pytest.mark.parametrize("channels", [1, 3])
def test_probabilities_are_written_as_a_series_on_the_grid(tmp_path, channels):
    source = save_head(tmp_path / "head.nii.gz", affine=make_affine("ASR"))
    probabilities = np.random.default_rng(1).random((channels, *SHAPE), dtype=np.float32)
    write_probabilities(probabilities, read_volume(source), tmp_path / "p.nii.gz")
    image = nib.load(tmp_path / "p.nii.gz")
    assert image.shape == (*SHAPE, channels)
    assert image.get_data_dtype() == np.float32
    np.testing.assert_array_equal(np.asarray(image.dataobj), np.moveaxis(probabilities, 0, -1))
    np.testing.assert_array_equal(image.affine, nib.load(source).affine)
    assert int(image.header["sform_code"]) == 1


def test_probabilities_of_another_shape_are_refused(tmp_path):
    with pytest.raises(
        GeometryError, match=r"head: expected probabilities of the grid \(14, 17, 11\), got \(2, 3, 3, 3\)"
    ):
        write_probabilities(np.zeros((2, 3, 3, 3), np.float32), make_volume(), tmp_path / "p.nii")


@pytest.mark.filterwarnings("error")
def test_a_quaternion_of_nifti_2_that_overflows_is_refused_without_a_warning_of_numpy(tmp_path: Path):
    image = nib.Nifti2Image(np.zeros((9, 9, 9), np.int16), np.eye(4))
    image.header["qform_code"], image.header["sform_code"] = 1, 0
    image.header["pixdim"][1:4] = 1e300
    image.header["quatern_b"] = 0.5
    nib.save(image, tmp_path / "head.nii")
    raw = bytearray((tmp_path / "head.nii").read_bytes())
    assert raw[4:8] == b"n+2\0"
    raw[104:136] = np.array([1.0, 1e300, 1e300, 1e300], np.float64).tobytes()
    (tmp_path / "head.nii").write_bytes(raw)
    with pytest.raises(GeometryError):
        read_volume(tmp_path / "head.nii")
