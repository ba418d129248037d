"""Cases of several sequences by the names of their files; where a name does not say it, the case is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brain_edge.errors import InputError
from brain_edge.image.contrast import Contrast
from brain_edge.jobs.batch.grouping import group

SEQUENCES = {
    "T1": (Contrast.T1W,),
    "T1C": (Contrast.T1C,),
    "T2": (Contrast.T2W,),
    "FLAIR": (Contrast.FLAIR,),
}
PAIR = {name: SEQUENCES[name] for name in ("T1", "T2")}
SPELLINGS = {
    "T1": ("T1", "t1", "T1W", "T1w", "t1n"),
    "T1C": ("T1C", "T1ce", "T1GD", "T1Post", "t1c"),
    "T2": ("T2", "t2w"),
    "FLAIR": ("FLAIR", "flair", "t2f", "fla"),
}


def paths(*names: str) -> list[Path]:
    return [Path("in", name) for name in names]


def file_names(case: str, sequence: str) -> st.SearchStrategy[str]:
    return st.builds(
        lambda separator, spelling: f"{case}{separator}{spelling}.nii.gz",
        st.sampled_from("_-"),
        st.sampled_from(SPELLINGS[sequence]),
    )


@given(data=st.data(), cases=st.sets(st.from_regex(r"[A-Za-z0-9]+([_-][0-9]+)?", fullmatch=True), max_size=8))
def test_every_spelling_is_found_in_the_case_that_it_belongs_to(data, cases):
    expected = {}
    for case in cases:
        expected[case] = {name: Path("in", data.draw(file_names(case, name))) for name in SEQUENCES}
    images = data.draw(st.permutations([path for files in expected.values() for path in files.values()]))
    found = group(images, SEQUENCES)
    assert [case.case for case in found] == sorted(expected)
    assert {case.case: case.inputs() for case in found} == expected


def test_images_of_other_sequences_and_masks_are_no_part_of_a_case():
    images = paths("p1_T1.nii.gz", "p1_T2.nii", "p1_DWI.nii.gz", "p1_T1_brainmask.nii.gz", "p1.nii.gz", "T1x.nii")
    (case,) = group(images, PAIR)
    assert case.inputs() == {"T1": Path("in/p1_T1.nii.gz"), "T2": Path("in/p1_T2.nii")}


def test_a_folder_gives_the_name_that_its_files_do_not_have():
    images = paths("T1.nii.gz", "visit1_T1.nii.gz", "p1_visit2_T1.nii.gz")
    assert [case.case for case in group(images, {"T1": ()}, "p1")] == ["p1", "p1_visit1", "p1_visit2"]


def test_a_sequence_of_another_name_is_spelt_as_the_model_spells_it():
    (case,) = group(paths("p1_early.nii.gz", "p1_LATE.nii.gz", "p1_T1.nii.gz"), {"early": (), "late": ()})
    assert case.inputs() == {"early": Path("in/p1_early.nii.gz"), "late": Path("in/p1_LATE.nii.gz")}


def test_two_files_for_one_sequence_are_refused():
    (case,) = group(paths("p1_T1.nii.gz", "p1_T1W.nii.gz", "p1_T2.nii.gz"), PAIR)
    with pytest.raises(InputError, match=r"p1: expected one image of T1, got in/p1_T1\.nii\.gz and in/p1_T1W\.nii\.gz"):
        case.inputs()


def test_a_missing_sequence_is_refused():
    (case,) = group(paths("p1_T1.nii.gz"), SEQUENCES)
    with pytest.raises(
        InputError,
        match=r"p1: expected one image of each of T1, T1C, T2, FLAIR beside in/p1_T1\.nii\.gz, found none of T1C, T2",
    ):
        case.inputs()


def test_a_contrast_that_two_sequences_take_means_neither():
    both = {"image": (Contrast.T1W, Contrast.FLAIR), "FLAIR": (Contrast.FLAIR,)}
    (case,) = group(paths("p1_T1w.nii.gz", "p1_t2f.nii.gz"), both)
    assert case.files == {"image": [Path("in/p1_T1w.nii.gz")], "FLAIR": []}
