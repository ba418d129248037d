"""Reading a raw dataset: what is found, what is refused and in which words. Nothing is written into it."""

from __future__ import annotations

import pytest
from bids_dataset import describe_dataset, place

from brain_edge.errors import InputError, UsageError
from brain_edge.jobs.bids.dataset import find_images, open_dataset

NAMES = ("sub-01_ses-1_T1w", "sub-01_ses-1_FLAIR", "sub-01_ses-2_T1w", "sub-02_ses-1_T1w", "sub-10_T1w")


def dataset(folder, names=NAMES):
    """A dataset of empty files: names are all that is looked at."""
    describe_dataset(folder)
    for name in names:
        path = folder / place(name) / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def found(folder, **chosen):
    return [image.path.name.removesuffix(".nii.gz") for image in find_images(open_dataset(folder), **chosen)]


def test_all_images_are_found_with_and_without_sessions(tmp_path):
    assert sorted(found(dataset(tmp_path))) == sorted(NAMES)


@pytest.mark.parametrize("label", ["01", "sub-01"])
def test_a_subject_is_chosen_with_or_without_its_prefix(tmp_path, label):
    assert found(dataset(tmp_path), subjects=[label]) == ["sub-01_ses-1_FLAIR", "sub-01_ses-1_T1w", "sub-01_ses-2_T1w"]


def test_a_session_is_chosen_in_every_subject_that_has_it(tmp_path):
    assert found(dataset(tmp_path), sessions=["ses-2"]) == ["sub-01_ses-2_T1w"]
    assert found(dataset(tmp_path), sessions=["1"], subjects=["02"]) == ["sub-02_ses-1_T1w"]


def test_other_data_types_and_folders_are_left_alone(tmp_path):
    dataset(tmp_path)
    for name in ("sub-01/ses-1/func/anything.nii.gz", "derivatives/x/sub-01/anat/sub-01_mask.nii.gz", "code/a.nii"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert sorted(found(tmp_path)) == sorted(NAMES)


def test_a_path_is_written_with_slashes_and_found(tmp_path):
    image = find_images(open_dataset(dataset(tmp_path)), subjects=["10"])[0]
    assert (image.relative, image.name.entities) == ("sub-10/anat/sub-10_T1w.nii.gz", {"sub": "10"})
    assert image.path == tmp_path / image.relative


@pytest.mark.parametrize(
    ("chosen", "reason"),
    {
        "subject": ({"subjects": ["01", "7"]}, "there is no subject 7; the dataset has 01, 02, 10$"),
        "session": ({"sessions": ["9"]}, "there is no session 9; the dataset has 1, 2$"),
    }.values(),
    ids=["subject", "session"],
)
def test_who_is_not_there_is_named_with_those_who_are(tmp_path, chosen, reason):
    with pytest.raises(InputError, match=reason):
        found(dataset(tmp_path), **chosen)


def test_only_some_of_many_labels_are_listed(tmp_path):
    names = [f"sub-{number:03}_T1w" for number in range(30)]
    with pytest.raises(InputError, match=r"the dataset has 000, .*, 019 and 10 more$"):
        found(dataset(tmp_path, names), subjects=["x"])


def test_a_label_that_no_name_can_have_is_wrong_usage(tmp_path):
    with pytest.raises(UsageError, match=r"expected a label of letters and digits, .* got '01_02'"):
        found(dataset(tmp_path), subjects=["01_02"])


def test_a_dataset_without_subjects_is_refused(tmp_path):
    with pytest.raises(InputError, match="expected BIDS folders sub-<label>, found none"):
        found(dataset(tmp_path, ()))


INVALID = {
    "sub-01/anat/sub-01_T1.nii.gz": r"sub-01/anat/sub-01_T1\.nii\.gz: 'T1' is not a suffix",
    "sub-01/anat/sub-02_T1w.nii.gz": r"sub-01/anat/sub-02_T1w\.nii\.gz: expected this name in the folder sub-02/anat",
    "sub-01/ses-1/anat/sub-01_T1w.nii.gz": r"expected this name in the folder sub-01/anat",
    "sub-01/sub-01_T1w.nii.gz": r"sub-01/sub-01_T1w\.nii\.gz: expected an image in a folder of its type, such as anat",
    "sub-0_1/anat/sub-01_T1w.nii.gz": r"sub-0_1: expected letters and digits after sub-",
    "sub-01/ses-a b/anat/sub-01_T1w.nii.gz": r"sub-01/ses-a b: expected letters and digits after ses-",
}


@pytest.mark.parametrize(("path", "reason"), INVALID.items())
def test_names_that_are_not_of_bids_are_refused_by_name(tmp_path, path, reason):
    dataset(tmp_path)
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).touch()
    with pytest.raises(InputError, match=f"1 name of this dataset cannot be read as BIDS: .*{reason}"):
        found(tmp_path)


def test_many_invalid_names_are_counted_and_some_told(tmp_path):
    dataset(tmp_path)
    for number in range(7):
        (tmp_path / f"sub-10/anat/image{number}.nii").touch()
    with pytest.raises(InputError, match=r"^7 names .*image0\.nii.*image4\.nii[^;]* \.\.\.; rename the files, or list"):
        found(tmp_path)


def test_what_bidsignore_lists_is_neither_found_nor_refused(tmp_path):
    dataset(tmp_path)
    (tmp_path / "sub-10/anat/image.nii").touch()
    (tmp_path / "sub-0_1").mkdir()
    (tmp_path / ".bidsignore").write_text("# not ours\nsub-0_1/\n*image.nii\nsub-02/\n")
    assert sorted(found(tmp_path)) == sorted(name for name in NAMES if "sub-02" not in name)


def test_an_image_in_two_formats_is_refused(tmp_path):
    dataset(tmp_path)
    (tmp_path / "sub-10/anat/sub-10_T1w.nii").touch()
    with pytest.raises(InputError, match="are one image in two formats, which BIDS forbids"):
        found(tmp_path)


def test_subjects_that_differ_in_case_only_are_refused(tmp_path):
    with pytest.raises(InputError, match="sub-S1 and sub-s1 differ only in upper and lower case"):
        found(dataset(tmp_path, ["sub-s1_T1w", "sub-S1_T1w"]))


def test_a_folder_without_description_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"expected a BIDS dataset with a dataset_description\.json, found none"):
        open_dataset(tmp_path)
    with pytest.raises(InputError, match="expected the folder of a BIDS dataset, found none"):
        open_dataset(tmp_path / "missing")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "expected JSON"),
        ("[]", "expected the fields Name and BIDSVersion"),
        ('{"Name": "x"}', "expected the fields Name and BIDSVersion"),
        (
            '{"Name": "x", "BIDSVersion": "1.11.1", "DatasetType": "derivative"}',
            "expected a raw dataset, got the DatasetType 'derivative'",
        ),
    ],
)
def test_a_description_that_describes_no_raw_dataset_is_refused(tmp_path, text, reason):
    (tmp_path / "dataset_description.json").write_text(text)
    with pytest.raises(InputError, match=reason):
        open_dataset(tmp_path)


@pytest.mark.parametrize("pattern", ["[z-a]\n", "!\n"])
def test_an_unreadable_ignore_file_is_refused(tmp_path, pattern):
    dataset(tmp_path)
    (tmp_path / ".bidsignore").write_text(pattern)
    with pytest.raises(InputError, match=r"\.bidsignore: expected patterns as in \.gitignore"):
        open_dataset(tmp_path)


def test_only_what_was_asked_for_is_judged(tmp_path):
    """A folder that is no subject stops the whole dataset, and nobody who names his subjects or sessions."""
    dataset(tmp_path)
    for stray in ("sub-02_old", "sub-01/ses-1_old"):
        (tmp_path / stray).mkdir()
    assert found(tmp_path, subjects=["02"], sessions=["1"]) == ["sub-02_ses-1_T1w"]
    assert len(found(tmp_path, subjects=["01"], sessions=["1"])) == 2
    with pytest.raises(InputError, match="sub-02_old: expected letters and digits after sub-"):
        found(tmp_path)
    with pytest.raises(InputError, match="sub-01/ses-1_old: expected letters and digits after ses-"):
        found(tmp_path, subjects=["01"])
