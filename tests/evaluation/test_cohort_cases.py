from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import nibabel as nib
import numpy as np
import pytest
from cohorts import SHAPE, file_entry, head, make_case, save, save_manifest, threshold_spec
from phantoms import save_with_fields

from brain_edge.errors import GeometryError, InputError, UsageError
from brain_edge.evaluation.cohort import (
    CaseEntry,
    CheckedCase,
    FileEntry,
    RefusedCase,
    Split,
    check_case,
    check_cohort,
    fetch_cohort,
    load_case,
    load_cohort,
    require_cases,
    resolve,
    shipped_cohorts,
    study_for,
)
from brain_edge.evaluation.cohort.sources import find_file
from brain_edge.image.volume import Study, Volume
from brain_edge.spec import Task

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from brain_edge.evaluation.cohort import Cohort


def _cohort(folder: Path, *cases: CaseEntry, **header: object) -> Cohort:
    return load_cohort(save_manifest(folder, *cases, **header))


def test_a_case_is_its_images_and_its_mask_as_nibabel_reads_them(tmp_path: Path):
    mask = (head() > 400).astype(np.uint8)
    (case,) = _cohort(tmp_path, make_case(tmp_path, "a", voxels=head(), mask=mask)).cases()
    study, reference = load_case(case)
    assert reference is not None
    np.testing.assert_array_equal(study.volumes["T1"].voxels, nib.load(tmp_path / "a/T1.nii.gz").get_fdata())
    np.testing.assert_array_equal(reference.labels, mask)
    assert reference.geometry.same_grid(study.geometry)


def test_cases_keep_their_number_whatever_split_is_asked_for(tmp_path: Path):
    entries = [
        make_case(tmp_path, name, split)
        for name, split in (("a", Split.TEST), ("b", Split.CALIBRATION), ("c", Split.TEST))
    ]
    cohort = _cohort(tmp_path, *entries)
    assert [case.number for case in cohort.cases()] == [1, 2, 3]
    assert [case.number for case in cohort.cases(Split.TEST)] == [1, 3]


def test_a_split_without_cases_is_refused_with_the_counts(tmp_path: Path):
    cohort = _cohort(tmp_path, make_case(tmp_path, "a"))
    with pytest.raises(InputError, match=r"has no validation case \(calibration: 0, validation: 0, test: 1\)"):
        cohort.cases(Split.VALIDATION)


def test_the_first_of_the_cohorts_sequences_gives_the_grid_whatever_the_case_lists_first(tmp_path: Path):
    t2, t1 = save(tmp_path / "T2.nii.gz", head(2)), save(tmp_path / "T1.nii.gz", head(1))
    entry = CaseEntry(
        subject="a", split=Split.TEST, inputs={"T2": file_entry(t2, tmp_path), "T1": file_entry(t1, tmp_path)}
    )
    (case,) = _cohort(tmp_path, entry, sequences=("T1", "T2")).cases()
    assert list(resolve(case).inputs) == ["T1", "T2"]
    assert load_case(case)[0].reference == "T1"


def test_a_changed_image_and_a_changed_mask_are_refused(tmp_path: Path):
    cohort = _cohort(tmp_path, make_case(tmp_path, "a", mask=np.ones(SHAPE, np.uint8)))
    save(tmp_path / "a/T1_mask.nii.gz", np.zeros(SHAPE, np.uint8))
    with pytest.raises(InputError, match=r"T1_mask\.nii\.gz: expected the file of the cohort .* with SHA-256"):
        resolve(cohort.cases()[0])


def test_a_missing_file_is_refused(tmp_path: Path):
    cohort = _cohort(tmp_path, make_case(tmp_path, "a"))
    (tmp_path / "a/T1.nii.gz").unlink()
    with pytest.raises(InputError, match=r"T1\.nii\.gz: expected a file of the cohort .*, found no such file"):
        resolve(cohort.cases()[0])


def test_a_name_that_no_disk_takes_is_a_missing_file(tmp_path: Path):
    entry = FileEntry(source=f"T1{'9' * 2000}.nii.gz", sha256="0" * 64)
    with pytest.raises(InputError, match=r"expected a file of the cohort mine, found no such file"):
        find_file(entry, tmp_path, "mine")


def test_a_variable_leads_to_the_files_and_is_named_where_it_is_not_set(tmp_path: Path, monkeypatch):
    entry = make_case(tmp_path / "store", "a")
    image = msgspec.structs.replace(entry.inputs["T1"], source="$HEADS_HERE/a/T1.nii.gz")
    cohort = _cohort(tmp_path, msgspec.structs.replace(entry, inputs={"T1": image}))
    monkeypatch.setenv("HEADS_HERE", str(tmp_path / "store"))
    assert resolve(cohort.cases()[0]).inputs["T1"] == tmp_path / "store/a/T1.nii.gz"
    monkeypatch.delenv("HEADS_HERE")
    with pytest.raises(
        InputError, match=r"needs the environment variable HEADS_HERE, which is not set; .*contains a/T1"
    ):
        resolve(cohort.cases()[0])


def test_a_source_in_a_registry_is_never_downloaded_by_looking_at_a_case(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("BRAIN_EDGE_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=r"is not on this machine; download it with brain-edge cohort fetch mni152"):
        resolve(load_cohort("mni152").cases()[0])


def test_local_files_need_no_fetching(tmp_path: Path):
    assert fetch_cohort(_cohort(tmp_path, make_case(tmp_path, "a"))) == ()


@pytest.mark.full  # test_fetch has small archives in CI
@pytest.mark.network
def test_the_demonstration_head_is_fetched_once_and_then_read_without_network(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("BRAIN_EDGE_CACHE", str(tmp_path))
    told: list[str] = []
    cohort = load_cohort("mni152")
    assert len(fetch_cohort(cohort, told.append)) == 2
    assert len(told) == 1
    checked = check_cohort(cohort)
    assert all(isinstance(case, CheckedCase) and case.labels == (1,) for case in checked)


def test_a_mask_on_another_grid_is_refused_with_both_grids(tmp_path: Path):
    entry = make_case(tmp_path, "a")
    mask = save(tmp_path / "mask.nii.gz", np.ones(SHAPE, np.uint8), spacing_mm=15.0)
    cohort = _cohort(tmp_path, msgspec.structs.replace(entry, reference=file_entry(mask, tmp_path)))
    with pytest.raises(
        InputError, match=r"on the grid of T1 .*16 x 16 x 16 mm, RAS\), got 12 x 14 x 13 voxels of 15 x 15 x 15 mm"
    ):
        load_case(cohort.cases()[0])


def test_a_mask_without_a_lesion_is_a_good_reference(tmp_path: Path):
    (case,) = _cohort(tmp_path, make_case(tmp_path, "a", mask=np.zeros(SHAPE, np.uint8))).cases()
    _, reference = load_case(case)
    assert reference is not None
    assert not reference.labels.any()


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_labels_are_mapped_as_the_cohort_says_in_any_voxel_type(tmp_path: Path, dtype: type[np.generic]):
    mask = np.zeros(SHAPE, dtype)
    mask[2, 2, 2], mask[3, 3, 3], mask[4, 4, 4] = 1, 4, 2
    (case,) = _cohort(tmp_path, make_case(tmp_path, "a", mask=mask), labels={"1": 1, "4": 3, "2": 0}).cases()
    _, reference = load_case(case)
    assert reference is not None
    assert reference.labels.dtype == np.uint8
    assert [int(reference.labels[n, n, n]) for n in (2, 3, 4)] == [1, 3, 0]


@pytest.mark.parametrize(
    ("value", "labels", "words"),
    [
        (4, {"1": 1}, r"expected the values 0, 1 in the reference mask, got 4; add the value to the cohort's `labels`"),
        (255.5, {}, "expected a reference mask of whole numbers, got fractions"),
        (np.nan, {}, "expected a reference mask of whole numbers, got fractions or NaN"),
        (-1, {}, "expected the values 0 to 255 in the reference mask, got -1"),
        (1000, {}, "expected the values 0 to 255 in the reference mask, got 1000"),
    ],
)
def test_a_mask_value_that_means_nothing_is_refused(tmp_path: Path, value: float, labels: dict, words: str):
    mask = np.zeros(SHAPE, np.float32)
    mask[5, 5, 5] = value
    (case,) = _cohort(tmp_path, make_case(tmp_path, "a", mask=mask), labels=labels).cases()
    with pytest.raises(InputError, match=words):
        load_case(case)


def test_a_mask_that_is_no_image_is_refused(tmp_path: Path):
    entry = make_case(tmp_path, "a")
    (tmp_path / "mask.nii.gz").write_bytes(b"not an image")
    reference = file_entry(tmp_path / "mask.nii.gz", tmp_path)
    (case,) = _cohort(tmp_path, msgspec.structs.replace(entry, reference=reference)).cases()
    with pytest.raises(InputError, match=r"mask\.nii\.gz: expected a NIfTI .* image, got a file that begins with"):
        load_case(case)


def test_a_mask_whose_place_in_the_world_is_not_known_is_refused(tmp_path: Path):
    path = save_with_fields(tmp_path / "mask.nii", np.ones(SHAPE, np.uint8), sform_code=0, qform_code=0)
    entry = msgspec.structs.replace(make_case(tmp_path, "a"), reference=file_entry(path, tmp_path))
    (case,) = _cohort(tmp_path, entry).cases()
    with pytest.raises(GeometryError, match=r"mask\.nii: expected an orientation, got none"):
        load_case(case)


def test_a_mask_of_several_volumes_is_refused(tmp_path: Path):
    (case,) = _cohort(tmp_path, make_case(tmp_path, "a", mask=np.ones((*SHAPE, 2), np.uint8))).cases()
    with pytest.raises(InputError, match="expected one volume, got 2 in one file"):
        load_case(case)


def test_checking_a_cohort_finds_every_bad_case(tmp_path: Path):
    broken = head()
    broken[0, 0, 0] = np.nan
    cohort = _cohort(
        tmp_path,
        make_case(tmp_path, "nan", voxels=broken),
        make_case(tmp_path, "good", mask=np.ones(SHAPE, np.uint8)),
        make_case(tmp_path, "gone"),
    )
    (tmp_path / "gone/T1.nii.gz").unlink()
    told: list[str] = []
    nan, good, gone = check_cohort(cohort, told.append)
    assert isinstance(nan, RefusedCase)
    assert "NaN" in nan.problem
    assert isinstance(good, CheckedCase)
    assert (good.shape, good.labels) == (SHAPE, (1,))
    assert isinstance(gone, RefusedCase)
    assert [line.partition(":")[0] for line in told] == [f"checking case {n} of 3" for n in (1, 2, 3)]


def test_cases_are_checked_against_the_labels_of_the_model(tmp_path: Path):
    cohort = _cohort(tmp_path, make_case(tmp_path, "a", mask=np.full(SHAPE, 255, np.uint8)))
    with pytest.raises(InputError, match=r"threshold \(1 bright\) in the reference mask, got 255; map the values"):
        require_cases(cohort.cases(), threshold_spec(0.5))


def test_a_case_without_the_models_sequences_is_refused(tmp_path: Path):
    cohort = _cohort(tmp_path, make_case(tmp_path, "a"))
    with pytest.raises(InputError, match="the model threshold takes T1, FLAIR, got T1; missing: FLAIR"):
        require_cases(cohort.cases(), threshold_spec(0.5, inputs=("T1", "FLAIR")))


def _two_sequences(folder: Path, mask_on: str) -> CaseEntry:
    images = {
        "T1": save(folder / "T1.nii.gz", head(1)),
        "T2": save(folder / "T2.nii.gz", head(2)[:, :, :-2]),
    }
    mask = save(folder / "mask.nii.gz", np.ones(nib.load(images[mask_on]).shape, np.uint8))
    return CaseEntry(
        subject="a",
        split=Split.TEST,
        inputs={name: file_entry(path, folder) for name, path in images.items()},
        reference=file_entry(mask, folder),
    )


def test_a_model_of_one_channel_takes_its_own_sequence_of_a_larger_case(tmp_path: Path):
    (case,) = _cohort(tmp_path, _two_sequences(tmp_path, "T2"), sequences=("T2", "T1")).cases()
    given = study_for(load_case(case)[0], threshold_spec(0.5, inputs=("T2",)))
    assert isinstance(given, Study)
    assert list(given.volumes) == ["T2"]


def test_a_mask_on_the_grid_of_an_image_that_the_model_does_not_take_is_refused(tmp_path: Path):
    (case,) = _cohort(tmp_path, _two_sequences(tmp_path, "T1"), sequences=("T1", "T2")).cases()
    with pytest.raises(InputError, match=r"got the grid of T1, which threshold does not take.*List T2 first"):
        check_case(case, threshold_spec(0.5, inputs=("T2",)))


def test_a_model_of_one_channel_takes_a_case_of_one_image_whatever_its_name(tmp_path: Path):
    entry = make_case(tmp_path, "a", sequence="FLAIR")
    (case,) = _cohort(tmp_path, entry, sequences=("FLAIR",)).cases()
    assert isinstance(study_for(load_case(case)[0], threshold_spec(0.5)), Volume)
    assert check_case(case, threshold_spec(0.5)).shape == SHAPE


def test_shipped_cohorts_are_found_by_name_and_called_like_their_files():
    names = shipped_cohorts()
    assert {"ms-longitudinal", "ms-cross-lesion", "tcga-fg-6692-raw", "brainchop-t1", "mni152"} <= set(names)
    assert [load_cohort(name).manifest.name for name in names] == list(names)


def test_an_unknown_name_lists_the_shipped_ones():
    with pytest.raises(UsageError, match=r"there is no cohort 'mni153'; name a shipped cohort .*mni152"):
        load_cohort("mni153")


@pytest.mark.data
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name == "brainchop-t1" else [pytest.mark.full])
        for name in sorted(set(shipped_cohorts()) - {"mni152"})
    ],
)
def test_the_real_heads_are_the_ones_that_the_manifests_describe(name: str, data_folder: Path):
    assert data_folder
    refused = [case.problem for case in check_cohort(load_cohort(name)) if isinstance(case, RefusedCase)]
    assert refused == []


@pytest.mark.data
def test_the_longitudinal_masks_lie_on_the_raw_grids_and_hold_brains(mri: Callable[[str], Path]):
    mri("ms_longitudinal")
    for case in load_cohort("ms-longitudinal").cases(Split.VALIDATION):
        study, mask = load_case(case)
        assert mask is not None
        assert mask.geometry.same_grid(study.geometry)
        assert 900 < mask.volume_ml(1) < 1800


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("tcga-fg-6692-tumour", {0: 0, 1: 1, 2: 2, 4: 4}),
        ("tcga-fg-6692-brats-2023", {0: 0, 1: 1, 2: 2, 4: 3}),
    ],
)
def test_the_glioma_has_the_labels_of_brats_as_they_are_or_those_since_2023(
    name: str, meaning: dict[int, int], mri: Callable[[str], Path]
):
    mask_file = mri("tcga_fg_6692/segmentation/mav.nii.gz")
    (case,) = load_cohort(name).cases()
    _, mask = load_case(case)
    assert mask is not None
    values = np.asarray(nib.load(mask_file).dataobj)
    assert set(np.unique(values)) == set(meaning)
    for theirs, ours in meaning.items():
        np.testing.assert_array_equal(mask.labels == ours, values == theirs)


def test_an_empty_reference_is_refused_of_what_every_head_has_and_taken_of_what_may_not_be_there(tmp_path: Path):
    """A head without a brain is a mistake, one without a lesion a patient who is well."""
    entry = make_case(tmp_path, "a", mask=np.zeros(SHAPE, np.uint8))
    (case,) = load_cohort(save_manifest(tmp_path, entry)).cases()
    with pytest.raises(
        InputError, match=r"a T1: expected a reference mask that is not empty for threshold, got an empty mask"
    ):
        check_case(case, threshold_spec(0.5))
    assert check_case(case, threshold_spec(0.5, task=Task.LESION)).labels == ()
