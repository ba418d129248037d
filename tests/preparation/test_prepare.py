"""`prepare` writes prepared images and transforms that other programs read, once, and nothing of a study that fails."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest
from bids_dataset import contents, phantom_dataset, validate
from cli_program import brain_edge as program
from cli_program import make_package, refused, save_phantom, succeed
from scipy.ndimage import gaussian_filter
from test_prepared import TURN
from test_run import GRID, scanned

import brain_edge
from brain_edge.errors import InputError
from brain_edge.image.contrast import Contrast
from brain_edge.image.geometry import Geometry
from brain_edge.image.volume import Mask, Volume
from brain_edge.io.nifti import write_image
from brain_edge.jobs.preparing.cases import find_cases
from brain_edge.jobs.preparing.wanted import of_four
from brain_edge.preparation.parts import Part
from brain_edge.preparation.preparer import Preparer
from brain_edge.preparation.record import record_of
from brain_edge.registration.itk_file import read_itk
from brain_edge.registration.rigid import Rigid
from brain_edge.registration.through import resample_through
from brain_edge.spec import Preparation

if TYPE_CHECKING:
    from pathlib import Path

    from brain_edge.package import ModelPackage
    from brain_edge.spec.plausibility import Flag


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> ModelPackage:
    return make_package(tmp_path_factory.mktemp("packages") / "grid", GRID)


@pytest.fixture
def studies(tmp_path) -> Path:
    """Two studies of one image each, one folder per study."""
    for number, name in enumerate(("one", "two")):
        path = tmp_path / "studies" / name / "T1.nii.gz"
        path.parent.mkdir(parents=True)
        head = scanned()
        write_image(Volume(head.voxels + number, head.geometry), path)
    return tmp_path / "studies"


def failed(*arguments: object) -> str:
    """What the program says where studies have failed."""
    ended = program(*arguments)
    assert ended.code == 6
    return ended.err


def test_the_images_and_their_transform_agree_in_another_program(package, studies, tmp_path):
    itk = pytest.importorskip("SimpleITK")
    succeed("prepare", studies, "-o", tmp_path / "out", "--like", package.folder, "--no-picture")
    folder = tmp_path / "out" / "one"
    names = {path.name for path in folder.iterdir()}
    xfm = "one_t1_from-orig_to-reference_mode-image_xfm.txt"
    assert names == {"one_t1.nii.gz", xfm, "one_preparation.json"}
    prepared = itk.ReadImage(str(folder / "one_t1.nii.gz"))
    raw = itk.ReadImage(str(studies / "one" / "T1.nii.gz"))
    again = itk.Resample(raw, prepared, itk.ReadTransform(str(folder / xfm)), itk.sitkLinear, 0.0)
    ours, theirs = itk.GetArrayFromImage(prepared), itk.GetArrayFromImage(again)
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.9999
    assert np.array_equal(read_itk(folder / xfm).matrix, np.eye(4))


def test_a_finished_study_is_kept_and_a_changed_one_is_prepared_again(package, studies, tmp_path):
    command = ("prepare", studies, "-o", tmp_path / "out", "--like", package.folder, "--no-picture")
    first = succeed(*command, "--json").json
    assert [record["preparation"]["parts"] for record in first] == [["new grid"], ["new grid"]]
    head = scanned()
    write_image(Volume(head.voxels * 2, head.geometry), studies / "two" / "T1.nii.gz")
    again = succeed(*command).out
    assert "one: kept" in again
    assert "two: new" in again


def test_a_study_that_fails_leaves_nothing_and_does_not_stop_the_others(package, studies, tmp_path):
    (studies / "one" / "T1.nii.gz").write_bytes(b"no image")
    words = failed("prepare", studies, "-o", tmp_path / "out", "--like", package.folder, "--no-picture")
    assert "1 of 2 studies failed; see the errors above: one" in words
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["two"]


def test_without_a_stage_0_all_studies_are_refused_at_once(studies, tmp_path):
    words = refused(2, "prepare", studies, "-o", tmp_path / "out", "--no-picture")
    assert words.count("give --stage-zero PKG") == words.count("error:") == 1
    assert not (tmp_path / "out").exists()


def test_two_images_of_one_sequence_are_refused(package, studies, tmp_path):
    save_phantom(studies / "one" / "t1w.nii.gz")
    words = failed("prepare", studies, "-o", tmp_path / "out", "--like", package.folder, "--no-picture")
    assert "one: expected one image of T1, got " in words


def test_images_of_one_study_under_several_names_are_refused(tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    for name in ("5_axial_t1.nii.gz", "7_axial_gad_t1c.nii.gz"):
        save_phantom(folder / name)
    words = refused(3, "prepare", folder, "-o", tmp_path / "out", "--keep-skull", "--no-picture")
    assert f"{folder}: expected one name before the sequence in the images of a study, got 5_axial_t1.nii.gz" in words


def test_an_image_of_no_sequence_is_named_and_left_out(package, studies, tmp_path):
    save_phantom(studies / "one" / "one_fla.nii.gz")
    save_phantom(studies / "one" / "one_mask.nii.gz")
    done = succeed("prepare", studies, "-o", tmp_path / "out", "--like", package.folder, "--no-picture")
    assert done.err.count("note: left out") == 1
    assert f"at the end of the name: {studies / 'one' / 'one_fla.nii.gz'}\n" in done.err
    assert "one: new; T1; new grid" in done.out


def test_a_study_of_links_has_the_name_of_the_folder_of_the_links(tmp_path):
    for name in ("T1", "T2"):
        content = save_phantom(tmp_path / f"MD5-{name}.nii.gz")
        (tmp_path / "sub-01").mkdir(exist_ok=True)
        (tmp_path / "sub-01" / f"{name}.nii.gz").symlink_to(content)
    given = [(name, tmp_path / "sub-01" / f"{name}.nii.gz") for name in ("T1", "T2")]
    (case,) = find_cases(given, of_four(None, keeps_skull=True))
    assert case.names.case == "sub-01"


def test_what_a_killed_process_has_left_goes_with_the_next_run(package, studies, tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = tmp_path / "out" / f".partial-{dead.pid:06x}00-one"
    left.mkdir(parents=True)
    succeed("prepare", studies / "one", "-o", tmp_path / "out", "--like", package.folder, "--no-picture", "-q")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["one"]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(InputError, match=r"studdies: expected a folder of studies or a file, found none"):
        find_cases([(None, tmp_path / "studdies")], of_four(None, keeps_skull=True))


def test_a_full_disk_leaves_nothing_of_the_study(package, studies, small_disk):
    out = small_disk / "out"
    words = failed("prepare", studies, "-o", out, "--like", package.folder, "--no-picture")
    assert "the disk or quota is full: 1 of 2 studies were not tried" in words
    assert [path for path in out.rglob("*") if path.is_file()] == []


def test_a_full_disk_is_named_where_one_study_alone_is_prepared(package, studies, small_disk):
    out = small_disk / "out"
    words = refused(1, "prepare", studies / "one", "-o", out, "--like", package.folder, "--no-picture")
    assert f"{out / 'one' / 'one_t1.nii.gz'}: could not be written: the disk is full" in words
    assert [path for path in out.rglob("*") if path.is_file()] == []


def test_files_of_others_are_not_replaced(package, studies, tmp_path):
    (tmp_path / "out" / "one").mkdir(parents=True)
    (tmp_path / "out" / "one" / "notes.txt").write_text("mine")
    words = failed("prepare", studies, "-o", tmp_path / "out", "--like", package.folder, "--no-picture")
    assert "expected the files of an earlier run alone, got notes.txt" in words
    assert (tmp_path / "out" / "one" / "notes.txt").read_text() == "mine"


def test_a_study_is_never_replaced_by_its_results(package, studies):
    raw = (studies / "one" / "T1.nii.gz").read_bytes()
    command = ("prepare", studies / "one", "-o", studies, "--like", package.folder, "--no-picture", "--overwrite")
    assert f"{studies / 'one'}: the results of one would replace the folder of its images" in refused(2, *command)
    assert (studies / "one" / "T1.nii.gz").read_bytes() == raw


@pytest.mark.parametrize("name", ["one_brainmask.nii.gz", "one_t1.nii.gz"])
def test_files_that_were_added_or_corrected_by_hand_are_not_replaced(package, studies, tmp_path, name):
    command = ("prepare", studies / "one", "-o", tmp_path / "out", "--like", package.folder, "--no-picture")
    succeed(*command)
    (tmp_path / "out" / "one" / name).write_bytes(b"mine")
    save_phantom(studies / "one" / "T1.nii.gz")  # another image, so that the study must be prepared again
    words = refused(1, *command)
    assert f"{tmp_path / 'out' / 'one'}: expected the files of an earlier run alone, got {name}" in words
    assert (tmp_path / "out" / "one" / name).read_bytes() == b"mine"
    succeed(*command, "--overwrite")
    assert (tmp_path / "out" / "one" / "one_t1.nii.gz").read_bytes() != b"mine"


def test_a_dataset_gets_the_names_of_bids_derivatives(package, tmp_path):
    dataset = phantom_dataset(tmp_path / "raw", ["sub-01_ses-1_T1w"])
    write_image(scanned(), dataset / "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz")
    succeed("prepare", dataset, "-o", tmp_path / "out", "--like", package.folder, "--no-picture", "-q")
    folder = tmp_path / "out" / "sub-01" / "ses-1" / "anat"
    assert (folder / "sub-01_ses-1_space-reference_desc-preproc_T1w.nii.gz").is_file()
    assert (folder / "sub-01_ses-1_T1w_from-orig_to-reference_mode-image_xfm.txt").is_file()
    record = json.loads((folder / "sub-01_ses-1_preparation.json").read_bytes())
    assert record["images"] == {"T1": "sub-01_ses-1_space-reference_desc-preproc_T1w.nii.gz"}


def tree(folder: Path) -> set[str]:
    """The files and folders of a dataset."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.fixture
def dataset(tmp_path) -> Path:
    """A raw dataset of one visit."""
    raw = phantom_dataset(tmp_path / "raw", ["sub-01_T1w"])
    write_image(scanned(), raw / "sub-01/anat/sub-01_T1w.nii.gz")
    return raw


def test_prepared_images_may_be_the_derivatives_of_their_dataset(package, dataset):
    before = contents(dataset)
    out = dataset / "derivatives" / "prepared"
    command = ("prepare", dataset, "-o", out, "--like", package.folder, "--no-picture")
    assert "new; T1" in succeed(*command).out
    said = json.loads((out / "dataset_description.json").read_bytes())
    assert (said["DatasetType"], said["GeneratedBy"][0]["Name"]) == ("derivative", "brain-edge prepare")
    assert said["SourceDatasets"] == [{"URL": "../.."}]
    assert validate(out)["error"] == set()
    assert before.items() <= contents(dataset).items()
    again = succeed(*command)  # its own results are no studies
    assert again.out.count("kept; T1") == len(again.out.splitlines()) == 1
    words = refused(3, "prepare", out, "-o", dataset.parent / "out", "--like", package.folder, "--no-picture")
    assert "expected a raw dataset, got the DatasetType 'derivative'" in words


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        (".", "the output folder is the raw dataset, which is only read"),
        ("sub-01", "the output folder lies in the raw dataset"),
        ("sub-01/anat", "the output folder lies in the raw dataset"),
        ("derivatives", "where BIDS puts derivatives"),
        ("..", "the output folder contains the raw dataset"),
        ("derivatives/link", "the output folder lies in the raw dataset"),
        ("derivatives/others", "expected a new folder or prepared images, got fmriprep; choose another folder"),
    ],
)
def test_no_other_place_in_a_dataset_is_taken(package, dataset, place, reason):
    (dataset / "derivatives" / "others").mkdir(parents=True)
    (dataset / "derivatives" / "link").symlink_to(dataset / "sub-01", target_is_directory=True)
    others = {"Name": "x", "BIDSVersion": "1.11.1", "DatasetType": "derivative", "GeneratedBy": [{"Name": "fmriprep"}]}
    (dataset / "derivatives" / "others" / "dataset_description.json").write_text(json.dumps(others))
    before, files = contents(dataset), tree(dataset)
    command = ("prepare", dataset, "-o", dataset / place, "--like", package.folder, "--no-picture", "--overwrite")
    assert reason in refused(2, *command)
    assert (contents(dataset), tree(dataset)) == (before, files)


def test_a_package_without_a_preparation_is_refused(studies, tmp_path):
    plain = make_package(tmp_path / "plain")
    words = refused(2, "prepare", studies, "-o", tmp_path / "out", "--like", plain.folder)
    assert "expected a package with a preparation, got tiny, which takes images as they are" in words


def test_the_function_does_what_the_command_does(package, studies, tmp_path):
    done = brain_edge.prepare(studies, tmp_path / "by_function", like=package.folder, picture=False)
    succeed("prepare", studies, "-o", tmp_path / "by_command", "--like", package.folder, "--no-picture", "-q")
    assert [case.case for case in done.cases] == ["one", "two"]
    assert done.failed == ()
    for case in done.cases:
        name = f"{case.case}_t1.nii.gz"
        assert (case.folder / name).read_bytes() == (tmp_path / "by_command" / case.case / name).read_bytes()


def test_the_picture_shows_each_sequence(package, studies, tmp_path):
    succeed("prepare", studies / "one", "-o", tmp_path / "out", "--like", package.folder, "-q")
    assert (tmp_path / "out" / "one" / "one_preparation.png").stat().st_size > 10_000


def test_the_page_shows_each_study_failed_ones_first(package, studies, tmp_path):
    (studies / "one" / "T1.nii.gz").write_bytes(b"no <image>")
    failed("prepare", studies, "-o", tmp_path / "out", "--like", package.folder, "--page", "-q")
    page = (tmp_path / "out" / "index.html").read_text()
    assert page.index(">one<") < page.index(">two<")
    assert 'src="./two/two_preparation.png"' in page
    assert "CONTAINS PATIENT IMAGES" in page
    assert "<dt>failed</dt><dd>1</dd>" in page


@pytest.mark.parametrize("figures", [{}, {"angle_deg": 3.1}])
def test_a_record_with_fewer_figures_is_shown_as_it_is(package, studies, tmp_path, figures):
    command = ("prepare", studies / "one", "-o", tmp_path / "out", "--like", package.folder, "--no-picture")
    succeed(*command)
    path = tmp_path / "out" / "one" / "one_preparation.json"
    record = json.loads(path.read_bytes())
    record["preparation"]["judgements"] = {"T2": figures}
    path.write_text(json.dumps(record))
    assert "one: kept" in succeed(*command, "--page").out
    told = "turned by 3.1 degrees" if figures else "no figures"
    assert f"T2: {told}" in (tmp_path / "out" / "index.html").read_text()


def test_a_record_of_a_file_that_cannot_exist_prepares_the_study_again(package, studies, tmp_path):
    command = ("prepare", studies / "one", "-o", tmp_path / "out", "--like", package.folder, "--no-picture")
    succeed(*command)
    path = tmp_path / "out" / "one" / "one_preparation.json"
    record = json.loads(path.read_bytes())
    record["files"]["x" * 1000] = "ab" * 32
    path.write_text(json.dumps(record))
    assert "one: new" in succeed(*command).out


def blobs() -> Volume:
    """A small round object of 84 mm whose inside is not the same left and right; a search over it takes little time."""
    grid = Geometry((36, 36, 36), np.diag([3.0, 3.0, 3.0, 1.0]) - np.outer([52.5, 52.5, 52.5, 0], [0, 0, 0, 1]))
    noise = gaussian_filter(np.random.default_rng(1).normal(size=grid.shape), 1.5)
    index = np.indices(grid.shape) - 17.5
    inside = np.linalg.norm(index, axis=0) < 14
    return Volume(np.where(inside, 100 + 400 * noise / noise.std() / 8, 0), grid, "blobs")


def test_a_moved_sequence_is_found_and_interpolated_onto_the_grid():
    pytest.importorskip("SimpleITK")
    fixed, there = blobs(), Rigid(TURN)
    moved = resample_through(fixed, there.inverse(), fixed.geometry)
    study = brain_edge.Study.of(T1=fixed, T2=Volume(500 - moved.voxels, moved.geometry, "T2"))
    prepared = Preparer(Preparation(references=("T1",), spacing_mm=2.0), {}, 1)(study)
    points = np.array([[x, y, z] for x in (-25, 25) for y in (-25, 25) for z in (-25, 25)], dtype=float)
    apart = prepared.transforms["T2"].moved(points) - there.moved(points)
    assert np.linalg.norm(apart, axis=1).mean() < 0.5
    assert prepared.study.volumes["T2"].geometry.same_grid(prepared.study.volumes["T1"].geometry)
    assert prepared.parts == (Part.SEQUENCES, Part.GRID)
    assert set(prepared.judgements) == {"T2"}


@dataclass(frozen=True)
class Ball:
    """A stage 0 that takes for a brain what differs from the first corner of an image."""

    contrasts: tuple[Contrast, ...]
    name: str = "ball"
    digest: str = "0"

    def __call__(self, volume: Volume) -> tuple[Mask, tuple[Flag, ...]]:
        return Mask((volume.voxels != volume.voxels[0, 0, 0]).astype(np.uint8), volume.geometry), ()


@pytest.mark.parametrize("contrast", [Contrast.T1W, Contrast.ANY])
def test_brains_are_compared_as_far_as_stage_0_is_made_for_them(monkeypatch, contrast):
    """The search is left out: the images lie over each other."""
    monkeypatch.setattr("brain_edge.preparation.transforms.register", lambda *_images, **_options: Rigid.identity())
    monkeypatch.setattr("brain_edge.preparation.work.is_stripped", lambda _study: False)
    fixed = blobs()
    study = brain_edge.Study.of(T1=fixed, T2=Volume(500 - fixed.voxels, fixed.geometry, "T2"))
    contrasts = {"T1": (Contrast.T1W,), "T2": (Contrast.T2W,)}
    prepared = Preparer(Preparation(references=("T1",), spacing_mm=2.0), contrasts, 1, stripper=Ball((contrast,)))(
        study
    )
    if contrast is Contrast.ANY:
        assert prepared.judgements["T2"]["overlap"] > 0.99
        assert prepared.not_compared == {}
    else:
        assert "overlap" not in prepared.judgements["T2"]
        assert prepared.not_compared["T2"] == (
            "The brains of T2 and T1 were not compared: stage 0, ball, is made for T1w, not for T2. A stage 0 of any "
            "contrast compares them."
        )
        assert record_of(prepared, Preparation(references=("T1",))).not_compared == prepared.not_compared


@pytest.mark.full  # three seconds; registration/test_register refuses the same
def test_a_sequence_of_something_else_is_refused():
    pytest.importorskip("SimpleITK")
    fixed = blobs()
    mirrored = Volume(500 - fixed.voxels[::-1], fixed.geometry, "mirrored")
    study = brain_edge.Study.of(T1=fixed, T2=mirrored)
    with pytest.raises(InputError, match="mirrored: T2 on T1: "):
        Preparer(Preparation(references=("T1",), spacing_mm=2.0), {}, 1)(study)
