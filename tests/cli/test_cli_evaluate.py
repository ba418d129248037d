"""`brain-edge evaluate`: a table for readers, the same figures as JSON for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import nibabel
import numpy as np
import pytest
from cli_program import brain_edge, make_package, refused, save_phantom, succeed
from cohorts import head, make_case, save_manifest
from tiny_package import FIT, SPEC, STAGE

from brain_edge.evaluation.cohort import Split, load_cohort
from brain_edge.evaluation.cohort.toml import format_manifest
from brain_edge.package import WeightsStatus, open_package
from brain_edge.spec import Label
from brain_edge.spec.steps import FitPercentile

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    return make_package(tmp_path_factory.mktemp("tiny")).folder


@pytest.fixture(scope="module")
def cohort(tmp_path_factory, package) -> Path:
    """Two heads with the masks that the model makes of them, and one without."""
    folder = tmp_path_factory.mktemp("cohort")
    cases = []
    for number, split in enumerate(Split):
        voxels = head(number)
        path = make_case(folder, f"draft{number}", voxels=voxels).inputs["T1"].source
        succeed("run", package, folder / path, "-o", folder / "mask.nii.gz", "-q")
        mask = np.asarray(nibabel.load(folder / "mask.nii.gz").dataobj)
        cases.append(make_case(folder, f"subject-{number}", split, voxels=voxels, mask=mask if number else None))
    return save_manifest(folder, *cases)


def test_a_table_of_figures_on_stdout_and_progress_on_stderr(package, cohort):
    done = succeed("evaluate", package, cohort)
    assert done.out.startswith("tiny on tiny, all splits\nWith a reference mask: 2 of 3 cases, 2 subject(s).")
    brain = next(line for line in done.out.splitlines() if line.startswith("| brain "))
    assert [cell.strip() for cell in brain.split("|")][2:6] == ["2", "0", "1.0000", "1.0000"]
    assert "running case 3 of 3" in done.err
    assert "running case" not in done.out


def test_the_same_figures_as_json_in_a_file_too(package, cohort, tmp_path):
    done = succeed("evaluate", package, cohort, "--json", "--quiet", "--report", tmp_path / "r.json")
    (summary,) = done.json["summaries"]
    assert (summary["cases"], summary["mean_dice"]) == (2, 1.0)
    assert [case["subject"] for case in done.json["without_reference"]] == ["subject-0"]
    assert (tmp_path / "r.json").read_text().strip() == done.out.strip()
    assert done.err == ""


def test_what_a_package_loses_against_another(package, cohort):
    """Against itself: nothing; the case without a reference has an agreement and no drop, and nobody is named."""
    done = succeed("evaluate", package, cohort, "--baseline", package, "--json")
    (summary,) = done.json["summaries"]
    assert (summary["cases"], summary["with_reference"], summary["mean_drop"]) == (3, 2, 0.0)
    assert (summary["mean_agreement"], summary["least_agreement"]) == (1.0, 1.0)
    assert done.json["baseline_digest"] == done.json["candidate_digest"]
    assert "subject-" not in done.out
    assert done.json["limits"] == ["With a reference mask: 2 of 3 cases."]
    table = succeed("evaluate", package, cohort, "--baseline", package).out
    assert table.splitlines()[1] == "With a reference mask: 2 of 3 cases."
    assert [cell.strip() for cell in table.splitlines()[5].split("|")][1:5] == ["1", "3", "2", "0.00000"]


def test_a_comparison_says_what_its_figures_do_not_as_an_evaluation_does(package, cohort, tmp_path):
    demo = cohort.with_name("demo.toml")
    demo.write_text(format_manifest(msgspec.structs.replace(load_cohort(cohort).manifest, demo=True)))
    limits = succeed("evaluate", package, demo, "--baseline", package, "--json").json["limits"]
    assert "Demonstration: one head stands in for many; no statement about accuracy elsewhere." in limits
    untrained = make_package(tmp_path / "untrained", weights_status=WeightsStatus.RANDOM).folder
    for pair in ((package, untrained), (untrained, package)):
        said = refused(3, "evaluate", pair[0], cohort, "--baseline", pair[1])
        assert "the weights of this package are random, so its Dice says nothing about accuracy" in said


def test_lesion_by_lesion_figures_say_where_the_voxels_are_not_those_of_the_challenge(package, cohort):
    done = succeed("evaluate", package, cohort, "--lesion-wise", "brain=1")
    assert "3 of 3 cases have other voxels (up to 16 mm) and join other lesions." in done.out
    assert "Lesion by lesion: lesions are joined" not in succeed("evaluate", package, cohort).out


def test_packages_of_other_labels_are_not_compared(package, cohort, tmp_path):
    labels = (Label(value=1, name="lesion"),)
    plausible = msgspec.structs.replace(SPEC.plausible, labels=())
    other = make_package(tmp_path / "other", msgspec.structs.replace(SPEC, labels=labels, plausible=plausible)).folder
    said = refused(2, "evaluate", package, cohort, "--baseline", other)
    assert "expected a package with the labels of" in said
    assert "got lesion" in said


def test_one_split(package, cohort):
    done = succeed("evaluate", package, cohort, "--split", "test", "--json")
    assert [case["subject"] for case in done.json["cases"]] == ["subject-2"]


def test_an_accuracy_of_random_weights_is_refused(tmp_path, cohort):
    untrained = make_package(tmp_path / "untrained", weights_status=WeightsStatus.RANDOM).folder
    assert "random, so its Dice says nothing about accuracy" in refused(3, "evaluate", untrained, cohort)


def test_what_only_a_preparation_takes_is_refused(package, cohort, tmp_path):
    kept = ("--prepared", tmp_path / "kept")
    words = "--prepared has no effect with tiny, which has no preparation; remove it"
    assert words in refused(2, "evaluate", package, cohort, *kept)
    assert words in refused(2, "evaluate", package, cohort, "--baseline", package, *kept)
    assert not (tmp_path / "kept").exists()


def test_what_is_refused(package, cohort, tmp_path):
    assert "there is no cohort 'nobody'; name a shipped cohort" in refused(2, "evaluate", package, "nobody")
    assert "is not one of 'calibration', 'validation', 'test'" in refused(
        2, "evaluate", package, cohort, "--split", "train"
    )
    assert "expected a report file that ends in .json" in refused(
        2, "evaluate", package, cohort, "--report", tmp_path / "r.csv"
    )
    assert "create it first" in refused(1, "evaluate", package, cohort, "--report", tmp_path / "no/r.json")
    assert "0 is not in the range x>=1" in refused(2, "evaluate", package, cohort, "--threads", "0")
    assert "found none" in refused(5, "evaluate", tmp_path, cohort)


def test_a_changed_image_is_refused_before_anything_runs(package, tmp_path):
    manifest = save_manifest(tmp_path, make_case(tmp_path, "a"), make_case(tmp_path, "b"))
    save_phantom(tmp_path / "b/T1.nii.gz")
    done = refused(3, "evaluate", package, manifest)
    assert "b/T1.nii.gz" in done
    assert "running case" not in done


def test_lesion_by_lesion_where_it_is_asked_for(package, cohort):
    name = next(iter(open_package(package).spec.label_names()))
    done = succeed("evaluate", package, cohort, "--lesion-wise", f"ALL={name}", "--json")
    (region,) = done.json["regions"]
    assert (region["region"], region["labels"]) == ("ALL", [name])
    assert region["cases"] == len(done.json["cases"])
    assert all("ALL" in case["lesion_wise"] for case in done.json["cases"])
    assert "Lesion by lesion" in succeed("evaluate", package, cohort, "--lesion-wise", f"ALL={name}").out


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("WT", "expected a region and its labels, such as WT=1"),
        ("WT=1+x", "expected a region and its labels, such as WT=1"),
        ("WT=77", "in the region WT, got also [77]"),
    ],
)
def test_regions_that_mean_nothing_are_refused(package, cohort, text, words):
    assert words in refused(2, "evaluate", package, cohort, "--lesion-wise", text)


def test_a_comparison_is_judged_by_a_budget_of_labels_by_name(package, cohort):
    """Against itself it meets the tightest budget; the bounds of a single label are those of `quantize`."""
    budget = ("--max-dice-drop", "0.001", "--max-dice-drop", "brain=0.002")
    done = succeed("evaluate", package, cohort, "--baseline", package, *budget)
    assert "the accuracy budget is met: mean drop at most 0.00000, of a single case 0.00000" in done.err
    assert "got 'skull'" in refused(
        2,
        "evaluate",
        package,
        cohort,
        "--baseline",
        package,
        "--max-dice-drop",
        "0.01",
        "--max-dice-drop",
        "skull=0.02",
    )
    assert "--max-dice-drop has no effect without --baseline; add --baseline" in refused(
        2, "evaluate", package, cohort, "--max-dice-drop", "0.01"
    )


def test_a_comparison_that_misses_its_budget_is_printed_and_ends_with_4(package, cohort, tmp_path):
    brighter = tuple(FitPercentile(name="high", percent=90.0) if step == FIT[1] else step for step in STAGE.before)
    stage = msgspec.structs.replace(STAGE, before=brighter)
    other = make_package(tmp_path / "other", msgspec.structs.replace(SPEC, stages=(stage,))).folder
    done = brain_edge("evaluate", other, cohort, "--baseline", package, "--max-dice-drop", "0.0001")
    assert done.code == 4
    assert "candidate against baseline" in done.out
    assert "the accuracy budget is not met: mean drop of label 1 is" in done.err
