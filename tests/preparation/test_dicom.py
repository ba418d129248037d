"""A DICOM examination is one study: its mask lies on the frames of the series that the user names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import highdicom as hd
import msgspec
import numpy as np
import pytest
from cli_program import make_package, refused, succeed
from dicom_series import FLAIR_PROTOCOL, SHAPE, T1_PROTOCOL, Series
from pydicom import dcmread
from test_run import GRID
from tiny_package import SPEC, STAGE

from brain_edge.errors import UsageError
from brain_edge.image.phantom import Phantom, make_volume
from brain_edge.io.inputs import series_of
from brain_edge.jobs.outputs import Outputs, require_outputs
from brain_edge.spec import Preparation, Sequence

if TYPE_CHECKING:
    from pathlib import Path

    from brain_edge.package import ModelPackage

FINE = msgspec.structs.replace(GRID, preparation=Preparation(references=("T1",), spacing_mm=3.0))


def phantom_series(**changes: Any) -> Series:
    """A phantom in thick slices as a series."""
    phantom = make_volume(Phantom(shape=(*SHAPE[:2], 40), spacing_mm=5.0))
    return Series(phantom.geometry, np.round(phantom.voxels).astype(int), **changes)


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> ModelPackage:
    return make_package(tmp_path_factory.mktemp("packages") / "fine", FINE)


@pytest.fixture(scope="module")
def twice(tmp_path_factory) -> tuple[Path, Series]:
    """An examination with one sequence twice, and its second series."""
    folder = tmp_path_factory.mktemp("examinations") / "twice"
    first, second = phantom_series(), phantom_series(number=3)
    second.study_uid = first.study_uid
    first.write(folder / "first")
    second.write(folder / "second")
    return folder, second


def prepare(package: ModelPackage, *arguments: object) -> tuple[object, ...]:
    return ("prepare", *arguments, "--like", package.folder, "--no-picture")


def test_one_of_two_series_is_prepared_by_its_uid_or_its_folder(package, twice, tmp_path):
    folder, second = twice
    words = refused(3, *prepare(package, folder, "-o", tmp_path / "no"))
    assert "expected one T1w series, got 2. Found: series 2" in words
    by_uid = ("--series", f"T1={second.uid}")
    succeed(*prepare(package, folder, "-o", tmp_path / "uid", *by_uid, "-q"))
    succeed(*prepare(package, f"T1={folder / 'second'}", "-o", tmp_path / "folder", "-q"))
    images = [tmp_path / "uid/twice/twice_t1.nii.gz", tmp_path / "folder/second/second_t1.nii.gz"]
    assert images[0].read_bytes() == images[1].read_bytes()


def test_a_uid_that_no_study_has_is_refused_also_beside_a_study_that_fails(package, twice, tmp_path):
    for study in (twice[0] / "second", twice[0]):  # the whole examination has two series that fit
        words = refused(2, *prepare(package, study, "-o", tmp_path / "no", "--series", "T1=1.2.3"))
        assert "--series T1=1.2.3: expected the UID of a series in the studies, found none with it" in words
    assert not (tmp_path / "no").exists()


def test_a_series_of_a_sequence_without_an_input_is_refused(twice):
    with pytest.raises(UsageError, match="--series needs a DICOM input; T1C has none; name it"):
        series_of({"T1": twice[0]}, {"T1C": "1.2.3"}, {})


def test_a_finished_examination_is_kept_and_has_the_name_of_its_folder(package, twice, tmp_path, monkeypatch):
    monkeypatch.chdir(twice[0] / "second")
    command = prepare(package, ".", "-o", tmp_path / "out")
    assert "second: new" in succeed(*command).out
    assert "second: kept" in succeed(*command).out


def test_an_examination_of_two_patients_is_refused_before_it_is_registered(tmp_path):
    pytest.importorskip("SimpleITK")

    def other_patient(_k: int, dataset: Any) -> None:
        dataset.PatientID = "other"

    first, second = phantom_series(), phantom_series(number=3, protocol=FLAIR_PROTOCOL, edit=other_patient)
    second.study_uid = first.study_uid
    for series in (first, second):
        series.write(tmp_path / "study" / str(series.number))
    words = refused(3, "prepare", tmp_path / "study", "-o", tmp_path / "out", "--keep-skull", "--no-picture")
    assert "expected the sequences of one patient, got several values of PatientID in series 2" in words
    assert not [*(tmp_path / "out").rglob("*.nii.gz")]


def test_an_examination_without_a_volume_is_refused_with_what_it_has(tmp_path):
    pytest.importorskip("SimpleITK")
    planning = phantom_series(protocol={**T1_PROTOCOL, "SeriesDescription": "localizer"})
    planning.geometry = planning.geometry.cropped(((0, SHAPE[0]), (0, SHAPE[1]), (0, 3)))
    planning.write(tmp_path / "series")
    words = refused(3, "prepare", tmp_path / "series", "-o", tmp_path / "out", "--keep-skull", "--no-picture")
    assert "expected one T1C or T1w or T2w or FLAIR series, got none. Found: series 2" in words
    assert "localiser, 3 slices" in words


def test_a_seg_lies_on_the_frames_of_its_series(package, tmp_path):
    series = phantom_series()
    series.write(tmp_path / "series")
    succeed("run", package.folder, tmp_path / "series", "-o", tmp_path / "seg.dcm", "--on", "T1", "-q")
    (uid,) = {dcmread(path).SeriesInstanceUID for path in (tmp_path / "series").iterdir()}
    seg = dcmread(tmp_path / "seg.dcm")
    assert {each.SeriesInstanceUID for each in seg.ReferencedSeriesSequence} == {uid}
    found = hd.seg.segread(tmp_path / "seg.dcm").get_volume(combine_segments=True, relabel=False)
    assert np.linalg.norm(found.affine[:3, :3], axis=0) == pytest.approx(series.geometry.spacing_mm)
    words = refused(2, "run", package.folder, tmp_path / "series", "-o", tmp_path / "s.dcm", "--on", "atlas")
    assert "a DICOM output lies on the frames of a series, and atlas has none" in words


def test_a_seg_needs_the_dicom_of_the_reference_alone(tmp_path):
    """The mask lies on T1C, whatever the model lists first."""
    phantom_series().write(tmp_path / "series")
    inputs = {"T1": tmp_path / "t1.nii.gz", "T1C": tmp_path / "series"}
    stage = msgspec.structs.replace(STAGE, network=msgspec.structs.replace(STAGE.network, channels_in=2))
    inputs_of = (*SPEC.inputs, Sequence(name="T1C"))
    spec = msgspec.structs.replace(
        SPEC, inputs=inputs_of, stages=(stage,), preparation=Preparation(references=("T1C", "T1"))
    )
    require_outputs(inputs, Outputs(mask=tmp_path / "seg.dcm"), spec)
    with pytest.raises(UsageError, match=r"a DICOM output needs a DICOM input, and .*t1.nii.gz is not DICOM"):
        require_outputs(inputs, Outputs(mask=tmp_path / "seg.dcm", on="T1"), spec)
