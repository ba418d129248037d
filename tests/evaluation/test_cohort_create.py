from __future__ import annotations

import gzip
import zlib
from codecs import BOM_UTF8
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import pytest
from cohorts import SHAPE, head, save
from hypothesis import given
from hypothesis import strategies as st
from present import present

from brain_edge.errors import InputError, OutputError
from brain_edge.evaluation.cohort import (
    CheckedCase,
    CohortPlan,
    Grouping,
    Split,
    check_cohort,
    create_cohort,
    load_cohort,
)
from brain_edge.evaluation.cohort.cases import load_case
from brain_edge.evaluation.cohort.create import assign_splits

if TYPE_CHECKING:
    from pathlib import Path

MASK = np.ones(SHAPE, np.uint8)


def _images(folder: Path, *names: str) -> None:
    """Write an image or, where the name says so, a mask for each path below the folder."""
    for name in names:
        is_mask = "mask" in name or "gold" in name
        save(folder / name, MASK if is_mask else head(zlib.crc32(name.encode())))


def _three_subjects(folder: Path) -> None:
    _images(folder, "p1/v1_T1.nii.gz", "p1/v1_T1_brainmask.nii.gz", "p1/v2_T1.nii.gz", "p1/v2_T1_brainmask.nii.gz")
    _images(folder, "p2/v1_T1.nii.gz", "p2/v1_T1_brainmask.nii.gz", "p3/v1_T1.nii.gz")


def test_a_plain_folder_becomes_a_cohort_that_checks(tmp_path: Path):
    _three_subjects(tmp_path)
    create_cohort(tmp_path, tmp_path / "cohort.toml", CohortPlan("site"))
    cohort = load_cohort(tmp_path / "cohort.toml")
    cases = cohort.cases()
    assert [case.title.partition(": ")[2] for case in cases] == ["p1 v1 T1", "p1 v2 T1", "p2 v1 T1", "p3 v1 T1"]
    assert [case.has_reference for case in cases] == [True, True, True, False]
    assert cases[0].entry.inputs["T1"].source == "p1/v1_T1.nii.gz"
    assert all(isinstance(case, CheckedCase) for case in check_cohort(cohort))


def test_a_mask_that_nibabel_scales_to_bytes_is_whole(tmp_path: Path):
    """A mask of floats becomes bytes in nibabel, 0 and 255 with a float32 slope: 1 comes back as 1.00000006."""
    _three_subjects(tmp_path)
    mask = np.zeros(SHAPE)
    mask[2:5, 2:5, 2:5] = 1
    image = nib.Nifti1Image(mask, nib.load(tmp_path / "p1/v1_T1.nii.gz").affine)
    image.set_data_dtype(np.uint8)
    nib.save(image, tmp_path / "p1/v1_T1_brainmask.nii.gz")
    assert np.asanyarray(nib.load(tmp_path / "p1/v1_T1_brainmask.nii.gz").dataobj).max() != 1
    create_cohort(tmp_path, tmp_path / "cohort.toml", CohortPlan("site"))
    case = load_cohort(tmp_path / "cohort.toml").cases()[0]
    _, reference = load_case(case)
    assert reference is not None
    np.testing.assert_array_equal(reference.labels, mask)


def test_a_mask_whose_quaternion_is_rounded_past_one_belongs_to_its_image(tmp_path: Path):
    """The same reader as that of `run`: a mask with this qform alone lies on the grid of its image."""
    _three_subjects(tmp_path)
    for name, is_mask in (("v1_T1", False), ("v1_T1_brainmask", True)):
        image = nib.Nifti1Image(MASK if is_mask else head(1).astype(np.float32), np.diag([-1, -1, 1, 1]))
        image.header["sform_code"], image.header["qform_code"] = 0, 1
        image.header["quatern_b"], image.header["quatern_c"] = 0, 0
        image.header["quatern_d"] = np.sqrt(1 + 5e-6) if is_mask else 1
        image.header["vox_offset"] = 352
        voxels = np.asarray(image.dataobj).tobytes(order="F")
        (tmp_path / f"p1/{name}.nii.gz").write_bytes(gzip.compress(image.header.binaryblock + bytes(4) + voxels))
    cohort = create_cohort(tmp_path, tmp_path / "cohort.toml", CohortPlan("site"))
    assert [case.has_reference for case in cohort.cases()] == [True, True, True, False]
    assert all(isinstance(case, CheckedCase) for case in check_cohort(cohort))


def test_a_manifest_saved_with_a_byte_order_mark_is_read(tmp_path: Path):
    _three_subjects(tmp_path)
    path = tmp_path / "cohort.toml"
    create_cohort(tmp_path, path, CohortPlan("site"))
    plain = load_cohort(path).manifest
    path.write_bytes(BOM_UTF8 + path.read_bytes())
    assert load_cohort(path).manifest == plain


def test_a_manifest_elsewhere_names_its_files_by_full_paths(tmp_path: Path):
    _three_subjects(tmp_path / "heads")
    (tmp_path / "manifests").mkdir()
    cohort = create_cohort(tmp_path / "heads", tmp_path / "manifests/site.toml", CohortPlan("site"))
    assert cohort.cases()[0].entry.inputs["T1"].source == (tmp_path / "heads/p1/v1_T1.nii.gz").resolve().as_posix()
    assert all(isinstance(case, CheckedCase) for case in check_cohort(load_cohort(cohort.path)))


def test_a_subject_behind_a_symbolic_link_is_found_and_named_by_the_link(tmp_path: Path):
    _three_subjects(tmp_path / "heads")
    _images(tmp_path / "elsewhere", "T1.nii.gz")
    (tmp_path / "heads/p4").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    cohort = create_cohort(tmp_path / "heads", tmp_path / "heads/c.toml", CohortPlan("site"))
    assert cohort.cases()[-1].entry.inputs["T1"].source == "p4/T1.nii.gz"


def test_subjects_without_masks_calibrate_because_that_needs_none(tmp_path: Path):
    _three_subjects(tmp_path)
    for seed in range(5):
        cohort = create_cohort(tmp_path, tmp_path / "cohort.toml", CohortPlan("site", seed=seed))
        assert [case.entry.subject for case in cohort.cases(Split.CALIBRATION)] == ["p3"]


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_subjects_are_refused_with_the_number_missing(tmp_path: Path, count: int):
    for number in range(count):
        _images(tmp_path, f"p{number}/T1.nii.gz")
    words = rf"expected at least 3 subjects, .* found {count}: {3 - count} more needed"
    with pytest.raises(InputError, match=words):
        create_cohort(tmp_path, tmp_path / "cohort.toml", CohortPlan("site"))
    assert not (tmp_path / "cohort.toml").exists()


def test_the_images_of_a_visit_are_one_case_for_a_model_of_several_sequences(tmp_path: Path):
    for subject in ("p1", "p2", "p3"):
        _images(tmp_path, *(f"{subject}/{name}.nii.gz" for name in ("T1", "FLAIR", "T2", "gold")))
    plan = CohortPlan("site", grouping=Grouping.VISIT, sequences=("FLAIR", "T1"), mask_pattern="gold")
    cohort = create_cohort(tmp_path, tmp_path / "cohort.toml", plan)
    assert len(cohort.cases()) == 3
    assert all(list(case.inputs) == ["FLAIR", "T1"] and case.has_reference for case in cohort.cases())


def test_a_visit_without_one_of_the_sequences_is_refused(tmp_path: Path):
    _images(tmp_path, "p1/T1.nii.gz", "p1/T2.nii.gz", "p2/T1.nii.gz", "p3/T1.nii.gz", "p3/T2.nii.gz")
    plan = CohortPlan("site", grouping=Grouping.VISIT, sequences=("T1", "T2"))
    with pytest.raises(InputError, match=r"p2: expected one T2 per visit, found 0 among T1; add or remove images"):
        create_cohort(tmp_path, tmp_path / "cohort.toml", plan)


def test_grouping_by_visit_asks_for_the_sequences(tmp_path: Path):
    _three_subjects(tmp_path)
    with pytest.raises(InputError, match="expected the sequences of a visit, got none; name each with --sequence"):
        create_cohort(tmp_path, tmp_path / "cohort.toml", CohortPlan("site", grouping=Grouping.VISIT))


def test_a_sequence_that_no_image_has_is_refused_with_those_there_are(tmp_path: Path):
    _three_subjects(tmp_path)
    with pytest.raises(InputError, match="there is no sequence FLAIR; choose among T1"):
        create_cohort(tmp_path, tmp_path / "cohort.toml", CohortPlan("site", sequences=("FLAIR",)))


def test_masks_are_paired_by_a_pattern(tmp_path: Path):
    for subject in ("p1", "p2", "p3"):
        _images(tmp_path, f"{subject}/T1.nii.gz", f"{subject}/mask_of_T1.nii.gz")
    cohort = create_cohort(tmp_path, tmp_path / "c.toml", CohortPlan("site", mask_pattern="mask_of_{image}"))
    assert len(cohort.cases()) == 3
    assert all(case.has_reference for case in cohort.cases())


def test_a_pattern_that_fits_nothing_is_refused(tmp_path: Path):
    _three_subjects(tmp_path)
    with pytest.raises(InputError, match=r"no image has a mask named '\{image\}_roi'"):
        create_cohort(tmp_path, tmp_path / "c.toml", CohortPlan("site", mask_pattern="{image}_roi"))


def test_a_mask_without_its_image_is_refused(tmp_path: Path):
    _three_subjects(tmp_path)
    _images(tmp_path, "p3/v9_T1_brainmask.nii.gz")
    with pytest.raises(InputError, match=r"v9_T1_brainmask\.nii\.gz: found no image for this mask"):
        create_cohort(tmp_path, tmp_path / "c.toml", CohortPlan("site"))


def test_an_image_outside_of_a_subjects_folder_is_refused(tmp_path: Path):
    _three_subjects(tmp_path)
    _images(tmp_path, "stray.nii.gz")
    with pytest.raises(
        InputError, match=r"stray\.nii\.gz: expected a folder per subject, got an image without a subject"
    ):
        create_cohort(tmp_path, tmp_path / "c.toml", CohortPlan("site"))


@pytest.mark.parametrize("exists", [True, False])
def test_a_folder_without_images_is_refused(tmp_path: Path, exists: bool):
    folder = tmp_path if exists else tmp_path / "nowhere"
    with pytest.raises(
        InputError, match="found none" if exists else "expected a folder of images, found no such folder"
    ):
        create_cohort(folder, tmp_path / "c.toml", CohortPlan("site"))


def test_an_unusable_image_is_named_and_nothing_is_written(tmp_path: Path):
    _three_subjects(tmp_path)
    save(tmp_path / "p2/v1_T1_brainmask.nii.gz", MASK[:-1])
    with pytest.raises(
        InputError, match=r"p2/v1_T1_brainmask\.nii\.gz: expected the grid .*12 x 14 x 13 .*, got 11 x 14 x 13"
    ):
        create_cohort(tmp_path, tmp_path / "c.toml", CohortPlan("site"))
    assert not (tmp_path / "c.toml").exists()


def test_a_cohort_name_that_no_command_could_take_is_refused(tmp_path: Path):
    _three_subjects(tmp_path)
    with pytest.raises(InputError, match=r"name: expected a text matching regex"):
        create_cohort(tmp_path, tmp_path / "c.toml", CohortPlan("my site"))


def test_a_manifest_that_cannot_be_written_says_so(tmp_path: Path):
    _three_subjects(tmp_path)
    with pytest.raises(OutputError, match="does not exist"):
        create_cohort(tmp_path, tmp_path / "nowhere/c.toml", CohortPlan("site"))


def _bids(folder: Path) -> None:
    save(folder / "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz", head(1))
    save(folder / "sub-01/ses-1/anat/sub-01_ses-1_ce-gd_T1w.nii.gz", head(2))
    save(folder / "sub-01/ses-1/anat/sub-01_ses-1_FLAIR.nii.gz", head(3)[:, :, :-1])
    save(folder / "sub-01/ses-1/func/sub-01_ses-1_task-rest_bold.nii.gz", head(4))
    save(folder / "sub-02/anat/sub-02_T1w.nii.gz", head(5))
    save(folder / "sub-03/anat/sub-03_T1w.nii.gz", head(6))
    save(folder / "sub-03/anat/sub-03_T1map.nii.gz", head(7))
    save(folder / "derivatives/tool/sub-01/anat/sub-01_ses-1_desc-brain_mask.nii.gz", MASK)
    save(folder / "derivatives/tool/sub-03/anat/sub-03_desc-brain_mask.nii.gz", MASK)
    (folder / "dataset_description.json").write_text('{"Name": "tiny", "BIDSVersion": "1.9.0"}')


def test_a_bids_dataset_tells_subject_visit_and_sequence_in_its_names(tmp_path: Path):
    _bids(tmp_path)
    cases = create_cohort(tmp_path, tmp_path / "c.toml", CohortPlan("bids")).cases()
    found = {(case.entry.subject, case.entry.visit, *case.inputs): case.has_reference for case in cases}
    assert found == {
        ("sub-01", "ses-1", "T1w"): True,
        ("sub-01", "ses-1", "FLAIR"): False,  # the mask of the visit is not on its grid
        ("sub-01", "ses-1", "ce-gd_T1w"): False,  # its mask would be called ..._ce-gd_desc-brain_mask
        ("sub-02", "", "T1w"): False,
        ("sub-03", "", "T1w"): True,
    }


def test_two_masks_of_one_bids_image_are_refused(tmp_path: Path):
    _bids(tmp_path)
    save(tmp_path / "derivatives/other/sub-03/anat/sub-03_desc-brain_mask.nii.gz", MASK)
    with pytest.raises(InputError, match=r"expected one mask per image, found also .*; keep one of them"):
        create_cohort(tmp_path, tmp_path / "c.toml", CohortPlan("bids"))


NAMES = (
    "{entities}_desc-brain_mask",  # fMRIPrep
    "{entities}_{suffix}_brainmask",  # fMRIPrep before 1.2
    "{entities}_space-orig_desc-brain_mask",  # this program
    "{entities}_space-orig_desc-brain{suffix}_mask",  # this program, of a model that declares another type
    "{entities}_{suffix}_mask",  # this program, of a folder of images
    "{entities}_{suffix}_bet_mask",  # HD-BET 1
    "{entities}_{suffix}_bet",  # HD-BET 2
)


def _bids_of(
    folder: Path, name: str, orientation: str = "RAS", dtype: type[np.generic] = np.uint8
) -> dict[str, np.ndarray]:
    """Three subjects with a mask each in the derivatives, stored in an orientation; the masks in that of the images."""
    masks = {}
    (folder / "dataset_description.json").write_text('{"Name": "tiny", "BIDSVersion": "1.9.0"}')
    for number, entities in enumerate(["sub-01_ses-1_acq-x_run-2", "sub-02", "sub-03_chunk-1"], start=1):
        image = save(folder / f"sub-0{number}/anat/{entities}_T1w.nii.gz", head(number))
        mask = (np.random.default_rng(number).random(SHAPE) > 0.5).astype(dtype)
        masks[f"sub-0{number}"] = mask
        stored = nib.Nifti1Image(mask, nib.load(image).affine)
        moves = nib.orientations.ornt_transform(
            nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(orientation)
        )
        place = folder / f"derivatives/tool/sub-0{number}/anat"
        place.mkdir(parents=True)
        own = f"{name.format(entities=entities, suffix='T1w')}.nii.gz"
        if "space-orig" in own:  # BIDS: `space-` stands before `chunk-`
            own = own.replace("_chunk-1_space-orig", "_space-orig_chunk-1")
        nib.save(stored.as_reoriented(moves), place / own)
        nib.save(stored, place / f"{entities}_space-MNI152NLin2009cAsym_desc-brain_mask.nii.gz")
    return masks


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("orientation", ["RAS", "LIA"])
def test_masks_of_every_naming_are_found_in_whatever_order_their_voxels_lie(
    tmp_path: Path, name: str, orientation: str
):
    """Nibabel stores them; the voxels that come back are those of the mask on the image's own grid."""
    masks = _bids_of(tmp_path, name, orientation)
    cases = create_cohort(tmp_path, tmp_path / "c.toml", CohortPlan("bids")).cases()
    assert len(cases) == 3
    for case in cases:
        study, mask = load_case(case)
        assert mask is not None
        np.testing.assert_array_equal(mask.labels, masks[case.entry.subject])
        assert mask.geometry.same_grid(study.geometry)


@pytest.mark.parametrize("pattern", ["{image}_desc-brain_mask", "{image}_T1w_roi"])
def test_a_pattern_of_bids_fills_in_entities_or_the_whole_name(tmp_path: Path, pattern: str):
    _bids_of(tmp_path, pattern.replace("{image}", "{entities}"), "LPI")
    pattern = pattern.replace("{image}_T1w", "{image}")
    cases = create_cohort(tmp_path, tmp_path / "c.toml", CohortPlan("bids", mask_pattern=pattern)).cases()
    assert all(case.has_reference for case in cases)


def test_a_mask_that_no_image_of_its_name_fits_is_refused_with_both_grids(tmp_path: Path):
    _bids(tmp_path)
    save(tmp_path / "derivatives/tool/sub-02/anat/sub-02_desc-brain_mask.nii.gz", MASK[:, :, :-2])
    words = r"sub-02_desc-brain_mask.*the grid of its image .*\(12 x 14 x 13 voxels of .*\), got 12 x 14 x 11 voxels"
    with pytest.raises(InputError, match=words):
        create_cohort(tmp_path, tmp_path / "c.toml", CohortPlan("bids"))


def test_a_skull_stripped_image_is_no_mask_and_no_image(tmp_path: Path):
    """HD-BET 1 calls it what HD-BET 2 calls its mask; beside the mask it is left out, alone it is refused."""
    for subject in ("p1", "p2", "p3"):
        _images(tmp_path, f"{subject}/T1.nii.gz", f"{subject}/T1_bet_mask.nii.gz")
        save(tmp_path / f"{subject}/T1_bet.nii.gz", head(8))
    cases = create_cohort(tmp_path, tmp_path / "c.toml", CohortPlan("site")).cases()
    assert [list(case.inputs) for case in cases] == [["T1"]] * 3
    assert all(present(case.entry.reference).source.endswith("T1_bet_mask.nii.gz") for case in cases)
    (tmp_path / "p2/T1_bet_mask.nii.gz").unlink()
    with pytest.raises(InputError, match=r"p2/T1_bet\.nii\.gz: expected a mask of HD-BET"):
        create_cohort(tmp_path, tmp_path / "c.toml", CohortPlan("site"))


def test_an_image_whose_suffix_is_in_capitals_keeps_its_mask(tmp_path: Path):
    """What `run` takes as an image is one here, too, and `.mgh` as well as `.mgz`."""
    _three_subjects(tmp_path)
    (tmp_path / "p2/v1_T1.nii.gz").rename(tmp_path / "p2/v1_T1.NII.GZ")
    nib.save(nib.MGHImage(head(77), np.diag([16.0, 16, 16, 1])), tmp_path / "p3/v2_T1.mgh")
    cases = create_cohort(tmp_path, tmp_path / "c.toml", CohortPlan("site")).cases()
    assert [case.has_reference for case in cases] == [True, True, True, False, False]


def test_the_folder_of_a_session_may_be_a_link(tmp_path: Path):
    _bids(tmp_path / "data")
    (tmp_path / "data/sub-02/anat").rename(tmp_path / "elsewhere")
    (tmp_path / "data/sub-02/anat").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    cases = create_cohort(tmp_path / "data", tmp_path / "data/c.toml", CohortPlan("bids")).cases()
    assert "sub-02/anat/sub-02_T1w.nii.gz" in [
        case.entry.inputs["T1w"].source for case in cases if "T1w" in case.inputs
    ]


def test_a_mask_on_the_grid_of_a_later_sequence_of_a_visit_is_not_dropped(tmp_path: Path):
    for subject in ("p1", "p2", "p3"):
        _images(tmp_path, f"{subject}/T1.nii.gz", f"{subject}/gold.nii.gz")
        save(tmp_path / f"{subject}/FLAIR.nii.gz", head(zlib.crc32(subject.encode()))[:, :, :-1])
    plan = CohortPlan("site", grouping=Grouping.VISIT, sequences=("FLAIR", "T1"), mask_pattern="gold")
    with pytest.raises(
        InputError, match=r"gold\.nii\.gz: expected a mask on the grid of FLAIR, got the grid of T1; name T1 first"
    ):
        create_cohort(tmp_path, tmp_path / "c.toml", plan)


SUBJECTS = st.dictionaries(st.text(min_size=1, max_size=5), st.booleans(), min_size=3, max_size=40)


@given(SUBJECTS, st.integers(0, 2**31))
def test_every_subject_gets_one_split_and_no_split_is_empty(tmp_path_factory, subjects: dict[str, bool], seed: int):
    folder = tmp_path_factory.getbasetemp()
    splits = assign_splits(subjects, seed, folder)
    assert set(splits) == set(subjects)
    assert set(splits.values()) == set(Split)
    backwards = dict(reversed(subjects.items()))
    assert assign_splits(backwards, seed, folder) == splits


def test_the_seed_changes_the_split_and_nothing_else_does(tmp_path: Path):
    subjects = {f"p{number}": True for number in range(10)}
    drawn = {tuple(assign_splits(subjects, seed, tmp_path).items()) for seed in range(8)}
    assert len(drawn) == 8
    sizes = {split: list(assign_splits(subjects, 0, tmp_path).values()).count(split) for split in Split}
    assert sizes == {Split.CALIBRATION: 2, Split.VALIDATION: 3, Split.TEST: 5}
