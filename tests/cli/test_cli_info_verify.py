"""`brain-edge info` and `brain-edge verify`: what a package is, and whether this machine computes what it should."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from cli_program import make_package, refused, succeed

from brain_edge.package import ModelPackage, open_package
from brain_edge_conversion.sealing.writer import seal

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> ModelPackage:
    return make_package(tmp_path_factory.mktemp("packages") / "tiny")


def test_info_names_model_labels_use_and_digest(package):
    done = succeed("info", package.folder)
    rows = dict(line.split(maxsplit=1) for line in done.out.splitlines() if not line.startswith(" "))
    assert rows["model"] == "tiny (skull-stripping)"
    assert rows["inputs"] == "T1"
    assert rows["labels"] == "1 brain"
    assert rows["weights"] == "trained"
    assert rows["use"].startswith("Research use only.")
    assert rows["digest"] == package.digest
    assert done.err == ""


def test_info_as_json_is_the_manifest_with_its_digest(package):
    whole = succeed("info", package.folder, "--json").json
    assert whole["digest"] == package.digest
    assert whole["size_bytes"] == sum(file["size_bytes"] for file in whole["manifest"]["files"].values())
    assert whole["manifest"] == json.loads((package.folder / "manifest.json").read_text())


def test_a_package_may_be_left_out_where_the_current_folder_is_one_or_holds_one(package, monkeypatch):
    named = succeed("info", package.folder).out
    monkeypatch.chdir(package.folder)
    assert succeed("info").out == named
    monkeypatch.chdir(package.folder.parent)
    assert succeed("info").out == named


def test_a_package_must_be_named_where_there_is_none_or_more_than_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "name the package: the current folder should be one" in refused(2, "info")
    for name in ("one", "two"):
        make_package(tmp_path / name)
    assert "it holds one, two" in refused(2, "info")


def test_verify_counts_files_and_runs_the_self_test(package):
    done = succeed("verify", package.folder)
    assert f"files        {len(package.manifest.files)} checked" in done.out
    assert "self-test    Dice 1.00000 (at least 0.98 expected)" in done.out
    assert package.digest in done.out


def test_verify_as_json(package):
    found = succeed("verify", package.folder, "--json", "--threads", 1).json
    assert (found["dice"], found["minimum_dice"], found["digest"]) == (1.0, 0.98, package.digest)
    assert found["files"] == len(package.manifest.files)
    assert "FP32" in found["cpu_capabilities"]


def test_verify_compares_the_digest(package):
    succeed("verify", package.folder, "--expect-digest", package.digest)
    said = refused(5, "verify", package.folder, "--expect-digest", "1" * 64)
    assert "do not use it before you know why" in said


def test_verify_fails_where_the_machine_computes_something_else(tmp_path):
    """A package whose shipped mask is of another model, sealed with correct hashes: only running it can tell."""
    folder = make_package(tmp_path / "tiny").folder
    _empty_the_shipped_mask(folder)
    said = refused(1, "verify", folder)
    assert "the self-test gives Dice 0.00000 against the mask that was shipped, expected at least 0.98" in said


def _empty_the_shipped_mask(folder: Path) -> None:
    import nibabel
    import numpy as np

    manifest = open_package(folder).manifest
    path = folder / manifest.self_test.mask
    mask = nibabel.load(path)
    nibabel.save(nibabel.Nifti1Image(np.zeros(mask.shape, np.uint8), mask.affine), path)
    seal(folder, manifest)
