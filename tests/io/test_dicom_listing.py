"""What is in a folder is listed, one series is chosen or refused in words, and nobody learns who the patient is."""

from __future__ import annotations

import copy
import io
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import traceback
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from dicom_series import (
    CT,
    FLAIR_PROTOCOL,
    SECRETS,
    SHAPE,
    T1_PROTOCOL,
    Series,
    ask,
    grid,
    refusal,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage, generate_uid

from brain_edge.errors import BrainEdgeError, GeometryError
from brain_edge.image.contrast import Contrast
from brain_edge.image.geometry import Geometry
from brain_edge.io.dicom import (
    SeriesInfo,
    SeriesKind,
    choose_series,
    holds_dicom,
    list_series,
    read_series,
    require_one_visit,
)
from brain_edge.io.inputs import InputKind, input_kind

if TYPE_CHECKING:
    from collections.abc import Callable

ADDRESS = "1.2.3"


def only(path: Path) -> SeriesInfo:
    (info,) = list_series(path)
    return info


def write(folder: Path, edit: Callable[[int, Dataset], Any], **options: Any) -> Path:
    return Series(edit=edit, **options).write(folder)


def problem(path: Path) -> str:
    """Why the only series cannot be read; choosing and reading it say the same."""
    info = only(path)
    assert info.problem
    words = refusal(lambda: read_series(choose_series([info], uid=info.uid)))
    assert info.problem in words
    return info.problem


def edit_last(**attributes: Any) -> Callable[[int, Dataset], Any]:
    """Change one slice."""

    def edit(k: int, dataset: Dataset) -> None:
        if k == SHAPE[2] - 1:
            for keyword, value in attributes.items():
                setattr(dataset, keyword, value)

    return edit


def test_a_listing_says_what_each_series_is_with_the_evidence(tmp_path: Path):
    study = generate_uid()
    Series(number=3, protocol=FLAIR_PROTOCOL, study_uid=study, geometry=grid("PSR")).write(tmp_path / "b")
    Series(number=2, study_uid=study).write(tmp_path / "a")
    first, second = list_series(tmp_path)
    assert (first.number, first.finding.contrast, first.slices, first.problem) == (2, "T1w", 10, "")
    record = second.record()
    assert json.loads(json.dumps(record)) == record
    assert record["description"] == "t2_flair_tra"
    assert record["contrast"] == "FLAIR"
    assert record["evidence"] == ["inversion recovery, TI 2500 ms, TR 9000 ms, TE 95 ms", "the words say FLAIR"]
    assert record["spacing_mm"] == [1.25, 1.5, 3.0]
    assert record["orientation"] == "PSL"  # sorted along the normal


def test_series_are_chosen_by_uid_or_by_contrast(tmp_path: Path):
    Series(number=2).write(tmp_path)
    Series(number=3, protocol=FLAIR_PROTOCOL).write(tmp_path)
    series = list_series(tmp_path)
    assert choose_series(series, uid=series[1].uid) is series[1]
    assert choose_series(series, contrasts=(Contrast.T1W, Contrast.T2W)) is series[0]
    assert choose_series(series, contrasts=(Contrast.FLAIR,)) is series[1]


def test_two_series_are_refused_unless_one_is_named(tmp_path: Path):
    Series(number=2).write(tmp_path)
    Series(number=3).write(tmp_path)
    series = list_series(tmp_path)
    words = refusal(lambda: choose_series(series))
    assert "expected one MR series, got 2. Found: series 2 (UID ..." in words
    assert "T1w, 10 slices; series 3" in words
    assert "Choose a series by its UID (brain-edge info lists them)" in words
    assert "expected one T1w series, got 2" in refusal(lambda: choose_series(series, contrasts=(Contrast.T1W,)))


@pytest.mark.parametrize("wanted", [(Contrast.T2W,), (Contrast.T1C, Contrast.FLAIR)])
def test_a_contrast_that_is_not_there_is_refused(tmp_path: Path, wanted: tuple[Contrast, ...]):
    Series().write(tmp_path)
    words = refusal(lambda: choose_series(list_series(tmp_path), contrasts=wanted))
    assert f"expected one {' or '.join(wanted)} series, got none" in words


def test_an_unknown_uid_is_refused_without_repeating_it(tmp_path: Path):
    Series().write(tmp_path)
    words = refusal(lambda: choose_series(list_series(tmp_path), uid="1.2.3\x1b[2J/../9"))
    assert "a series with the UID ...2..9" in words or "a series with the UID ..." in words
    assert "\x1b" not in words
    assert "/.." not in words.removeprefix(str(tmp_path))


def test_a_series_with_a_fault_is_not_passed_over_for_another(tmp_path: Path):
    """Of two T1 series one lacks a slice: the whole one must not be taken in silence."""
    Series(number=2).write(tmp_path / "a")
    sorted(Series(number=3).write(tmp_path / "b").iterdir())[4].unlink()
    words = refusal(lambda: choose_series(list_series(tmp_path), contrasts=(Contrast.T1W,)))
    assert "got 2" in words
    assert ", not readable" in words


def test_planning_images_and_reports_do_not_stand_in_the_way(tmp_path: Path):
    """A localiser and a CT beside one MR volume: there is nothing to choose."""
    Series(number=2).write(tmp_path)
    Series(number=1, protocol={**T1_PROTOCOL, "SeriesDescription": "localizer"}).write(tmp_path)
    write(tmp_path, lambda _k, dataset: _make_ct(dataset), number=4)
    assert choose_series(list_series(tmp_path)).number == 2


def _make_ct(dataset: Dataset) -> None:
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CT
    dataset.Modality = "CT"


def test_a_ct_is_refused(tmp_path: Path):
    write(tmp_path, lambda _k, dataset: _make_ct(dataset))
    assert problem(tmp_path) == (
        "expected an MR volume, got CT images, which are not MR slices; this program reads only MR"
    )
    assert only(tmp_path).kind is SeriesKind.OTHER_MODALITY
    assert "got none" in refusal(lambda: choose_series(list_series(tmp_path)))


def test_a_localiser_is_refused_by_image_type_and_by_words(tmp_path: Path):
    write(tmp_path / "type", lambda _k, dataset: setattr(dataset, "ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"]))
    Series(protocol={**T1_PROTOCOL, "SeriesDescription": "AAHead_Scout"}).write(tmp_path / "words")
    assert "got a localiser (planning images)" in problem(tmp_path / "type")
    assert "got a localiser (planning images)" in only(tmp_path / "words").problem


@pytest.mark.parametrize("description", ["T1 MPRAGE stereotaxy loc", "t1_glocal_mprage", "MPRAGE allocated"])
def test_a_word_that_may_mean_planning_does_not_outweigh_a_contrast(tmp_path: Path, description: str):
    Series(protocol={**T1_PROTOCOL, "SeriesDescription": description}).write(tmp_path / "volume")
    assert only(tmp_path / "volume").kind is SeriesKind.VOLUME
    Series(protocol={"SeriesDescription": "LOC"}).write(tmp_path / "planning")
    assert only(tmp_path / "planning").kind is SeriesKind.LOCALISER


def slices_of(count: int) -> Geometry:
    return Geometry((*SHAPE[:2], count), grid().affine)


def noise(geometry: Geometry) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 1000, geometry.shape)


@pytest.mark.parametrize(("count", "kind"), [(12, SeriesKind.LOCALISER), (24, SeriesKind.VOLUME)])
def test_the_word_loc_decides_only_over_few_slices(tmp_path: Path, count: int, kind: SeriesKind):
    words = {**T1_PROTOCOL, "SeriesDescription": "stereotaxy loc", "ProtocolName": "head"}
    geometry = slices_of(count)
    Series(protocol=words, geometry=geometry, values=noise(geometry)).write(tmp_path)
    info = only(tmp_path)
    assert info.kind is kind
    if kind is SeriesKind.VOLUME:
        assert info.finding.contrast is Contrast.T1W


def test_many_planning_images_of_three_directions_are_a_localiser(tmp_path: Path):
    words = {**T1_PROTOCOL, "SeriesDescription": "3-pl loc", "ProtocolName": "head"}
    shared: dict[str, Any] = {"uid": generate_uid(), "study_uid": generate_uid(), "frame_of_reference": generate_uid()}
    for letter, orientation in enumerate(("LPS", "PSL", "LSP")):
        Series(protocol=words, geometry=grid(orientation), number=letter, **shared).write(tmp_path / orientation)
    assert only(tmp_path).slices >= 20
    assert only(tmp_path).kind is SeriesKind.LOCALISER


def test_a_uid_chooses_a_volume_whose_words_call_it_a_localiser(tmp_path: Path):
    """The words are a guess that the user overrides; what the scanner states (the image type) is none."""
    words = {**T1_PROTOCOL, "SeriesDescription": "AAHead_Scout"}
    plain = Series(values=noise(grid()))
    plain.write(tmp_path / "plain")
    Series(protocol=words, values=plain.values).write(tmp_path / "scout")
    (info,) = list_series(tmp_path / "scout")
    assert "got none" in refusal(lambda: choose_series([info]))
    chosen = choose_series([info], uid=info.uid)
    assert chosen.kind is SeriesKind.VOLUME
    assert "the series was chosen by its UID" in chosen.notes[-1]
    np.testing.assert_array_equal(read_series(chosen).voxels, read_series(only(tmp_path / "plain")).voxels)


@pytest.mark.data
def test_the_memprage_of_a_child_is_t1w(mri: Callable[[str], Path]):
    assert only(mri("child_10yr_dicom/data")).finding.contrast is Contrast.T1W


def test_projections_are_refused(tmp_path: Path):
    write(tmp_path, lambda _k, dataset: setattr(dataset, "ImageType", ["DERIVED", "SECONDARY", "PROJECTION IMAGE"]))
    assert "computed projections (MIP)" in problem(tmp_path)


def test_a_missing_slice_is_refused(tmp_path: Path):
    folder = Series().write(tmp_path, order="kept")
    sorted(folder.iterdir())[4].unlink()
    assert problem(folder) == (
        "expected slices every 3 mm, got a gap after slice 4 of 9 by position; "
        "about 1 slice is missing. Export the whole series again"
    )


def test_every_second_slice_missing_is_refused(tmp_path: Path):
    folder = write(tmp_path, lambda _k, dataset: setattr(dataset, "SpacingBetweenSlices", 3.0))
    for path in folder.iterdir():
        if dcmread(path).InstanceNumber % 2:
            path.unlink()
    assert "expected slices every 3 mm as the header states, got only one of 2 slices" in problem(folder)


def test_images_that_the_header_announces_and_that_are_not_here_are_noted(tmp_path: Path):
    write(tmp_path, lambda _k, dataset: setattr(dataset, "ImagesInAcquisition", 12))
    (note,) = only(tmp_path).notes
    assert note == "the header announces 12 images in the acquisition, found 10: slices may be missing"


def test_a_copied_file_is_refused(tmp_path: Path):
    folder = Series().write(tmp_path)
    one = sorted(folder.iterdir())[4]
    one.with_name("copy.dcm").write_bytes(one.read_bytes())
    assert "expected one slice at each position, got two or more at 1 of 10" in problem(folder)


def test_a_series_that_is_there_twice_is_refused(tmp_path: Path):
    series = Series()
    datasets = series.datasets()
    for copy_of in "ab":
        for k, dataset in enumerate(datasets):
            dataset.save_as(tmp_path / f"{copy_of}{k}.dcm", enforce_file_format=True)
    assert "got 2: the same files twice" in problem(tmp_path)


@pytest.mark.parametrize(
    ("attribute", "words"),
    [
        ("EchoTime", "a multi-echo series"),
        ("TemporalPositionIdentifier", "a multi-phase (dynamic) series"),
        ("TriggerTime", "a multi-phase (dynamic) series"),
        ("AcquisitionNumber", "a multi-phase series of several acquisitions"),
        ("DiffusionBValue", "a diffusion series"),
        ("InstanceNumber", "several volumes that the header does not distinguish"),
    ],
)
def test_several_volumes_in_one_series_are_refused_with_what_distinguishes_them(
    tmp_path: Path, attribute: str, words: str
):
    for number, value in enumerate((1, 2, 3)):
        series = Series(uid="1.2.3.4", study_uid="1.2.3", frame_of_reference="1.2.5")
        for k, dataset in enumerate(series.datasets()):
            setattr(dataset, attribute, value)
            dataset.save_as(tmp_path / f"{number}-{k}.dcm", enforce_file_format=True)
    assert f"expected one slice at each position, got 3: {words}" in problem(tmp_path)


@pytest.mark.parametrize(
    ("attributes", "what"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]}, "magnitude, phase, real or imaginary part"),
        ({"EchoTime": "4.92"}, "echo time"),
    ],
)
def test_slices_of_two_images_that_fill_one_stack_are_refused(tmp_path: Path, attributes: dict[str, Any], what: str):
    """An export has kept one of two slices at each position; dcm2niix makes two images of such a series."""
    folder = write(tmp_path / "in", edit_last(**attributes))
    assert f"got slices that differ in {what}; export each image as a separate series" in problem(folder)
    (tmp_path / "out").mkdir()
    ask("dcm2niix", "-b", "n", "-z", "n", "-o", tmp_path / "out", folder)
    assert len(list((tmp_path / "out").glob("*.nii"))) == 2


@pytest.mark.parametrize("image_type", [["ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"], ["DERIVED", "PRIMARY", "OTHER"]])
def test_slices_of_one_image_need_not_state_all_of_its_type(tmp_path: Path, image_type: list[str]):
    folder = write(tmp_path, edit_last(ImageType=image_type, EchoTime="2.9700001"))
    assert choose_series(list_series(folder)).slices == SHAPE[2]


def test_phase_frames_among_those_of_an_enhanced_magnitude_image_are_refused(tmp_path: Path):
    dataset = Series().enhanced()
    for number, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        kind = Dataset()
        kind.FrameType = ["ORIGINAL", "PRIMARY", "M", "NONE"]
        kind.ComplexImageComponent = "PHASE" if number == 3 else "MAGNITUDE"
        group.MRImageFrameTypeSequence = [kind]
    dataset.save_as(tmp_path / "one.dcm", enforce_file_format=True)
    assert "differ in magnitude, phase, real or imaginary part" in problem(tmp_path)


def test_slices_with_a_series_uid_each_are_refused_in_one_sentence(tmp_path: Path):
    """Canon's classic export and some anonymisers write such series; a list of them all would hide the reason."""
    folder = write(tmp_path, lambda _k, dataset: setattr(dataset, "SeriesInstanceUID", generate_uid()))
    words = refusal(lambda: choose_series(list_series(folder)))
    assert "Found: 10 series of one slice; one volume must have one series UID, so repeat the anonymisation." in words


def test_a_classic_file_of_several_slices_is_refused_for_what_it_is(tmp_path: Path):
    first, *others = Series().datasets()
    first.NumberOfFrames, first.PixelData = 10, first.PixelData + b"".join(each.PixelData for each in others)
    first.save_as(tmp_path / "one.dcm", enforce_file_format=True)
    assert "got a classic file of several slices or several multi-frame files" in problem(tmp_path)


def test_a_multi_echo_enhanced_object_is_refused(tmp_path: Path):
    dataset = Series().enhanced()
    groups = list(dataset.PerFrameFunctionalGroupsSequence)
    del dataset.SharedFunctionalGroupsSequence[0].MREchoSequence
    doubled = [copy.deepcopy(group) for _ in range(2) for group in groups]
    for number, group in enumerate(doubled):
        echo = Dataset()
        echo.EffectiveEchoTime = 10.0 if number < len(groups) else 80.0
        group.MREchoSequence = [echo]
    dataset.PerFrameFunctionalGroupsSequence = doubled
    dataset.NumberOfFrames *= 2
    dataset.PixelData *= 2
    dataset.save_as(tmp_path / "one.dcm", enforce_file_format=True)
    assert "got 2: a multi-echo series" in problem(tmp_path)


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        (
            {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]},
            "expected slices of one orientation, got mixed orientations",
        ),
        ({"PixelSpacing": [1.5, 1.3]}, "expected slices of one pixel spacing, got 2 different values"),
        ({"Rows": 34, "Columns": 37}, "expected slices of one size in pixels, got 2 different values"),
        ({"ImagePositionPatient": None}, "expected ImagePositionPatient in every slice, 1 of 10 have none"),
        ({"FrameOfReferenceUID": "1.2.77"}, "expected one frame of reference in a series, got 2"),
        ({"StudyInstanceUID": "1.2.77"}, "expected one study in a series, got 2"),
        ({"PatientID": "another"}, "expected one patient in a series, got 2"),
    ],
)
def test_slices_that_do_not_belong_together_are_refused(tmp_path: Path, attributes: dict[str, Any], words: str):
    assert words in problem(write(tmp_path, edit_last(**attributes)))


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"PhotometricInterpretation": "MONOCHROME1"}, "expected grey values (MONOCHROME2)"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "expected grey values (MONOCHROME2)"),
        ({"ModalityLUTSequence": [Dataset()]}, "expected a linear rescale, got a modality lookup table"),
        ({"PixelSpacing": [0, 0]}, "expected a positive PixelSpacing"),
        ({"ImageOrientationPatient": [1, 0, 0, 0.5, 0.8, 0]}, "expected rows and columns at a right angle"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0, 0]}, "expected rows and columns at a right angle"),
    ],
)
def test_pixels_and_directions_that_are_not_understood_are_refused(
    tmp_path: Path, attributes: dict[str, Any], words: str
):
    def edit(_k: int, dataset: Dataset) -> None:
        for keyword, value in attributes.items():
            setattr(dataset, keyword, value)

    assert words in problem(write(tmp_path, edit))


def move(by: Callable[[int], tuple[float, float, float]]) -> Callable[[int, Dataset], Any]:
    """Move slice k by so many mm (LPS)."""

    def edit(k: int, dataset: Dataset) -> None:
        moved = np.array(dataset.ImagePositionPatient, dtype=float) + by(k)
        dataset.ImagePositionPatient = [f"{place:.6f}" for place in moved]

    return edit


def test_uneven_and_sheared_slices_are_refused(tmp_path: Path):
    assert "expected evenly spaced slices, got steps of 2.5 to 3.5 mm" in problem(
        write(tmp_path / "a", move(lambda k: (0, 0, 0.5 if k == 4 else 0)))
    )
    assert "a sideways shift of 0.4 mm per slice (a tilted or sheared stack)" in problem(
        write(tmp_path / "b", move(lambda k: (0, 0.4 * k, 0)))
    )


def test_positions_rounded_by_an_anonymiser_are_accepted(tmp_path: Path):
    """Two decimals in millimetres are no gap."""
    write(tmp_path, move(lambda k: (0, 0, 0.005 * (-1) ** k)))
    assert not only(tmp_path).problem


def test_too_few_slices_are_refused(tmp_path: Path):
    folder = Series().write(tmp_path)
    for path in sorted(folder.iterdir())[1:]:
        path.unlink()
    assert "expected a volume of at least 3 slices, got 1; give the folder of the series" in problem(folder)


@pytest.mark.parametrize(
    ("syntax", "words"),
    [
        ("1.3.46.670589.33.1.4.1", "got a private one; export the series as Explicit VR Little Endian"),
        ("1.2.840.113619.5.2", "got a private one"),
        ("1.2.840.10008.1.2.4.100", "got MPEG2 Main Profile / Main Level"),
    ],
)
def test_a_transfer_syntax_that_nobody_decodes_is_refused(tmp_path: Path, syntax: str, words: str):
    folder = Series().write(tmp_path)
    for path in folder.iterdir():
        content = path.read_bytes()
        old = b"\x02\x00\x10\x00UI\x14\x001.2.840.10008.1.2.1\x00"
        assert old in content
        value = syntax.encode() + b"\0" * (len(syntax) % 2)
        new = b"\x02\x00\x10\x00UI" + len(value).to_bytes(2, "little") + value
        meta = content[: content.index(old)] + new + content[content.index(old) + len(old) :]
        length = int.from_bytes(content[140:144], "little") + len(new) - len(old)
        path.write_bytes(meta[:140] + length.to_bytes(4, "little") + meta[144:])
    assert words in problem(folder)


@pytest.mark.parametrize(
    ("keyword", "uid"),
    [
        ("SeriesInstanceUID", "../../../etc/passwd"),
        ("SOPInstanceUID", "1.2/../../x"),
        ("StudyInstanceUID", "1.2.3\x1b]0;x"),
        ("SeriesInstanceUID", "C:\\temp"),
        ("SeriesInstanceUID", "1." * 40 + "1"),
        ("SeriesInstanceUID", ""),
    ],
)
def test_identifiers_that_are_no_uids_are_refused_and_not_repeated(tmp_path: Path, keyword: str, uid: str):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns the writer of such a file
        write(tmp_path, edit_last(**{keyword: uid}))
    words = refusal(lambda: list_series(tmp_path))
    assert f"expected a DICOM identifier of digits and points in {keyword}, got other characters" in words
    assert "passwd" not in words
    assert "\x1b" not in words


def test_objects_that_are_no_images_are_listed_as_such(tmp_path: Path):
    dataset = Series().header("1.2.840.10008.5.1.4.1.1.88.11")
    dataset.Modality = "SR"
    del dataset.Rows, dataset.Columns
    dataset.save_as(tmp_path / "report.dcm", enforce_file_format=True)
    assert only(tmp_path).kind is SeriesKind.NOT_IMAGE
    assert "got an object without slices (SR)" in problem(tmp_path)


def test_a_truncated_header_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    folder = Series().write(tmp_path)
    victim = sorted(folder.iterdir())[2]
    content = victim.read_bytes()
    victim.write_bytes(content[: content.index(b"MARKERID") + 4])
    refused = refusal(lambda: choose_series(list_series(folder)), caplog)
    assert "file 3 of 10 in name order" in refused or "in SeriesInstanceUID" in refused


@pytest.mark.parametrize("content", [b"", b"not DICOM at all" * 20])
def test_a_file_whose_name_promises_dicom_is_not_passed_over(tmp_path: Path, content: bytes):
    folder = Series().write(tmp_path)
    sorted(folder.iterdir())[2].write_bytes(content)
    assert "file 3 of 10 in name order is not DICOM or is truncated" in refusal(lambda: list_series(folder))


def test_other_files_are_passed_over(tmp_path: Path):
    folder = Series().write(tmp_path)
    (folder / "README.txt").write_text("hello")
    (folder / ".DS_Store").write_bytes(b"\0" * 500)
    assert not only(folder).problem


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_what_macos_writes_beside_files_is_no_input(tmp_path: Path):
    """A zip of the Finder, and a folder that was on a disk of a Mac, are read like the folder itself."""
    study = Series().write(tmp_path / "study")
    expected = read_series(only(study))
    apple = b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(4072)
    with zipfile.ZipFile(tmp_path / "finder.zip", "w") as archive:
        for path in sorted(study.iterdir()):
            archive.write(path, f"study/{path.name}")
            archive.writestr(f"__MACOSX/study/._{path.name}", apple)
            archive.writestr(f"study/._{path.name}", apple)
    for path in sorted(study.iterdir()):
        path.with_name(f"._{path.name}").write_bytes(apple)
    for place in (study, tmp_path / "finder.zip"):
        volume = read_series(only(place))
        np.testing.assert_array_equal(volume.voxels, expected.voxels)


def test_a_slice_whose_name_only_looks_like_one_of_macos_is_read_and_a_damaged_one_refused(tmp_path: Path):
    Series().write(tmp_path)
    first, second, *_ = sorted(tmp_path.iterdir())
    first.rename(tmp_path / f"._{first.name}")
    assert only(tmp_path).slices == SHAPE[2]
    second.rename(tmp_path / f"._{second.name}").write_bytes(b"damaged")
    assert f"file 2 of {SHAPE[2]} in name order is not DICOM" in refusal(lambda: list_series(tmp_path))


def test_a_pipe_in_the_folder_does_not_hang(tmp_path: Path):
    folder = Series().write(tmp_path)
    os.mkfifo(folder / "pipe.dcm")
    assert not only(folder).problem


def test_dicom_is_recognised_by_content_in_files_folders_and_zips(tmp_path: Path):
    """So that a command can tell a series from a NIfTI file or a folder of them."""
    folder = Series().write(tmp_path / "deep" / "in")
    one = next(folder.iterdir())
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "head.nii").write_bytes(b"\0" * 400)
    for name, content in (("yes.zip", one.read_bytes()), ("no.zip", b"none")):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("IM1", content)
    found = {name: holds_dicom(tmp_path / name) for name in ("deep", "plain", "plain/head.nii", "yes.zip", "no.zip")}
    assert found == {"deep": True, "plain": False, "plain/head.nii": False, "yes.zip": True, "no.zip": False}
    assert holds_dicom(one)


def test_no_dicom_and_no_folder_are_refused(tmp_path: Path):
    assert "expected DICOM, found none in 0 files" in refusal(lambda: list_series(tmp_path))
    assert "there is no such file" in refusal(lambda: list_series(tmp_path / "nowhere"))


def test_the_index_of_a_folder_is_told_from_its_images(tmp_path: Path):
    folder = Series().write(tmp_path / "in")
    index = Dataset()
    index.file_meta = FileMetaDataset()
    index.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    index.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    index.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    index.DirectoryRecordSequence = []
    index.save_as(folder / "DICOMDIR", enforce_file_format=True)
    words = f"expected DICOM images, got their index; give the folder {folder}"
    assert words in refusal(lambda: list_series(folder / "DICOMDIR"))
    assert len(list_series(folder)) == 1


def test_damaged_encrypted_and_bloated_zips_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = Series().write(tmp_path / "in")
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        for path in sorted(folder.iterdir()):
            opened.write(path, path.name)
    content = archive.read_bytes()
    archive.write_bytes(content[:-10])
    assert "the zip is damaged or truncated; copy it again" in refusal(lambda: list_series(archive))
    damaged = bytearray(content)
    damaged[400] ^= 0xFF
    archive.write_bytes(damaged)
    assert "file 1 of 10 in name order is damaged in the zip" in refusal(lambda: list_series(archive))
    header = content.index(b"PK\x01\x02")
    locked = bytearray(content)
    locked[header + 8] |= 1
    archive.write_bytes(locked)
    assert "is encrypted; unpack the zip" in refusal(lambda: list_series(archive))
    archive.write_bytes(content)
    monkeypatch.setattr("brain_edge.io.dicom.container.MAXIMUM_MEMBER_BYTES", 1000)
    assert "bytes, more than the limit of 1000; unpack the zip" in refusal(lambda: list_series(archive))


def test_a_zip_that_would_keep_the_machine_busy_is_refused(tmp_path: Path):
    """90 MiB of zeros in 110 KiB; a slice or two that are empty are no reason."""
    for count in (1, 90):
        with zipfile.ZipFile(tmp_path / f"{count}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for number in range(count):
                archive.writestr(f"{number}.dcm", bytes(2**20))
    assert "unpacks to more than 100 times its size, as no DICOM does" in refusal(
        lambda: list_series(tmp_path / "90.zip")
    )
    assert "is not DICOM" in refusal(lambda: list_series(tmp_path / "1.zip"))


def test_a_zip_with_two_files_of_one_name_is_refused(tmp_path: Path):
    """Two series flattened into one folder: each slice of the first would hide behind one of the second."""
    folder = Series().write(tmp_path / "in")
    with warnings.catch_warnings(), zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        warnings.simplefilter("ignore")  # zipfile warns the writer
        for path in folder.iterdir():
            archive.write(path, "IM0001")
    assert "the zip holds several files of one name" in refusal(lambda: list_series(tmp_path / "a.zip"))


def test_without_the_extra_the_package_to_install_is_named(tmp_path: Path):
    """And importing the module needs nothing that the thin runtime does not have."""
    Series().write(tmp_path)
    program = """
import sys
sys.modules["pydicom"] = sys.modules["highdicom"] = None
from brain_edge.io.dicom import list_series
from brain_edge.errors import MissingExtraError
try:
    list_series(sys.argv[1])
except MissingExtraError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True)
    assert "reading DICOM needs pydicom, which is not installed here: pip install 'brain-edge[dicom]'" in done.stdout


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 192", "Иванова^Марина"),
        ("ISO_IR 144", "Щукин^Юлий"),
        ("ISO_IR 126", "Διονυσιος"),
        ("ISO_IR 138", "שרון^דבורה"),
        ("ISO_IR 100", "Buc^Jérôme"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
    ],
)
def test_names_in_other_alphabets_do_not_disturb_and_do_not_show(
    tmp_path: Path, charset: Any, name: str, caplog: pytest.LogCaptureFixture
):
    def edit(k: int, dataset: Dataset) -> None:
        dataset.SpecificCharacterSet = charset
        dataset.PatientName = name
        if k == 3:
            dataset.Rows = 3  # something to refuse

    write(tmp_path, edit)
    words = problem(tmp_path)
    assert not [part for part in name.replace("=", "^").split("^") if part in words + caplog.text]


@pytest.mark.parametrize("charset", ["ISO_IR 13", "no such set", "ISO 2022 IR 999"])
def test_a_wrong_character_set_is_no_reason_to_warn_or_fail(tmp_path: Path, charset: str):
    """Warnings are errors in these tests; pydicom's quote the text that it could not decode."""
    folder = Series().write(tmp_path)
    for path in folder.iterdir():
        content = path.read_bytes()
        value = charset.encode() + b" " * (len(charset) % 2)
        old = b"CS\x0a\x00ISO_IR 192"
        assert old in content
        path.write_bytes(content.replace(old, b"CS" + len(value).to_bytes(2, "little") + value, 1))
    assert choose_series(list_series(folder)).slices == 10


def test_nothing_is_logged_or_warned_about_values_that_break_rules(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
):
    caplog.set_level(logging.DEBUG)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns the writer

        def edit(_k: int, dataset: Dataset) -> None:
            dataset.PatientBirthDate = "patientname born 19010203"
            dataset.PatientID = "MARKERID" * 20
            dataset.SeriesDescription = "t1 Markerdoctor " * 10

        write(tmp_path, edit)
    caplog.clear()
    level = logging.getLogger("pydicom").level
    volume = read_series(choose_series(list_series(tmp_path)))
    said = (caplog.text + "".join(capfd.readouterr()) + volume.name).lower()
    assert not [secret for secret in SECRETS if secret in said]
    assert logging.getLogger("pydicom").level == level


def test_a_description_cannot_move_the_cursor_of_a_terminal(tmp_path: Path):
    Series(protocol={**T1_PROTOCOL, "SeriesDescription": "t1\x1b[2Jx\x07"}).write(tmp_path)
    assert only(tmp_path).description.isprintable()


def test_sequences_of_two_studies_are_not_one_patient(tmp_path: Path):
    Series(number=2).write(tmp_path)
    Series(number=3, protocol=FLAIR_PROTOCOL).write(tmp_path)
    series = list_series(tmp_path)
    assert "expected the sequences of one study, got 2 studies" in refusal(lambda: require_one_visit(series))
    require_one_visit(series[:1])


@pytest.mark.parametrize("registers", [False, True])
@pytest.mark.parametrize(("patient", "refused"), [("other", True), ("MARKERID4711", False), ("", False)])
def test_sequences_of_two_patients_in_one_study_are_refused(
    tmp_path: Path, patient: str, refused: bool, registers: bool
):
    """An archive that joined two examinations; an anonymiser may empty the identifier of some series alone."""
    first = Series(number=2)
    first.write(tmp_path)

    def edit(_k: int, dataset: Dataset) -> None:
        dataset.PatientID = patient

    second = Series(number=3, protocol=FLAIR_PROTOCOL, edit=edit, study_uid=first.study_uid)
    second.frame_of_reference = first.frame_of_reference
    second.write(tmp_path)
    series = list_series(tmp_path)
    if not refused:
        return require_one_visit(series, registers=registers)
    words = refusal(lambda: require_one_visit(series, registers=registers))
    assert "expected the sequences of one patient, got several values of PatientID in series 2" in words
    assert "MARKER" not in words
    return None


def test_sequences_of_two_frames_of_reference_have_no_common_coordinates(tmp_path: Path):
    """The patient was taken out and laid down anew between them; positions say nothing of each other."""
    first = Series(number=2)
    first.write(tmp_path)
    Series(number=3, protocol=FLAIR_PROTOCOL, study_uid=first.study_uid).write(tmp_path)
    series = list_series(tmp_path)
    with pytest.raises(
        GeometryError, match=r"expected sequences of one frame of reference, got 2 in series 2 .*register"
    ):
        require_one_visit(series)
    require_one_visit(series[:1])
    require_one_visit(series, registers=True)


def test_a_slice_that_is_a_link_to_nowhere_is_not_passed_over(tmp_path: Path):
    """The volume would be shorter by it, and nothing in the other headers would say so."""
    folder = tmp_path / "series"
    Series().write(folder)
    files = sorted(folder.iterdir())
    files[-1].unlink()
    assert list_series(folder)[0].slices == len(files) - 1
    files[-1].symlink_to(tmp_path / "not-fetched")
    words = refusal(lambda: list_series(folder))
    assert f"file {len(files)} of {len(files)} in name order could not be read: No such file" in words


def test_a_folder_of_slices_that_cannot_be_opened_is_not_passed_over(without_rights: Callable[..., Any]):
    with tempfile.TemporaryDirectory() as name:  # other users cannot look into pytest's folders
        place = Path(name)
        place.chmod(0o755)
        Series().write(place / "a")
        (place / "b").mkdir(mode=0o000)
        with without_rights():
            assert "a subfolder could not be read: Permission denied" in refusal(lambda: list_series(place))
        (place / "b").chmod(0o755)


def test_linked_folders_are_followed_each_once(tmp_path: Path):
    """Loops too: the whole series, and no slice doubled."""
    whole = Series().write(tmp_path / "whole")
    study, more = tmp_path / "study", tmp_path / "elsewhere"
    study.mkdir()
    more.mkdir()
    for number, path in enumerate(sorted(whole.iterdir())):
        shutil.copy(path, (study if number < 6 else more) / path.name)
    (study / "more").symlink_to(more)
    (study / "again").symlink_to(more)
    (more / "back").symlink_to(study)
    np.testing.assert_array_equal(read_series(only(study)).voxels, read_series(only(whole)).voxels)
    links = tmp_path / "links"
    links.mkdir()
    (links / "series").symlink_to(whole)
    assert input_kind(links) is InputKind.DICOM
    assert only(links).slices == SHAPE[2]


@pytest.mark.parametrize("form", ["+ti", "+te", "+tb", "only the preamble"])
@pytest.mark.parametrize("place", ["folder", "zip"])
def test_slices_without_preamble_are_read(tmp_path: Path, form: str, place: str):
    """As dcmtk writes data sets alone, in each byte order and with and without types; without a suffix, too."""
    whole = Series().write(tmp_path / "whole")
    bare = tmp_path / "bare"
    bare.mkdir()
    for number, path in enumerate(sorted(whole.iterdir())):
        target = bare / (path.stem if number % 2 else path.name)
        if form == "only the preamble":
            target.write_bytes(path.read_bytes()[132:])
        else:
            assert not ask("dcmconv", "-F", form, path, target)
    if place == "zip":
        bare = Path(shutil.make_archive(str(tmp_path / "study"), "zip", bare))
    assert input_kind(bare) is InputKind.DICOM
    np.testing.assert_array_equal(read_series(only(bare)).voxels, read_series(only(whole)).voxels)


def test_a_slice_without_preamble_that_is_damaged_is_not_passed_over(tmp_path: Path):
    path = sorted(Series().write(tmp_path).iterdir())[4]
    path.write_bytes(path.read_bytes()[132:300])
    path.rename(path.with_suffix(""))
    assert "file 5 of 10 in name order" in refusal(lambda: list_series(tmp_path))


def test_a_faulty_geometry_is_a_geometry_error(tmp_path: Path):
    write(tmp_path, move(lambda k: (0, 0, 0.5 if k == 4 else 0)))
    with pytest.raises(GeometryError, match="evenly spaced"):
        choose_series(list_series(tmp_path))


def test_a_dicom_file_with_a_zip_at_its_end_is_dicom(tmp_path: Path):
    """A crafted file that is both is read as what its first bytes say."""
    path = tmp_path / "one.dcm"
    Series().enhanced().save_as(path, enforce_file_format=True)
    tail = io.BytesIO()
    with zipfile.ZipFile(tail, "w") as archive:
        archive.writestr("x.dcm", b"x" * 200)
    path.write_bytes(path.read_bytes() + tail.getvalue())
    assert read_series(only(path)).geometry.shape == SHAPE


@pytest.mark.full  # the hunt damages DICOM in CI
@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(place=st.integers(132, 1800), value=st.integers(0, 255), cut=st.booleans())
def test_no_damaged_byte_trips_anything_but_a_refusal(tmp_path: Path, place: int, value: int, cut: bool):
    """One wrong byte, or an early end, in the header of one slice: read or refused in words, never a crash."""
    folder = tmp_path / "in"
    if not folder.exists():
        Series().write(folder)
    victim = sorted(folder.iterdir())[3]
    whole = victim.read_bytes()
    damaged = whole[:place] if cut else whole[:place] + bytes([value]) + whole[place + 1 :]
    victim.write_bytes(damaged)
    try:
        read_series(choose_series(list_series(folder)))
    except BrainEdgeError as error:
        said = "".join(traceback.format_exception(error)).lower()
        assert not [secret for secret in SECRETS if secret in said]
    finally:
        victim.write_bytes(whole)


@pytest.mark.parametrize("count", ["2147483647", "100001", "-1"])
def test_a_number_of_frames_that_no_head_has_is_damage(count: str, tmp_path: Path):
    """Each would be an object in memory."""

    def edit(k: int, dataset: Dataset) -> None:
        if k == 4:
            dataset.NumberOfFrames = count

    Series(edit=edit).write(tmp_path, order="sorted")
    assert "file 5 of 10 in name order has a damaged or truncated DICOM header" in refusal(
        lambda: list_series(tmp_path)
    )
