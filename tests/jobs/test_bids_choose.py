"""Which images a model takes: by the contrasts that it states, one case each, or one image per sequence and visit."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from tiny_package import SPEC, STAGE

from brain_edge.errors import InputError, UsageError
from brain_edge.image.contrast import Contrast
from brain_edge.jobs.bids.choose import choose, contrast_of, contrasts_of
from brain_edge.jobs.bids.dataset import BidsImage
from brain_edge.jobs.bids.derivative import brain_name, case_folder, derivative_name, lookup_table
from brain_edge.jobs.bids.name import parse_raw_name
from brain_edge.spec import Label, Sequence, Task
from brain_edge_conversion.recipe import Variant
from brain_edge_conversion.recipes import load_recipe, recipe_names

T1, T1C, T2, FLAIR = Contrast.T1W, Contrast.T1C, Contrast.T2W, Contrast.FLAIR
WHERE = Path("data")


def image(name: str) -> BidsImage:
    read = parse_raw_name(f"{name}.nii.gz")
    folders = [f"{key}-{read.entities[key]}" for key in ("sub", "ses") if key in read.entities]
    relative = "/".join((*folders, "anat", f"{name}.nii.gz"))
    return BidsImage(WHERE / relative, relative, read)


def one(*contrasts: Contrast, **changes):
    inputs = (Sequence(name="image", contrasts=contrasts),) if contrasts else (Sequence(name="image"),)
    return msgspec.structs.replace(SPEC, inputs=inputs, **changes)


def several(**contrasts: Contrast):
    """A spec of several sequences."""
    network = msgspec.structs.replace(STAGE.network, channels_in=len(contrasts))
    stage = msgspec.structs.replace(STAGE, network=network)
    inputs = tuple(Sequence(name=name, contrasts=(contrast,)) for name, contrast in contrasts.items())
    return msgspec.structs.replace(SPEC, inputs=inputs, stages=(stage,))


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_says_what_it_takes(name):
    """So that `--sequence` is needed for networks of the user's own only, and for SPADE, which takes label maps."""
    spec = load_recipe(name).model(Variant()).spec
    assert all(spec.contrasts.values()) is (name != "spade")


def test_the_words_of_a_model_say_nothing():
    """Before, `bids` read the description, and a model "without T2w" was one for T2w."""
    silent = msgspec.structs.replace(SPEC, inputs=(Sequence(name="T1", description="T1w, never T2w"),))
    with pytest.raises(
        UsageError, match="tiny does not state the contrast of its sequence T1; give it, for example --sequen"
    ):
        contrasts_of(silent)


def test_the_user_may_say_more_exactly():
    spec = one(T1, T2, FLAIR)
    assert contrasts_of(spec, [(None, "FLAIR")]) == {"image": (FLAIR,)}
    assert contrasts_of(spec, [("image", "T1w"), (None, "T1c")]) == {"image": (T1, T1C)}


def test_a_model_that_does_not_state_its_contrast_is_asked_for_it():
    with pytest.raises(
        UsageError, match="tiny does not state the contrast of its sequence image; give it, for example --seq"
    ):
        contrasts_of(one())


def test_what_is_no_contrast_or_no_sequence_is_refused():
    with pytest.raises(UsageError, match=r"expected a contrast \(T1w, T1C, .*\), got 'bold'"):
        contrasts_of(one(T1), [(None, "bold")])
    with pytest.raises(UsageError, match="tiny takes image; name the sequence of the contrast T1w, such as image=T1w"):
        contrasts_of(one(T1), [("T2", "T1w")])


def test_a_model_of_one_sequence_makes_a_case_of_every_image_of_its_types():
    names = ("sub-01_run-1_T1w", "sub-01_run-2_T1w", "sub-01_ce-gad_T1w", "sub-01_part-phase_T1w", "sub-01_FLAIR")
    choice = choose({"image": (T1, FLAIR)}, [image(name) for name in names], WHERE)
    assert [case.reference.path.name for case in choice.cases] == [f"{names[i]}.nii.gz" for i in (0, 1, 4)]
    assert [left.path.name for left in choice.left_out] == [f"{names[i]}.nii.gz" for i in (2, 3)]


def test_an_agent_is_told_by_its_entity_and_changes_t1_only():
    assert contrast_of(image("sub-01_ce-gad_T1w")) is contrast_of(image("sub-01_acq-postGd_T1w")) is T1C
    assert contrast_of(image("sub-01_T1w")) is T1
    assert contrast_of(image("sub-01_ce-gad_FLAIR")) is FLAIR


@pytest.mark.parametrize("name", ["sub-01_part-phase_T1w", "sub-01_T1map", "sub-01_UNIT1", "sub-01_T2starmap"])
def test_parts_and_maps_show_no_anatomy_and_are_taken_by_no_model(name):
    assert contrast_of(image(name)) is Contrast.OTHER
    with pytest.raises(InputError, match="expected images of the contrast any"):
        choose({"image": (Contrast.ANY,)}, [image(name)], WHERE)


def test_a_model_for_any_contrast_takes_every_anatomical_image():
    names = ("sub-01_T1w", "sub-01_T2starw", "sub-01_PDw")
    assert len(choose({"image": (Contrast.ANY,)}, [image(name) for name in names], WHERE).cases) == 3


def test_a_dataset_without_an_image_of_the_contrast_is_refused_with_what_there_is():
    with pytest.raises(InputError, match=r"expected images of the contrast T1w, T1C .* got only T2w, FLAIR;"):
        choose({"image": (T1, T1C)}, [image("sub-01_T2w"), image("sub-01_FLAIR")], WHERE)
    with pytest.raises(InputError, match=r"got none;"):
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
        "sub-01: expected an image for the sequence FLAIR (FLAIR), got none",
    )
    assert str(double.error) == (
        "sub-02: expected one image for the sequence T1 (T1w), got 2: sub-02_run-1_T1w.nii.gz, sub-02_run-2_T1w.nii.gz"
    )
    assert list(double.inputs) == ["T1", "FLAIR"]


def case_of(spec, *names: str):
    return choose(contrasts_of(spec), [image(name) for name in names], WHERE).cases[0]


NAMED = {
    "a skull-stripper of one type": (one(T1), "sub-01_T1w", "sub-01_space-orig_desc-brain_mask"),
    "every entity stays": (
        one(T1C),
        "sub-01_ses-2_acq-hi_ce-gad_rec-norm_run-03_echo-1_part-mag_T1w",
        "sub-01_ses-2_acq-hi_ce-gad_rec-norm_run-03_echo-1_part-mag_space-orig_desc-brain_mask",
    ),
    "contrast or not is one suffix": (
        one(T1, T1C),
        "sub-01_ce-gad_T1w",
        "sub-01_ce-gad_space-orig_desc-brain_mask",
    ),
    "of several types": (one(T1, FLAIR), "sub-01_FLAIR", "sub-01_space-orig_desc-brainFLAIR_mask"),
    "a chunk stands behind the space": (
        one(T1),
        "sub-01_chunk-1_T1w",
        "sub-01_space-orig_chunk-1_desc-brain_mask",
    ),
    "a label map": (one(T1, task=Task.TISSUE), "sub-01_T1w", "sub-01_space-orig_dseg"),
    "a label map of several types": (
        one(T1, T2, task=Task.LESION),
        "sub-01_T2w",
        "sub-01_space-orig_desc-T2w_dseg",
    ),
}


@pytest.mark.parametrize(("spec", "raw", "name"), NAMED.values(), ids=NAMED)
def test_a_mask_keeps_the_entities_of_its_image(spec, raw, name):
    assert str(derivative_name(case_of(spec, raw), spec)) == name


def test_a_mask_of_several_images_has_what_their_names_share():
    spec = several(T1=T1, T1c=T1C)
    case = case_of(spec, "sub-01_ses-1_run-1_T1w", "sub-01_ses-1_ce-gad_run-1_T1w")
    assert str(derivative_name(case, spec)) == "sub-01_ses-1_run-1_space-orig_desc-brain_mask"
    assert str(case_folder(case)) == "sub-01/ses-1/anat"


def test_the_name_does_not_change_with_what_the_user_restricts_it_to():
    spec = one(T1, FLAIR)
    case = choose(contrasts_of(spec, [(None, "T1w")]), [image("sub-01_T1w")], WHERE).cases[0]
    assert str(derivative_name(case, spec)) == "sub-01_space-orig_desc-brainT1w_mask"


def test_the_image_inside_the_mask_keeps_its_suffix():
    assert str(brain_name(case_of(one(T1), "sub-01_run-1_T1w"))) == "sub-01_run-1_space-orig_desc-brain_T1w"


def test_the_lookup_table_maps_to_the_labels_of_bids_where_they_have_one():
    names = ("white-matter", "Grey-Matter", "Left-Thalamus", "Brain-Stem", "brainstem")
    labels = tuple(Label(value=value, name=name) for value, name in enumerate(names, start=1))
    table = [line.split("\t") for line in lookup_table(one(T1, labels=labels)).splitlines()]
    assert table == [
        ["index", "name", "abbreviation", "mapping"],
        ["0", "background", "BG", "0"],
        ["1", "white-matter", "WM", "2"],
        ["2", "Grey-Matter", "GM", "1"],
        ["3", "Left-Thalamus", "n/a", "n/a"],
        ["4", "Brain-Stem", "n/a", "10"],
        ["5", "brainstem", "n/a", "10"],
    ]
