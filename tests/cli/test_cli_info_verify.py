"""`brain-edge info` and `brain-edge verify`: what a package is, and whether this machine computes what it should."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec
import pytest
from cli_program import make_package, refused, succeed
from evidences import evidence

from brain_edge.evaluation.evidence import spelt
from brain_edge.package import ModelPackage, WeightsStatus, graph_path, open_package
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
    assert rows["inputs"] == "T1 (T1w)"
    assert rows["labels"] == "1 brain"
    assert rows["weights"] == "trained"
    assert rows["use"].startswith("Research use only.")
    assert rows["digest"] == package.digest
    assert done.err == ""


@pytest.mark.parametrize(
    ("changes", "may", "may_not"),
    [
        ({}, "write NIfTI masks", None),
        (
            {"evidence": spelt(evidence(demonstration=True))},
            "write NIfTI masks",
            "write DICOM: this package is a demonstration, measured on one head, and a DICOM result could reach a "
            "patient's record; write NIfTI instead, or make the package again with heads of at least three people "
            "(--calibration)",
        ),
        (
            {"weights_status": WeightsStatus.RANDOM},
            "measure speed and memory; run with --allow-untrained",
            "write DICOM: the weights of this package are random, not trained, and a DICOM result could reach a "
            "patient's record; write NIfTI instead",
        ),
    ],
    ids=["trained", "demonstration", "random"],
)
def test_info_says_what_a_package_may_do_and_what_is_missing(tmp_path, changes, may, may_not):
    lines = succeed("info", make_package(tmp_path / "package", **changes).folder).out.splitlines()
    assert f"may          {may}" in lines
    assert (f"may not      {may_not}" in lines) is (may_not is not None)
    assert ("             write DICOM (SEG, SR, secondary capture)" in lines) is (may_not is None)


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
    said = refused(2, "info")
    assert "expected one package in the current folder or in BRAIN_EDGE_PACKAGES, got none; name it" in said
    for name in ("one", "two"):
        make_package(tmp_path / name)
    assert "got one, two; name it" in refused(2, "info")


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
    assert "do not use this package until you know the reason" in said


def test_verify_fails_where_the_machine_computes_something_else(tmp_path):
    """A package whose shipped mask is of another model, sealed with correct hashes: only running it can tell."""
    folder = make_package(tmp_path / "tiny").folder
    _empty_the_shipped_mask(folder)
    said = refused(1, "verify", folder)
    assert "the self-test expected Dice of at least 0.98 with the shipped mask, got 0.00000" in said


def test_verify_says_how_far_the_mask_is_from_that_of_the_baseline(tmp_path):
    folder = _with_baseline(tmp_path / "tiny", planes=0, least=0.9)
    said = succeed("verify", folder).out
    assert "baseline     Dice 1.00000 with the package that it was made from" in said
    assert "(when built 1.00000, at least 0.90000 expected); a phantom does not predict accuracy" in said
    assert succeed("verify", folder, "--json").json["baseline_dice"] == 1.0


def test_verify_fails_where_int8_runs_further_from_its_baseline_than_the_budget_allows(tmp_path):
    """The mask is that which was shipped: only the comparison with the baseline can tell."""
    folder = _with_baseline(tmp_path / "tiny", planes=22, least=0.9)
    said = refused(1, "verify", folder)
    assert "the self-test expected Dice of at least 0.9 with the mask of the baseline package, got " in said
    assert "this machine computes other masks, do not use the package on it" in said


def test_a_baseline_mask_without_a_hash_is_refused(tmp_path):
    folder = make_package(tmp_path / "tiny").folder
    manifest = open_package(folder).manifest
    test = msgspec.structs.replace(manifest.self_test, baseline="selftest/baseline.nii.gz")
    seal(folder, msgspec.structs.replace(manifest, self_test=test))
    assert "no hash of selftest/baseline.nii.gz in the manifest" in refused(5, "verify", folder)


def _with_baseline(folder: Path, *, planes: int, least: float) -> Path:
    """A package whose baseline's mask is its own without the first planes."""
    manifest = make_package(folder).manifest
    baseline = "selftest/baseline.nii.gz"
    (folder / baseline).write_bytes((folder / manifest.self_test.mask).read_bytes())
    _empty(folder / baseline, planes)
    test = msgspec.structs.replace(manifest.self_test, baseline=baseline, minimum_baseline_dice=least)
    seal(folder, msgspec.structs.replace(manifest, self_test=test))
    return folder


def _empty_the_shipped_mask(folder: Path) -> None:
    manifest = open_package(folder).manifest
    _empty(folder / manifest.self_test.mask, None)
    seal(folder, manifest)


def _empty(path: Path, planes: int | None) -> None:
    import nibabel
    import numpy as np

    mask = nibabel.load(path)
    labels = np.asarray(mask.dataobj).astype(np.uint8)
    labels[:planes] = 0
    nibabel.save(nibabel.Nifti1Image(labels, mask.affine), path)


@pytest.mark.parametrize("content", [b"", b"rubbish", bytes(352)])
def test_a_self_test_mask_that_cannot_be_read_is_damage(content, tmp_path):
    """With the right hash: a builder's fault, or tampering."""
    folder = tmp_path / "package"
    manifest = make_package(folder).manifest
    (folder / manifest.self_test.mask).write_bytes(content)
    seal(folder, msgspec.structs.replace(manifest, files={}))
    assert "the self-test has no usable mask" in refused(5, "verify", folder)


@pytest.mark.parametrize(
    "change", [('strides="1', 'strides="x'), ('size="216"', 'size="9999"'), ('"Result"', '"Relu"')]
)
def test_a_graph_that_openvino_cannot_read_is_damage_and_no_lack_of_memory(change, tmp_path):
    folder = tmp_path / "package"
    manifest = make_package(folder).manifest
    graph = folder / graph_path("tiny")
    graph.write_text(graph.read_text().replace(*change))
    seal(folder, msgspec.structs.replace(manifest, files={}))
    said = refused(5, "verify", folder)
    assert "expected a graph of one input and one output; convert or copy the package again" in said
    assert "memory" not in said
