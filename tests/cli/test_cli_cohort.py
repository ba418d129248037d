"""`brain-edge cohort create|check|fetch`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from cli_program import brain_edge, refused, save_phantom, succeed
from cohorts import SHAPE, head, save

from brain_edge.evaluation.cohort import load_cohort

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def heads(tmp_path) -> Path:
    """A folder of three subjects with one head and one mask each."""
    for number in range(3):
        save(tmp_path / f"heads/p{number}/v1_T1.nii.gz", head(number))
        save(tmp_path / f"heads/p{number}/v1_T1_gold.nii.gz", np.ones(SHAPE, np.uint8))
    return tmp_path / "heads"


def create(heads: Path, *options: object) -> Path:
    manifest = heads.parent / "site.toml"
    done = succeed("cohort", "create", heads, "-o", manifest, "--mask-pattern", "{image}_gold", *options)
    counts = "1 calibration, 1 validation, 1 test; 3 with a reference mask"
    assert done.out == f"{manifest}: {counts}; SHA-256 {load_cohort(manifest).sha256}\n"
    return manifest


def test_a_folder_becomes_a_cohort(heads):
    cohort = load_cohort(create(heads, "--name", "site", "--licence", "CC0", "--sequence", "T1"))
    assert (cohort.manifest.name, cohort.manifest.licence) == ("site", "CC0")
    assert all(case.has_reference for case in cohort.cases())


def test_the_name_is_the_folders_unless_stated(heads):
    assert load_cohort(create(heads)).manifest.name == "heads"


def test_check_counts_what_can_be_used(heads):
    done = succeed("cohort", "check", create(heads))
    assert done.out == "3 of 3 cases can be used, 3 with a reference mask\n"
    assert done.err.count("\n") == 3
    assert succeed("cohort", "check", create(heads), "--quiet").err == ""


def test_check_says_what_is_wrong_with_which_case_and_ends_with_3(heads):
    manifest = create(heads)
    save_phantom(heads / "p1/v1_T1.nii.gz")
    done = brain_edge("cohort", "check", manifest, "--quiet")
    assert (done.code, done.out) == (3, "2 of 3 cases can be used, 2 with a reference mask\n")
    assert "p1/v1_T1.nii.gz" in done.err
    assert "cannot be used; see the messages above" in done.err


def test_fetch_downloads_nothing_for_a_cohort_of_local_files(heads):
    assert succeed("cohort", "fetch", create(heads)).out == "0 file(s) available\n"


def test_what_is_refused(heads, tmp_path):
    assert "Missing option '-o'" in refused(2, "cohort", "create", heads)
    assert "there is no cohort 'nobody'" in refused(2, "cohort", "check", "nobody")
    assert "no.toml" in refused(3, "cohort", "check", tmp_path / "no.toml")
    assert "No such command 'delete'" in refused(2, "cohort", "delete", "x")
    (tmp_path / "empty").mkdir()
    refused(3, "cohort", "create", tmp_path / "empty", "-o", tmp_path / "c.toml")
    assert not (tmp_path / "c.toml").exists()


def test_a_manifest_of_a_newer_program_is_refused_by_its_unknown_field(heads):
    manifest = create(heads)
    manifest.write_text("priority = 1\n" + manifest.read_text())
    assert "priority" in refused(3, "cohort", "check", manifest)
