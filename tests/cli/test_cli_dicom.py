"""`brain-edge run` and `info` on DICOM: a series in; SEG, report and picture beside it, or a sentence and a code."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import highdicom as hd
import msgspec
import nibabel
import numpy as np
import pytest
from cli_program import child, make_package, make_pair_package, refused, save_phantom, succeed
from dicom_series import CT, FLAIR_PROTOCOL, SECRETS, SHAPE, T1_PROTOCOL, Series, by_dcm2niix, errors_of
from evidences import evidence
from present import present
from pydicom import dcmread
from pydicom.uid import JPEGLSLossless
from tiny_package import SPEC

from brain_edge.cli.run import SEG_ENCODINGS
from brain_edge.evaluation.evidence import spelt
from brain_edge.image.phantom import Phantom, make_volume
from brain_edge.io.dicom import SegEncoding
from brain_edge.package import WeightsStatus
from brain_edge.spec import Sequence

if TYPE_CHECKING:
    from collections.abc import Callable

HEAD = make_volume(Phantom(shape=(*SHAPE[:2], 40), spacing_mm=5.0))
VALUES = np.round(HEAD.voxels).astype(int)
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
CODECS = ("jpeg_ls", "_CharLS", "libjpeg", "pylibjpeg", "gdcm", "openjpeg")
T2_PROTOCOL = {
    **T1_PROTOCOL,
    "ScanningSequence": "SE",
    "SequenceVariant": "SK",
    "RepetitionTime": "5000",
    "EchoTime": "100",
    "InversionTime": "",
    "SeriesDescription": "t2_tse_tra",
    "ProtocolName": "t2_tse_tra",
}


def head(**changes: Any) -> Series:
    """The phantom's head as a series, in which the tiny package finds a brain."""
    return Series(HEAD.geometry, VALUES, **changes)


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    return make_package(tmp_path_factory.mktemp("tiny")).folder


@pytest.fixture(scope="module")
def series(tmp_path_factory) -> Path:
    return head().write(tmp_path_factory.mktemp("study") / "series")


@pytest.fixture
def here(tmp_path, monkeypatch, series) -> Path:
    """The current folder with one series in `series`, and a folder for results."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(series, tmp_path / "series")
    return tmp_path


def image_package(folder: Path) -> Path:
    """A package that does not state the contrast of its input."""
    spec = msgspec.structs.replace(SPEC, inputs=(Sequence(name="image"),))
    return make_package(folder, spec).folder


def results(folder: Path) -> list[str]:
    """All that was written, hidden files too."""
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def places(labels: np.ndarray, affine: np.ndarray) -> set[tuple[int, ...]]:
    """World coordinates of the voxels that are not 0, in twentieths of a mm (RAS)."""
    world = np.argwhere(labels) @ affine[:3, :3].T + affine[:3, 3]
    return {tuple(place) for place in np.round(world * 20).astype(int).tolist()}


def nifti_places(path: Path | str) -> set[tuple[int, ...]]:
    image = nibabel.load(path)
    return places(np.asarray(image.dataobj), image.affine)


def seg_places(path: Path | str) -> set[tuple[int, ...]]:
    volume = hd.seg.segread(path).get_volume(combine_segments=True, relabel=False)
    return places(volume.array, LPS @ volume.affine)


def assert_discreet(*texts: str) -> None:
    said = "".join(texts).lower()
    assert not [secret for secret in SECRETS if secret in said]


# one series


def test_a_seg_lies_where_the_nifti_mask_of_dcm2niix_lies(package, here):
    by_dcm2niix(here / "series", here)
    succeed("run", package, "judge.nii", "-o", "nifti.nii.gz")
    done = succeed("run", package, "series", "-o", "seg.dcm")
    assert done.out.startswith("seg.dcm: brain ")
    assert ", T1 is series 2 (UID ..." in done.out
    assert done.out.count("\n") == 1
    assert done.err == ""
    assert seg_places("seg.dcm") == nifti_places("nifti.nii.gz")
    assert not errors_of(here / "seg.dcm") - errors_of(next((here / "series").iterdir()))


@pytest.mark.full  # three seconds of processes; inputs are told apart in tests/io
def test_dicom_beside_an_image_is_meant_where_the_options_say_dicom(package, here):
    """Without -o, dcm2niix writes its image into the folder of the DICOM."""
    succeed("run", package, "series", "-o", "plain.dcm")
    by_dcm2niix(here / "series", here / "series")
    (uid,) = {dcmread(path).SeriesInstanceUID for path in (here / "series").glob("*.dcm")}
    succeed("run", package, "series", "-o", "seg.dcm")
    succeed("run", package, "series", "-o", "mask.nii.gz", "--series", uid)
    assert seg_places("seg.dcm") == seg_places("plain.dcm") == nifti_places("mask.nii.gz")
    said = refused(2, "run", package, "series", "-o", "other.nii.gz")
    assert "series: expected images or DICOM, got both (judge.nii and DICOM); name the image itself" in said
    succeed("run", package, "series", "-o", "batch")
    assert results(here / "batch") == ["judge_mask.nii.gz", "judge_record.json", "summary.json", "summary.tsv"]


def test_a_nifti_mask_can_be_made_of_a_series_too(package, here):
    succeed("run", package, "series", "-o", "seg.dcm")
    succeed("run", package, "series", "-o", "mask.nii.gz")
    mask = nibabel.load(here / "mask.nii.gz")
    assert (mask.shape, nibabel.aff2axcodes(mask.affine)) == (VALUES.shape, tuple(HEAD.geometry.orientation))
    assert nifti_places("mask.nii.gz") == seg_places("seg.dcm")


@pytest.mark.parametrize("kind", ["zip", "enhanced file"])
def test_a_zip_and_an_enhanced_file_are_inputs_whatever_their_name(package, here, kind):
    succeed("run", package, "series", "-o", "folder.dcm")
    if kind == "zip":
        Path(shutil.make_archive("study", "zip", "series")).rename("study")
    else:
        head(protocol={**T1_PROTOCOL, "SeriesDescription": "t1 mprage"}).enhanced().save_as(
            here / "study", enforce_file_format=True
        )
    assert succeed("run", package, "study", "-o", "seg.dcm", "--series", "T1").err == ""
    assert seg_places("seg.dcm") == seg_places("folder.dcm")


def test_json_names_the_input_as_it_was_typed_and_the_series_without_its_patient(package, here):
    done = succeed("run", package, "T1=series", "-o", "seg.dcm", "--report", "r.json", "--json")
    assert done.json["inputs"] == {"T1": "series"}
    uid = dcmread(next((here / "series").iterdir())).SeriesInstanceUID
    assert done.json["series"] == {"T1": {"name": f"series 2 (UID ...{uid[-8:]})", "contrast": "T1w", "notes": []}}
    assert (here / "r.json").read_text().strip() == done.out.strip()
    assert_discreet(done.out, done.err)


def test_every_output_of_a_case(package, here):
    outputs = ("--report", "sr.dcm", "--picture", "sc.dcm", "--brain", "brain.nii.gz", "--probabilities", "p.nii")
    record = succeed("run", package, "series", "-o", "seg.dcm", *outputs, "--json").json
    assert results(here) == ["brain.nii.gz", "p.nii", "sc.dcm", "seg.dcm", "sr.dcm"]
    assert record["picture"] == "sc.dcm"
    seg, report, capture = (dcmread(f"{name}.dcm") for name in ("seg", "sr", "sc"))
    assert [one.Modality for one in (seg, report, capture)] == ["SEG", "SR", "OT"]
    assert len({one.StudyInstanceUID for one in (seg, report, capture)}) == 1
    referred = {item.ReferencedSOPInstanceUID for item in _references(report)}
    assert seg.SOPInstanceUID in referred
    succeed("run", package, "series", "-o", "mask.nii")
    mask, brain = (np.asarray(nibabel.load(name).dataobj) for name in ("mask.nii", "brain.nii.gz"))
    np.testing.assert_array_equal(brain, np.where(mask, VALUES, 0))
    assert nibabel.load("p.nii").shape == (*VALUES.shape, 2)


def _references(report: Any) -> list[Any]:
    """The objects that are evidence of a report."""
    return [
        item
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for one in study.ReferencedSeriesSequence
        for item in one.ReferencedSOPSequence
    ]


@pytest.mark.full  # three seconds of processes; in CI every output of a case
def test_a_picture_is_png_for_images_too_and_stands_beside_a_record(package, here):
    save_phantom(here / "head.nii.gz")
    succeed("run", package, "head.nii.gz", "-o", "mask.nii", "--picture", "qc.png", "--report", "r.json")
    assert (here / "qc.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((here / "r.json").read_text())["picture"] == "qc.png"
    (here / "out").mkdir()
    succeed("run", package, "head.nii.gz", "-o", "out", "--picture", "out")
    of_the_case = [name for name in results(here / "out") if name.startswith("head_")]
    assert of_the_case == ["head_mask.nii.gz", "head_picture.png", "head_record.json"]


@pytest.mark.parametrize("encoding", SegEncoding)
def test_the_encoding_of_the_seg_is_chosen(package, here, encoding):
    succeed("run", package, "series", "-o", "seg.dcm", "--seg-encoding", encoding)
    assert dcmread(here / "seg.dcm").SegmentationType == encoding.name


def test_the_command_line_knows_every_encoding():
    assert tuple(SegEncoding) == SEG_ENCODINGS


@pytest.mark.full  # two seconds of processes; io/test_dicom_write has them in CI
def test_empty_frames_are_kept_where_that_is_asked_for(package, here):
    succeed("run", package, "series", "-o", "few.dcm")
    succeed("run", package, "series", "-o", "all.dcm", "--keep-empty-frames")
    assert dcmread(here / "few.dcm").NumberOfFrames < dcmread(here / "all.dcm").NumberOfFrames == VALUES.shape[2]
    assert seg_places("few.dcm") == seg_places("all.dcm")


def test_a_border_is_in_the_seg_and_the_seg_says_so(package, here):
    succeed("run", package, "series", "-o", "mask.nii.gz", "--border", "5")
    succeed("run", package, "series", "-o", "seg.dcm", "--border", "5")
    assert seg_places("seg.dcm") == nifti_places("mask.nii.gz")
    seg = dcmread(here / "seg.dcm")
    assert seg.SeriesDescription == "RESEARCH ONLY tiny with border 5 mm fp32/f32"
    identification = seg.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
    assert identification.AlgorithmName == "tiny with border 5 mm"


def test_flags_are_warnings_and_stand_in_the_descriptions(tmp_path, here):
    narrow = msgspec.structs.replace(
        SPEC.plausible, inputs=msgspec.structs.replace(present(SPEC.plausible.inputs), spacing_mm=(0.5, 4.0))
    )
    flagging = make_package(tmp_path / "flagging", msgspec.structs.replace(SPEC, plausible=narrow)).folder
    done = succeed("run", flagging, "series", "-o", "seg.dcm", "-q")
    assert done.err.startswith("warning: series: spacing of 5 mm, expected 0.5 to 4 mm")
    assert dcmread(here / "seg.dcm").ContentDescription == "RESEARCH ONLY; flags: spacing"
    said = refused(1, "run", flagging, "series", "-o", "strict.dcm", "--report", "sr.dcm", "--strict")
    assert "error: series: series 2 (UID ..." in said
    assert "nothing was written" in said
    assert results(here) == ["seg.dcm"]


def test_what_a_careful_reader_should_know_of_a_series_is_a_warning(package, here):
    head(edit=lambda _k, dataset: setattr(dataset, "ImagesInAcquisition", 41)).write(here / "short")
    done = succeed("run", package, "short", "-o", "seg.dcm", "--json")
    assert "warning: short: series 2 (UID ..." in done.err
    assert "the header announces 41 images in the acquisition, found 40" in done.err
    assert len(done.json["series"]["T1"]["notes"]) == 1


# which series


@pytest.fixture
def study(here) -> dict[str, str]:
    """`study` holds a T1, a FLAIR and a T2 of one examination; the UID of each."""
    uid = head().study_uid
    protocols = {"T1": T1_PROTOCOL, "FLAIR": FLAIR_PROTOCOL, "T2": T2_PROTOCOL}
    made = {
        name: head(protocol=protocol, number=number, study_uid=uid, frame_of_reference=uid)
        for number, (name, protocol) in enumerate(protocols.items(), start=3)
    }
    for name, one in made.items():
        one.write(here / "study" / name)
    return {name: one.uid for name, one in made.items()}


def chosen(*arguments: object) -> dict[str, str]:
    """Sequence -> UID of the series that the SEG of a run refers to, by the names in its record."""
    record = succeed("run", *arguments, "-o", "seg.dcm", "--json").json
    return {name: one["contrast"] for name, one in record["series"].items()}


def test_the_sequence_of_the_model_picks_the_series_and_a_choice_overrules_it(package, study):
    assert chosen(package, "study") == chosen(package, "T1=study") == {"T1": "T1w"}
    assert dcmread("seg.dcm").ReferencedSeriesSequence[0].SeriesInstanceUID == study["T1"]
    for choice in (study["FLAIR"], f"T1={study['FLAIR']}", "FLAIR", "T1=flair"):
        assert chosen(package, "study", "--series", choice) == {"T1": "FLAIR"}
        assert dcmread("seg.dcm").ReferencedSeriesSequence[0].SeriesInstanceUID == study["FLAIR"]


@pytest.mark.full  # three seconds of processes; the choice of a series is tested in io/dicom
def test_an_input_without_a_sequence_takes_the_only_series_there_is(tmp_path, study):
    package = image_package(tmp_path / "image")
    assert chosen(package, "series") == {"image": "T1w"}
    said = refused(3, "run", package, "study", "-o", "no.dcm")
    assert "error: study: expected one MR series, got 3. Found: series 3 (UID ..." in said
    assert "FLAIR, 40 slices; series 5" in said
    assert "Choose a series by its UID (brain-edge info lists them)" in said
    assert chosen(package, "study", "--series", "T2") == {"image": "T2w"}
    assert chosen(package, "study", "--series", study["T1"]) == {"image": "T1w"}


def test_the_only_series_is_run_with_a_warning_where_it_has_another_contrast(package, here):
    head(protocol=FLAIR_PROTOCOL, number=7).write(here / "other")
    done = succeed("run", package, "other", "-o", "seg.dcm", "--json")
    said = "expected T1w for the sequence T1, got FLAIR (inversion recovery, TI 2500 ms"
    assert f"warning: other: {said}" in done.err
    assert done.json["flags"][0]["kind"] == "contrast"
    words = refused(3, "run", package, "other", "-o", "no.dcm", "--strict")
    assert f"error: other: {said}" in words
    assert words.endswith("give an image that tiny was made for, or remove --strict\n")
    assert not (here / "no.dcm").exists()


def test_a_series_of_unknown_contrast_is_neither_warned_of_nor_refused(package, here):
    head(protocol={"SeriesDescription": "head"}, number=7).write(here / "unknown")
    assert "contrast" not in succeed("run", package, "unknown", "-o", "seg.dcm", "--strict").err


@pytest.mark.full  # four seconds of processes; in CI one sequence is picked and overruled
def test_two_sequences_are_picked_out_of_one_folder(tmp_path, study):
    pair = make_pair_package(tmp_path / "pair").folder
    assert chosen(pair, "T1=study", "T2=study") == {"T1": "T1w", "T2": "T2w"}
    assert chosen(pair, "T1=study", "T2=study", "--series", f"T2={study['FLAIR']}") == {"T1": "T1w", "T2": "FLAIR"}
    said = refused(2, "run", pair, "T1=study", "T2=study", "-o", "no.dcm", "--series", study["T1"])
    assert "tiny-pair takes T1, T2; name the sequence of the series" in said
    said = refused(2, "run", pair, "T1=study", "T2=study", "-o", "no.dcm", "--series", f"T2={study['T1']}")
    assert "two of T1, T2 got the same DICOM series" in said
    said = refused(3, "run", pair, "T1=series", "T2=study", "-o", "no.dcm")
    assert "expected the sequences of one study, got 2 studies" in said


def test_sequences_between_which_the_patient_has_moved_are_refused(tmp_path, here):
    pair = make_pair_package(tmp_path / "pair").folder
    uid = head().study_uid
    head(study_uid=uid, number=3).write(here / "study/T1")
    head(study_uid=uid, number=4, protocol=T2_PROTOCOL).write(here / "study/T2")
    said = refused(3, "run", pair, "T1=study", "T2=study", "-o", "no.dcm")
    assert "expected sequences of one frame of reference, got 2" in said
    assert not (here / "no.dcm").exists()


@pytest.mark.parametrize(
    ("choice", "code", "words"),
    [
        ("1.2.3", 3, "expected a series with the UID ...1.2.3, got none. Found: series 2"),
        ("T2", 3, "expected one T2w series, got none. Found: series 2"),
        (
            "../../etc/passwd",
            2,
            "expected a series as its UID (digits and points) or as T1w, T1C, T2w, FLAIR",
        ),
        ("T1=1.2/../3", 2, "expected a series as its UID"),
        ("FLAIR=1.2.3", 2, "tiny takes T1; name the sequence of the series 1.2.3, such as T1=1.2.3"),
        ("", 2, "expected a series as its UID"),
    ],
)
@pytest.mark.usefixtures("here")
def test_a_series_that_is_not_there_is_refused(package, choice, code, words):
    assert words in refused(code, "run", package, "series", "-o", "seg.dcm", "--series", choice)


# what is refused before the work


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["head.nii.gz", "-o", "seg.dcm"], "seg.dcm: a DICOM output needs a DICOM input, and head.nii.gz is not"),
        (["head.nii.gz", "-o", "m.nii", "--picture", "sc.dcm"], "is not DICOM; give the DICOM series, or write"),
        (["head.nii.gz", "-o", "m.nii", "--series", "T1"], "--series needs a DICOM input; head.nii.gz is not DICOM"),
        (["series", "-o", "m.nii", "--report", "sr.dcm"], "sr.dcm: a structured report needs a DICOM SEG, and m.nii"),
        (["series", "-o", "m.nii", "--seg-encoding", "binary"], "m.nii: --seg-encoding and --keep-empty-frames need"),
        (["series", "-o", "m.nii", "--keep-empty-frames"], "m.nii: --seg-encoding and --keep-empty-frames need"),
        (
            ["series", "-o", "s.dcm", "--seg-encoding", "jpeg"],
            "'jpeg' is not one of 'binary', 'fractional', 'labelmap'",
        ),
        (["series", "-o", "s.dcm", "--picture", "q.jpg"], "q.jpg: expected a picture file that ends in .png or .dcm"),
        (["series", "-o", "s.dcm", "--brain", "b.dcm"], "b.dcm: expected a brain file that ends in .nii or .nii.gz"),
        (["series", "-o", "s.dcm", "--report", "s.dcm"], "two outputs have the same name, choose others: s.dcm, s.dcm"),
        (
            ["series", "-o", "s.dcm", "--border", "2", "--seg-encoding", "fractional"],
            "--border does not fit a fractional SEG, which holds probabilities",
        ),
        (["series", "-o", "series/mask.dcm"], "this output would lie among the files of series; choose another folder"),
        (["series", "-o", "series/s2-000.dcm"], "this output would lie among the files of series"),
        (["series/s2-000.dcm", "-o", "series/s2-000.dcm"], "this output would overwrite an input"),
        (["series", "-o", "out"], "series: expected one DICOM examination with a file as its mask, got the folder out"),
        (["series", "series", "-o", "s.dcm"], "2 images, but s.dcm is one file"),
        (["head.nii.gz", "-o", "out", "--series", "T1"], "out is a folder, and a batch neither reads nor writes DICOM"),
        (
            ["head.nii.gz", "-o", "out", "--keep-empty-frames"],
            "out is a folder, and a batch neither reads nor writes DICOM",
        ),
        (["heads", "-o", "s.dcm"], "heads is a folder of images, and s.dcm is one file; name a folder for the masks"),
    ],
)
def test_what_does_not_go_together_is_said_before_anything_is_written(package, here, arguments, words):
    save_phantom(here / "head.nii.gz")
    (here / "out").mkdir()
    (here / "heads").mkdir()
    shutil.copy(here / "head.nii.gz", here / "heads")
    before = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    assert words in refused(2, "run", package, *arguments)
    assert {path: path.read_bytes() for path in here.rglob("*") if path.is_file()} == before


def test_a_folder_with_neither_images_nor_dicom_is_refused(package, here):
    (here / "empty").mkdir()
    said = refused(3, "run", package, "empty", "-o", "seg.dcm")
    assert "empty: expected a folder with images (.nii.gz, .nii, .mgz, .mgh) or DICOM, found neither" in said


def test_packages_that_mean_nothing_write_no_dicom_and_are_told_so_before_reading(tmp_path, here):
    """An input that cannot be read shows that nothing was read."""
    (here / "series/s2-000.dcm").write_bytes(b"")
    untrained = make_package(tmp_path / "untrained", weights_status=WeightsStatus.RANDOM).folder
    demonstration = make_package(tmp_path / "demonstration", evidence=spelt(evidence(demonstration=True))).folder
    said = refused(3, "run", untrained, "series", "-o", "seg.dcm", "--allow-untrained")
    assert "the weights of this package are random, not trained, and a DICOM result could reach" in said
    said = refused(2, "run", demonstration, "series", "-o", "m.nii.gz", "--picture", "sc.dcm")
    assert "this package is a demonstration" in said
    assert results(here) == []


@pytest.mark.parametrize(("keyword", "value"), [("PatientSex", "FEMALE"), ("StudyDate", "20001399")])
def test_headers_that_would_make_an_invalid_result_are_refused(package, here, keyword, value):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns the writer
        head(edit=lambda _k, dataset: setattr(dataset, keyword, value)).write(here / "wrong")
    said = refused(3, "run", package, "wrong", "-o", "seg.dcm")
    assert f"expected a {keyword} that DICOM allows" in said
    assert_discreet(said)
    succeed("run", package, "wrong", "-o", "mask.nii.gz")


def test_a_full_disk_leaves_none_of_the_outputs(package, here, small_disk):
    outputs = (small_disk / "seg.dcm", "--report", small_disk / "sr.dcm", "--picture", small_disk / "sc.dcm")
    said = refused(1, "run", package, "series", "-o", *outputs)
    assert f"{small_disk / 'sc.dcm'}: could not be written: the disk is full" in said
    assert ".partial" not in said
    assert results(small_disk) == []
    assert results(here) == []


# bad input


def ct(folder: Path) -> None:
    def edit(_k: int, dataset: Any) -> None:
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CT
        dataset.Modality = "CT"

    head(edit=edit).write(folder)


def localiser(folder: Path) -> None:
    head(protocol={**T1_PROTOCOL, "SeriesDescription": "AAHead_Scout"}).write(folder)


def missing_slice(folder: Path) -> None:
    head().write(folder, order="kept")
    (folder / "s2-020.dcm").unlink()


def doubled_slice(folder: Path) -> None:
    head().write(folder)
    shutil.copy(folder / "s2-020.dcm", folder / "copy.dcm")


def two_series(folder: Path) -> None:
    head().write(folder)
    head(number=3).write(folder)


def no_image(folder: Path) -> None:
    folder.mkdir()
    dataset = head().header("1.2.840.10008.5.1.4.1.1.88.11")
    dataset.Modality = "SR"
    del dataset.Rows, dataset.Columns
    dataset.save_as(folder / "report.dcm", enforce_file_format=True)


def truncated_pixels(folder: Path) -> None:
    victim = head().write(folder) / "s2-004.dcm"
    victim.write_bytes(victim.read_bytes()[:-100])


def truncated_header(folder: Path) -> None:
    victim = head().write(folder) / "s2-004.dcm"
    victim.write_bytes(victim.read_bytes()[:100])


def crafted_uid(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns the writer
        head(edit=lambda k, dataset: setattr(dataset, "SeriesInstanceUID", "../../x") if k == 4 else None).write(folder)


def private_syntax(folder: Path) -> None:
    old, new = b"UI\x14\x001.2.840.10008.1.2.1\x00", b"UI\x14\x001.2.840.113619.5.2\x00\x00"
    for path in head().write(folder).iterdir():
        path.write_bytes(path.read_bytes().replace(old, new[: len(old)]))


def damaged_zip(folder: Path) -> None:
    whole = Path(shutil.make_archive(str(folder), "zip", head().write(folder.with_name("whole")))).read_bytes()
    folder.with_suffix(".zip").unlink()
    at = len(whole) // 2
    folder.write_bytes(whole[:at] + bytes(64) + whole[at + 64 :])


BAD_INPUTS = [
    (ct, "expected one T1w series, got none. Found: series 2 (UID ...", "other modality, 40 slices, not readable"),
    (localiser, "expected one T1w series, got none. Found: series 2 (UID ...", "localiser, 40 slices, not readable"),
    (
        missing_slice,
        "a gap after slice 20 of 39 by position; about 1 slice is missing",
        "Export the whole series again",
    ),
    (doubled_slice, "expected one slice at each position, got two or more at 1 of 40", "series 2 (UID ..."),
    (two_series, "expected one T1w series, got 2. Found: series 2 (UID ...", "Choose a series by its UID"),
    (no_image, "expected one T1w series, got none. Found: series 2 (UID ...", "not an image"),
    (truncated_pixels, "file 5 of 40 in name order cannot be decoded", "copy or export it again"),
    (truncated_header, "file 5 of 40 in name order is not DICOM or is truncated", "copy it again"),
    (crafted_uid, "expected a DICOM identifier of digits and points in SeriesInstanceUID", "file "),
    (private_syntax, "got a private one; export the series as Explicit VR Little Endian", "series 2"),
    (damaged_zip, "is damaged in the zip; copy or export it again", "of 40 in name order"),
]


@pytest.mark.parametrize(("write", "words", "more"), BAD_INPUTS, ids=[row[0].__name__ for row in BAD_INPUTS])
def test_bad_input_is_refused_with_3_in_words_that_name_no_patient(
    package, here, write: Callable[[Path], None], words, more
):
    write(here / "in")
    said = refused(3, "run", package, "in", "-o", "seg.dcm", "--report", "r.json")
    assert said.startswith("error: in: ")
    assert words in said
    assert more in said
    assert said.count("\n") == 1
    assert "passwd" not in said
    assert_discreet(said)
    assert set(results(here)) <= {"in"}


def test_a_series_that_is_no_mr_volume_is_refused_by_its_uid_too(package, here):
    ct(here / "ct")
    uid = dcmread(here / "ct/s2-000.dcm").SeriesInstanceUID
    said = refused(3, "run", package, "ct", "-o", "seg.dcm", "--series", uid)
    assert "expected an MR volume, got CT images, which are not MR slices; this program reads only MR" in said


def test_a_file_that_only_its_name_makes_dicom_is_refused(package, here):
    (here / "one.dcm").write_bytes(b"no DICOM")
    said = refused(3, "run", package, "one.dcm", "-o", "seg.dcm")
    assert "one.dcm: the file is not DICOM or is truncated" in said


def test_a_codec_that_is_absent_is_named(package, here):
    head(edit=lambda _k, dataset: dataset.compress(JPEGLSLossless, generate_instance_uid=False)).write(here / "jls")
    succeed("run", package, "jls", "-o", "seg.dcm")
    done = child("run", package, "jls", "-o", "no.dcm", without=CODECS)
    assert done.code == 1
    assert "decoding JPEG-LS Lossless Image Compression needs pyjpegls" in done.err
    assert results(here) == ["seg.dcm"]


@pytest.mark.parametrize(
    ("library", "output", "words"),
    [
        ("pydicom", "mask.nii.gz", "reading DICOM needs pydicom"),
        ("highdicom", "seg.dcm", "writing DICOM needs highdicom"),
        ("matplotlib", "seg.dcm", "a picture of a mask needs matplotlib"),
    ],
)
def test_a_missing_library_is_named_with_its_extra(package, here, library, output, words):
    done = child("run", package, "series", "-o", output, "--picture", "qc.png", without=[library])
    assert (done.code, done.out) == (1, "")
    assert f"error: {words}, which is not installed here: pip install 'brain-edge[" in done.err
    assert results(here) == []


@pytest.mark.usefixtures("here")
def test_a_mask_as_nifti_needs_no_highdicom(package):
    assert child("run", package, "series", "-o", "mask.nii.gz", "-q", without=["highdicom"]).code == 0


# info


def test_info_lists_series_with_evidence_grid_and_problem(here, study):
    missing_slice(here / "study/gap")
    done = succeed("info", "study")
    blocks = [dict(row.strip().split(maxsplit=1) for row in block) for block in _blocks(done.out)]
    gap, t1, flair, t2 = blocks
    assert (t1["series"], t1["uid"]) == ("3: t1_mprage_tra", study["T1"])
    assert t1["contrast"].startswith("T1w (inversion recovery, TI 1100 ms")
    assert "no contrast agent is recorded" in t1["contrast"]
    assert (t1["slices"], t1["grid"]) == ("40", "34 x 37 x 40 voxels of 5 x 5 x 5 mm, RAS")
    assert [one["contrast"].split()[0] for one in (flair, t2)] == ["FLAIR", "T2w"]
    assert "about 1 slice is missing" in gap["problem"]
    assert "problem" not in t1
    assert_discreet(done.out, done.err)


def _blocks(text: str) -> list[list[str]]:
    found: list[list[str]] = []
    for line in text.splitlines():
        if line.startswith("series"):
            found.append([])
        found[-1].append(line)
    return found


def test_info_as_json_is_a_list_of_series(study):
    listed = succeed("info", "study", "--json").json
    assert {one["uid"]: one["contrast"] for one in listed} == {
        study["T1"]: "T1w",
        study["FLAIR"]: "FLAIR",
        study["T2"]: "T2w",
    }
    assert listed[0]["spacing_mm"] == [5.0, 5.0, 5.0]
    assert listed[0]["problem"] == ""
    Path(shutil.make_archive("study", "zip", "study"))
    assert succeed("info", "study.zip", "--json").json == listed
    assert [one["slices"] for one in succeed("info", "series/s2-000.dcm", "--json").json] == [1]


@pytest.mark.usefixtures("here")
def test_info_without_the_extra_says_how_to_install_it(package):
    done = child("info", "series", without=["pydicom"])
    assert (done.code, done.out) == (1, "")
    assert "reading DICOM needs pydicom, which is not installed here: pip install 'brain-edge[dicom]'" in done.err
    assert child("info", package, without=["pydicom"]).code == 0


def test_info_of_neither_a_package_nor_dicom_is_refused(here):
    (here / "empty").mkdir()
    refused(5, "info", "empty")
    (here / "one.dcm").write_bytes(b"no DICOM")
    assert "one.dcm: the file is not DICOM or is truncated" in refused(3, "info", "one.dcm")


# a real series


@pytest.mark.data
def test_the_seg_of_a_real_series_is_the_nifti_route(tmp_path, mri, monkeypatch):
    monkeypatch.chdir(tmp_path)
    package = image_package(tmp_path / "tiny")
    folder = mri("vs_seg_001_dicom")
    by_dcm2niix(folder, tmp_path)
    nifti = succeed("run", package, "judge.nii", "-o", "nifti.nii.gz", "--json").json
    dicom = succeed("run", package, folder, "-o", "seg.dcm", "--report", "sr.dcm", "--json").json
    assert dicom["volumes_ml"] == pytest.approx(nifti["volumes_ml"])
    image = nibabel.load("nifti.nii.gz")
    seg = hd.seg.segread("seg.dcm").get_volume(combine_segments=True, relabel=False)
    _assert_same_voxels(image, seg)
    source = next(folder.glob("*.dcm"))
    assert not (errors_of(tmp_path / "seg.dcm") | errors_of(tmp_path / "sr.dcm")) - errors_of(source)


def _assert_same_voxels(image: Any, seg: Any) -> None:
    """A SEG without empty frames covers fewer slices; each of its voxels is looked up in the image."""
    affine = np.linalg.inv(image.affine) @ LPS @ seg.affine
    found = np.argwhere(seg.array)
    there = np.round(found @ affine[:3, :3].T + affine[:3, 3]).astype(int)
    labels = np.asarray(image.dataobj)
    assert labels[tuple(there.T)].all()
    assert len(found) == np.count_nonzero(labels) > 0
