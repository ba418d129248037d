"""An image of another contrast than the model was made for is told, or refused (`--strict`); an unknown one never."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from cli_program import make_pair_package, refused, save_phantom, succeed
from cohorts import file_entry, save, save_manifest
from tiny_package import PHANTOM, SPEC, make_package

from brain_edge.evaluation.cohort import CaseEntry, CheckedCase, Split, check_cohort, load_cohort
from brain_edge.evaluation.evaluate import evaluate
from brain_edge.image.contrast import Contrast
from brain_edge.image.phantom import make_volume
from brain_edge.package import open_package
from brain_edge.spec import Sequence
from brain_edge_conversion.budget.budget import AccuracyBudget
from brain_edge_conversion.recipe import Variant
from brain_edge_conversion.recipes import load_recipe
from brain_edge_conversion.search.splits import Splits, require_search

if TYPE_CHECKING:
    from collections.abc import Mapping


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """For T1w images."""
    return make_package(tmp_path_factory.mktemp("tiny") / "tiny").folder


@pytest.fixture(scope="module")
def head(tmp_path_factory) -> Path:
    return save_phantom(tmp_path_factory.mktemp("head") / "head.nii.gz")


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def warnings(package: Path, head: Path, name: str, sidecar: Mapping[str, object] | None = None) -> str:
    """What a run says on stderr of the head under another name."""
    shutil.copy(head, name)
    if sidecar is not None:
        Path(name.replace(".nii.gz", ".json")).write_text(json.dumps(sidecar), encoding="utf-8")
    return succeed("run", package, name, "-o", "mask.nii.gz").err


FOREIGN = {
    "p1_FLAIR.nii.gz": "FLAIR (the file name p1_FLAIR says FLAIR)",
    "sub-01_FLAIR.nii.gz": "FLAIR (the file name sub-01_FLAIR says FLAIR)",
    "sub-01_ce-GAD_T1w.nii.gz": "T1C (the file name sub-01_ce-GAD_T1w says T1; and after contrast)",
    "sub-01_acq-postgd_T1w.nii.gz": "T1C (the file name sub-01_acq-postgd_T1w says T1; and after contrast)",
    "BraTS20_007_t1ce.nii.gz": "T1C (the file name BraTS20_007_t1ce says T1 after contrast)",
    "BraTS-GLI-00000-000-t2f.nii.gz": "FLAIR (the file name BraTS-GLI-00000-000-t2f says FLAIR)",
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.usefixtures("here")
def test_run_warns_by_the_name_of_the_file(package, head, name):
    said = f"{name}: expected T1w for the sequence T1, got {FOREIGN[name]}"
    assert warnings(package, head, name) == f"warning: {said}\n"
    words = refused(3, "run", package, name, "-o", "strict.nii.gz", "--strict")
    assert words == f"error: {said}; give an image that tiny was made for, or remove --strict\n"
    assert not Path("strict.nii.gz").exists()


@pytest.mark.parametrize("name", ["sub-01_T1w.nii.gz", "p1_T1_to_FLAIR.nii.gz", "head.nii.gz", "T1_and_T2.nii.gz"])
@pytest.mark.usefixtures("here")
def test_the_right_contrast_and_an_unknown_one_pass_quietly_even_if_strict(package, head, name):
    assert warnings(package, head, name) == ""
    succeed("run", package, name, "-o", "strict.nii.gz", "--strict")


FLAIR_SIDECAR = {"ScanningSequence": "SE_IR", "RepetitionTime": 9, "EchoTime": 0.095, "InversionTime": 2.5}


@pytest.mark.usefixtures("here")
def test_run_warns_by_the_sidecar_and_hears_it_beside_the_name(package, head):
    said = warnings(package, head, "head.nii.gz", FLAIR_SIDECAR)
    assert "got FLAIR (head.json: inversion recovery, TI 2500 ms, TR 9000 ms, TE 95 ms)" in said
    agent = {"SeriesDescription": "mprage", "ContrastBolusIngredient": "GADOLINIUM"}
    said = warnings(package, head, "p2_T1w.nii.gz", agent)
    witnesses = "the file name p2_T1w says T1; p2_T1w.json: the words say T1; a contrast agent is recorded"
    assert f"got T1C ({witnesses})" in said


@pytest.mark.usefixtures("here")
def test_a_name_and_a_sidecar_that_contradict_each_other_make_it_unknown(package, head):
    assert warnings(package, head, "p3_T1w.nii.gz", FLAIR_SIDECAR) == ""


@pytest.mark.parametrize("text", ["[1]", "{", "", '{"ScanningSequence": 7, "EchoTime": "x", "ImageType": null}'])
def test_what_lies_beside_an_image_and_is_no_sidecar_says_nothing(package, head, here, text):
    (here / "head.json").write_text(text, encoding="utf-8")
    assert warnings(package, head, "head.nii.gz") == ""


def test_each_image_of_several_is_held_against_its_own_sequence(head, here):
    pair = make_pair_package(here / "pair").folder
    for name in ("p_t1.nii.gz", "p_flair.nii.gz"):
        shutil.copy(head, name)
    done = succeed("run", pair, "T1=p_t1.nii.gz", "T2=p_flair.nii.gz", "-o", "mask.nii.gz")
    assert "expected T2w for the sequence T2, got FLAIR (the file name p_flair says FLAIR)" in done.err
    assert "sequence T1" not in done.err


@pytest.mark.parametrize("contrasts", [(Contrast.ANY,), None])
def test_a_model_for_any_contrast_or_that_states_none_warns_of_nothing(head, here, contrasts):
    sequence = Sequence(name="image") if contrasts is None else Sequence(name="image", contrasts=contrasts)
    other = make_package(here / "any", msgspec.structs.replace(SPEC, inputs=(sequence,))).folder
    assert warnings(other, head, "p1_FLAIR.nii.gz") == ""


def test_info_and_card_say_the_contrasts(package):
    assert "inputs       T1 (T1w)\n" in succeed("info", package).out
    assert "Inputs: T1 (T1w)." in (package / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def heads(here) -> Path:
    """T1w and FLAIR of four subjects."""
    for number in range(1, 5):
        image = make_volume(msgspec.structs.replace(PHANTOM, seed=number))
        for name in ("T1w", "FLAIR"):
            save(here / f"heads/p{number}/{name}.nii.gz", image.voxels + (name == "FLAIR"), 4.0)
    return here / "heads"


def test_a_cohort_for_a_model_holds_the_images_of_its_contrast(package, heads, here):
    done = succeed("cohort", "create", heads, "-o", "site.toml", "--for", package)
    cases = load_cohort(here / "site.toml").cases()
    assert [list(case.inputs) for case in cases] == [["T1w"]] * 4
    assert f"left out, FLAIR: {heads / 'p1/FLAIR.nii.gz'}" in done.err
    words = refused(2, "cohort", "create", heads, "-o", "b.toml", "--for", package, "--sequence", "FLAIR")
    assert "the model tiny determines the sequences; remove FLAIR" in words


def test_a_cohort_of_several_sequences_gets_their_names_by_contrast(heads, here):
    pair = make_pair_package(here / "pair").folder
    for path in heads.glob("*/FLAIR.nii.gz"):
        path.rename(path.with_name("t2w.nii.gz"))
    succeed("cohort", "create", heads, "-o", "pair.toml", "--for", pair)
    assert [list(case.inputs) for case in load_cohort(here / "pair.toml").cases()] == [["T1", "T2"]] * 4


def test_a_folder_without_an_image_of_the_contrast_is_refused(package, heads):
    for path in heads.glob("*/T1w.nii.gz"):
        path.unlink()
    words = refused(3, "cohort", "create", heads, "-o", "site.toml", "--for", package)
    assert "expected images that tiny takes, T1 (T1w), found none; choose another model" in words


def mixed(folder: Path) -> Path:
    """A cohort of a T1w and a FLAIR; the second is known by its sequence alone."""
    entries = []
    for number, (name, sequence) in enumerate((("a_T1w", "T1"), ("b", "FLAIR")), start=1):
        path = save(folder / f"{name}.nii.gz", make_volume(msgspec.structs.replace(PHANTOM, seed=number)).voxels, 4.0)
        inputs = {sequence: file_entry(path, folder)}
        entries.append(CaseEntry(subject=f"person{number}", split=Split.TEST, inputs=inputs))
    return save_manifest(folder, *entries, sequences=("T1", "FLAIR"))


WORDS = "tiny was made for T1w as T1, but case(s) 2 have FLAIR: their figures do not hold for images it was made for."
"""What goes into reports and packages: a number, no file and no person."""


def different_heads(folder: Path) -> Path:
    """`mixed`, marked as a demonstration: the phantom is one head, whatever its noise."""
    path = mixed(folder)
    path.write_text(
        path.read_text(encoding="utf-8").replace("sequences", "demo = true\nsequences", 1), encoding="utf-8"
    )
    return path


def test_check_and_evaluate_say_which_cases_have_another_contrast(package, here):
    cohort = different_heads(here)
    done = succeed("cohort", "check", cohort, "--for", package)
    assert done.err.count("warning: ") == 1
    assert "person2 FLAIR: expected T1w for the sequence T1, got FLAIR (its sequence is called FLAIR)" in done.err
    assert "warning" not in succeed("cohort", "check", cohort).err
    found = evaluate(open_package(package), load_cohort(cohort))
    assert WORDS in found.limits
    flagged = {case.case: [flag.kind for flag in case.flags] for case in found.without_reference}
    assert "contrast" not in flagged[1]
    assert "contrast" in flagged[2]


def test_a_search_says_it_before_the_first_trial(package, here):
    cohort = load_cohort(different_heads(here))
    lines: list[str] = []
    splits = Splits(cohort, (), cohort.cases(), cohort.cases())
    checked = require_search(splits, open_package(package).spec, AccuracyBudget(max_dice_drop=0.01), lines.append)
    assert f"warning: {WORDS}" in lines
    assert not checked[1].foreign
    assert checked[2].foreign


@pytest.mark.full  # six seconds of real heads; in CI the same on phantoms
@pytest.mark.data
def test_heads_of_three_contrasts_are_not_all_for_deepbet(mri):
    """A T1w model was once measured over T1w, T2w and FLAIR heads without a word."""
    mri("ms_longitudinal")
    results = check_cohort(load_cohort("ms-longitudinal"), None, load_recipe("deepbet").model(Variant()).spec)
    foreign = {each.case.number for each in results if isinstance(each, CheckedCase) and each.foreign}
    assert foreign == {each.case.number for each in results if "T1W" not in each.case.inputs}
    assert foreign
