"""Which images a model takes: by the types that it names, one case each, or one image per sequence and visit."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from tiny_package import SPEC, STAGE

from brain_edge.errors import InputError, UsageError
from brain_edge.jobs.bids.choose import ImageType, choose, declared_types, types_in, types_of
from brain_edge.jobs.bids.dataset import BidsImage
from brain_edge.jobs.bids.derivative import brain_name, case_folder, derivative_name, lookup_table
from brain_edge.jobs.bids.name import parse_raw_name
from brain_edge.spec import Label, Sequence, Task
from brain_edge_conversion.recipe import Variant
from brain_edge_conversion.recipes import load_recipe, recipe_names

T1, T1C, T2, FLAIR = ImageType("T1w"), ImageType("T1w", contrast=True), ImageType("T2w"), ImageType("FLAIR")
WHERE = Path("data")


def image(name: str) -> BidsImage:
    read = parse_raw_name(f"{name}.nii.gz")
    folders = [f"{key}-{read.entities[key]}" for key in ("sub", "ses") if key in read.entities]
    relative = "/".join((*folders, "anat", f"{name}.nii.gz"))
    return BidsImage(WHERE / relative, relative, read)


def one(description: str, name: str = "image", **changes):
    inputs = (Sequence(name=name, description=description),)
    return msgspec.structs.replace(SPEC, inputs=inputs, **changes)


def several(*names: str):
    """A spec of several sequences, which are what they are called."""
    network = msgspec.structs.replace(STAGE.network, channels_in=len(names))
    stage = msgspec.structs.replace(STAGE, network=network)
    return msgspec.structs.replace(SPEC, inputs=tuple(Sequence(name=name) for name in names), stages=(stage,))


@pytest.mark.parametrize(
    ("text", "types"),
    [
        ("T1w, one head", [T1]),
        ("T1w, T1w after contrast, T2w or FLAIR", [T1, T1C, T2, FLAIR]),
        ("T1", [T1]),
        ("T1 without contrast; T2-FLAIR", [T1, FLAIR]),
        ("post-contrast T1-weighted", [T1C]),
        ("PD and T2", [ImageType("PDw"), T2]),
        ("T1 coronal", [T1]),
        ("T2*w", []),
        ("T2star", []),
        ("T10", []),
        ("image", []),
        ("", []),
        *((name, [T1C]) for name in ("T1c", "T1CE", "T1Gd", "T1_POST", "t1-ce", "T1 contrast")),
    ],
)
def test_the_types_that_a_text_names(text, types):
    assert list(types_in(text)) == types


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_says_what_it_takes(name):
    """So that `--sequence` is needed for networks of the user's own only, and for generators, which take no images."""
    spec = load_recipe(name).model(Variant()).spec
    assert all(declared_types(spec).values()) is (spec.task is not Task.SYNTHESIS)


def test_the_description_of_a_sequence_counts_before_its_name():
    assert types_of(one("T2w", name="T1")) == {"T1": (T2,)}
    assert types_of(one("", name="T1c")) == {"T1c": (T1C,)}


def test_the_user_may_say_more_exactly():
    spec = one("T1w, T2w or FLAIR")
    assert types_of(spec, [(None, "FLAIR")]) == {"image": (FLAIR,)}
    assert types_of(spec, [("image", "T1w"), (None, "T1c")]) == {"image": (T1, T1C)}


def test_a_model_that_does_not_say_its_type_is_asked_for_it():
    with pytest.raises(
        UsageError, match="tiny does not say of which type its sequence image is; say it: --sequence im"
    ):
        types_of(one(""))


def test_what_is_no_type_or_no_sequence_is_refused():
    with pytest.raises(UsageError, match=r"expected a type of image \(T1w, .*\), got 'bold'"):
        types_of(one("T1w"), [(None, "bold")])
    with pytest.raises(UsageError, match="tiny takes image; say for which one of them T1w is: image=T1w"):
        types_of(one("T1w"), [("T2", "T1w")])


def test_a_model_of_one_sequence_makes_a_case_of_every_image_of_its_types():
    names = ("sub-01_run-1_T1w", "sub-01_run-2_T1w", "sub-01_ce-gad_T1w", "sub-01_part-phase_T1w", "sub-01_FLAIR")
    choice = choose({"image": (T1, FLAIR)}, [image(name) for name in names], WHERE)
    assert [case.reference.path.name for case in choice.cases] == [f"{names[i]}.nii.gz" for i in (0, 1, 4)]
    assert [left.path.name for left in choice.left_out] == [f"{names[i]}.nii.gz" for i in (2, 3)]


def test_contrast_is_told_by_its_entity():
    assert T1C.fits(image("sub-01_ce-gad_T1w"))
    assert not T1.fits(image("sub-01_ce-gad_T1w"))
    assert not T1C.fits(image("sub-01_T1w"))


def test_a_dataset_without_an_image_of_the_type_is_refused_with_what_there_is():
    with pytest.raises(InputError, match=r"expected images of the type T1w, ce-\*_T1w .* there are only T2w, FLAIR;"):
        choose({"image": (T1, T1C)}, [image("sub-01_T2w"), image("sub-01_FLAIR")], WHERE)
    with pytest.raises(InputError, match=r"there is none;"):
        choose({"image": (T1,)}, [], WHERE)


PAIR = {"T1": (T1,), "FLAIR": (FLAIR,)}


def test_a_model_of_several_sequences_takes_one_of_each_per_visit():
    names = (
        "sub-01_ses-1_acq-a_T1w",
        "sub-01_ses-1_acq-a_FLAIR",
        "sub-01_ses-2_T1w",
        "sub-01_ses-2_FLAIR",
        "sub-02_T2w",
    )
    choice = choose(PAIR, [image(name) for name in names], WHERE)
    assert [list(case.images) for case in choice.cases] == [["T1", "FLAIR"], ["T1", "FLAIR"]]
    assert [case.entities for case in choice.cases] == [
        {"sub": "01", "ses": "1", "acq": "a"},
        {"sub": "01", "ses": "2"},
    ]
    assert not choice.unfit
    assert [left.path.name for left in choice.left_out] == ["sub-02_T2w.nii.gz"]


def test_a_visit_that_lacks_a_sequence_or_has_it_twice_is_no_case_and_says_why():
    names = ("sub-01_T1w", "sub-02_run-1_T1w", "sub-02_run-2_T1w", "sub-02_FLAIR")
    choice = choose(PAIR, [image(name) for name in names], WHERE)
    assert not choice.cases
    missing, double = choice.unfit
    assert (missing.case, str(missing.error)) == (
        "sub-01",
        "sub-01: expected an image for the sequence FLAIR (FLAIR), there is none",
    )
    assert str(double.error) == (
        "sub-02: expected one image for the sequence T1 (T1w), got 2: sub-02_run-1_T1w.nii.gz, sub-02_run-2_T1w.nii.gz"
    )
    assert list(double.inputs) == ["T1", "FLAIR"]


def case_of(spec, *names: str):
    return choose(types_of(spec), [image(name) for name in names], WHERE).cases[0]


NAMED = {
    "a skull-stripper of one type": (one("T1w"), "sub-01_T1w", "sub-01_space-orig_desc-brain_mask"),
    "every entity stays": (
        one("T1w after contrast"),
        "sub-01_ses-2_acq-hi_ce-gad_rec-norm_run-03_echo-1_part-mag_T1w",
        "sub-01_ses-2_acq-hi_ce-gad_rec-norm_run-03_echo-1_part-mag_space-orig_desc-brain_mask",
    ),
    "contrast or not is one suffix": (
        one("T1w, T1w after contrast"),
        "sub-01_ce-gad_T1w",
        "sub-01_ce-gad_space-orig_desc-brain_mask",
    ),
    "of several types": (one("T1w or FLAIR"), "sub-01_FLAIR", "sub-01_space-orig_desc-brainFLAIR_mask"),
    "a chunk stands behind the space": (
        one("T1w"),
        "sub-01_chunk-1_T1w",
        "sub-01_space-orig_chunk-1_desc-brain_mask",
    ),
    "a label map": (one("T1w", task=Task.TISSUE), "sub-01_T1w", "sub-01_space-orig_dseg"),
    "a label map of several types": (
        one("T1w or T2w", task=Task.LESION),
        "sub-01_T2w",
        "sub-01_space-orig_desc-T2w_dseg",
    ),
}


@pytest.mark.parametrize(("spec", "raw", "name"), NAMED.values(), ids=NAMED)
def test_a_mask_keeps_the_entities_of_its_image(spec, raw, name):
    assert str(derivative_name(case_of(spec, raw), spec)) == name


def test_a_mask_of_several_images_has_what_their_names_share():
    spec = several("T1", "T1c")
    case = case_of(spec, "sub-01_ses-1_run-1_T1w", "sub-01_ses-1_ce-gad_run-1_T1w")
    assert str(derivative_name(case, spec)) == "sub-01_ses-1_run-1_space-orig_desc-brain_mask"
    assert str(case_folder(case)) == "sub-01/ses-1/anat"


def test_the_name_does_not_change_with_what_the_user_restricts_it_to():
    spec = one("T1w or FLAIR")
    case = choose(types_of(spec, [(None, "T1w")]), [image("sub-01_T1w")], WHERE).cases[0]
    assert str(derivative_name(case, spec)) == "sub-01_space-orig_desc-brainT1w_mask"


def test_the_image_inside_the_mask_keeps_its_suffix():
    assert str(brain_name(case_of(one("T1w"), "sub-01_run-1_T1w"))) == "sub-01_run-1_space-orig_desc-brain_T1w"


def test_the_lookup_table_maps_to_the_labels_of_bids_where_they_have_one():
    names = ("white-matter", "Grey-Matter", "Left-Thalamus", "Brain-Stem", "brainstem")
    labels = tuple(Label(value=value, name=name) for value, name in enumerate(names, start=1))
    table = [line.split("\t") for line in lookup_table(one("T1w", labels=labels)).splitlines()]
    assert table == [
        ["index", "name", "abbreviation", "mapping"],
        ["0", "background", "BG", "0"],
        ["1", "white-matter", "WM", "2"],
        ["2", "Grey-Matter", "GM", "1"],
        ["3", "Left-Thalamus", "n/a", "n/a"],
        ["4", "Brain-Stem", "n/a", "10"],
        ["5", "brainstem", "n/a", "10"],
    ]
