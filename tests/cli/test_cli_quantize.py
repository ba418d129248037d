"""`brain-edge quantize` refuses what cannot become a result in one sentence, before anything is computed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from cli_program import make_package, refused, succeed
from cohorts import SHAPE, SPACING_MM, file_entry, head, make_case, save, save_manifest

from brain_edge.evaluation.cohort import Split
from brain_edge.package import NumberFormat, WeightsStatus, open_package
from brain_edge.package.digest import sha256_of

if TYPE_CHECKING:
    from pathlib import Path

    from brain_edge.evaluation.cohort import CaseEntry


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_package(tmp_path_factory.mktemp("fp32") / "package").folder


def three_heads(folder: Path) -> list[CaseEntry]:
    """One for each split, each with a reference mask."""
    cases = []
    for number, split in enumerate(Split, start=1):
        voxels = head(number)
        cases.append(make_case(folder, f"p{number}", split, voxels=voxels, mask=(voxels > 300).astype(np.uint8)))
    return cases


def says(package: Path, manifest: Path, code: int, *options: str) -> str:
    """The refusal, once nothing was computed and nothing is left."""
    target = manifest.parent / "int8"
    limit = () if "--max-dice-drop" in options else ("--max-dice-drop", "0.01")
    said = refused(code, "quantize", package, "--calibration", manifest, "-o", target, *limit, *options)
    assert "collecting network inputs" not in said
    assert not target.exists()
    assert not [path for path in manifest.parent.iterdir() if path.name.startswith(".")]
    return said


def test_a_subject_in_two_splits(package: Path, tmp_path: Path):
    cases = [make_case(tmp_path, "p1", split, voxels=head(n), sequence=f"T{n}") for n, split in enumerate(Split)]
    said = says(package, save_manifest(tmp_path, *cases, sequences=("T0", "T1", "T2")), 3)
    assert "the subject p1 is in the splits calibration and validation" in said
    assert "Give each subject one split (or set `demo = true`" in said


@pytest.mark.parametrize("changed", ["p1/T1.nii.gz", "p3/T1_mask.nii.gz"])
def test_a_file_that_has_changed_since_the_manifest_was_written(package: Path, tmp_path: Path, changed: str):
    manifest = save_manifest(tmp_path, *three_heads(tmp_path))
    was = sha256_of(tmp_path / changed)
    save(tmp_path / changed, np.eye(*SHAPE[:2], dtype=np.uint8)[..., None].repeat(SHAPE[2], axis=2))
    said = says(package, manifest, 3)
    assert changed in said
    assert was[:8] in said


def test_a_mask_on_another_grid(package: Path, tmp_path: Path):
    cases = three_heads(tmp_path)
    mask = save(tmp_path / "p3/T1_mask.nii.gz", np.ones(SHAPE, np.uint8), SPACING_MM - 1)
    cases[2] = msgspec.structs.replace(cases[2], reference=file_entry(mask, tmp_path))
    said = says(package, save_manifest(tmp_path, *cases), 3)
    assert "got 12 x 14 x 13 voxels of 15 x 15 x 15 mm, RAS" in said
    assert "resample the mask to that image first" in said


def test_no_validation_case(package: Path, tmp_path: Path):
    calibration, _, test = three_heads(tmp_path)
    said = says(package, save_manifest(tmp_path, calibration, test), 3)
    assert "has no validation case (calibration: 1, validation: 0, test: 1); add cases to" in said


def test_an_atlas_where_nothing_is_prepared(package: Path, tmp_path: Path):
    manifest = save_manifest(tmp_path, *three_heads(tmp_path))
    said = says(package, manifest, 2, "--atlas", str(tmp_path / "p1/T1.nii.gz"))
    assert "--atlas has no effect with tiny, which has no preparation; remove it" in said


@pytest.mark.parametrize("budget", ["0", "-0.01", "1", "1.5", "nan"])
def test_a_budget_that_nothing_meets_or_everything(package: Path, tmp_path: Path, budget: str):
    manifest = save_manifest(tmp_path, *three_heads(tmp_path))
    said = says(package, manifest, 2, "--max-dice-drop", budget)
    assert f"expected --max-dice-drop between 0 and 1 (a Dice drop, such as 0.01), got {budget}" in said


@pytest.mark.parametrize("number", [1, 2, 3])
def test_nan_in_one_volume_of_any_split(package: Path, tmp_path: Path, number: int):
    """The test head is read on the first day, not when the search has found its candidate."""
    cases = three_heads(tmp_path)
    voxels = head(number)
    voxels[3, 4, 5] = np.nan
    cases[number - 1] = make_case(tmp_path, f"p{number}", list(Split)[number - 1], voxels=voxels)
    said = says(package, save_manifest(tmp_path, *cases), 3)
    assert f"p{number}/T1.nii.gz" in said
    assert "expected finite intensities, got NaN or infinity" in said


def test_a_report_without_patients_needs_a_folder(package: Path, tmp_path: Path):
    manifest = save_manifest(tmp_path, *three_heads(tmp_path))
    assert "--without-patients has no effect without --report FOLDER; remove it" in says(
        package, manifest, 2, "--without-patients"
    )


def test_without_a_limit_nothing_is_quantised(package: Path, tmp_path: Path):
    said = refused(2, "quantize", package, "-o", tmp_path / "int8")
    assert "Missing option '--max-dice-drop'. Give the Dice drop that INT8 may cost, such as 0.01" in said
    assert "for random weights give --for-speed" in said


def test_random_weights_are_quantised_for_speed_and_promise_nothing(tmp_path: Path):
    package = make_package(tmp_path / "net-fp32", weights_status=WeightsStatus.RANDOM).folder
    said = succeed("quantize", package, "--for-speed", "--quiet").out
    assert "only its speed and memory are meaningful" in said
    quantised = open_package(tmp_path / "net-int8")
    assert quantised.manifest.number_format is NumberFormat.INT8
    assert quantised.manifest.weights_status is WeightsStatus.RANDOM
    assert quantised.manifest.evidence is None


def test_trained_weights_are_not_quantised_for_speed(package: Path, tmp_path: Path):
    said = refused(2, "quantize", package, "--for-speed", "-o", tmp_path / "int8")
    assert "--for-speed is for random weights, and these are trained; replace it by --max-dice-drop" in said
    assert list(tmp_path.iterdir()) == []


def test_for_speed_there_is_no_budget(package: Path):
    said = refused(2, "quantize", package, "--for-speed", "--max-dice-drop", "0.01", "--report", "r")
    assert "--report, --max-dice-drop have no effect with --for-speed; remove them" in said
    assert "expected --max-dice-drop with --unbound" in refused(2, "quantize", package, "--for-speed", "--unbound", "1")


def test_where_errors_arise_is_a_table_and_one_picture(package: Path, tmp_path: Path):
    manifest, place = save_manifest(tmp_path, *three_heads(tmp_path)), tmp_path / "errors"
    done = succeed("quantize", package, "--calibration", manifest, "--explain", place)
    table = (place / "int8-layers.md").read_text(encoding="utf-8")
    assert "| layer | input range | narrowest channel | clipped | weights alone | input alone | both |" in table
    assert table.splitlines()[0] in done.out
    assert {path.name for path in place.iterdir()} == {"int8-layers.md", "int8-layers.json", "int8-layers.png"}
    assert (place / "int8-layers.png").read_bytes().startswith(b"\x89PNG")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_what_has_no_effect_beside_an_explanation_is_refused(package: Path, tmp_path: Path):
    said = refused(2, "quantize", package, "--explain", tmp_path / "errors", "--max-dice-drop", "0.01", "--for-speed")
    assert "--max-dice-drop, --for-speed have no effect with --explain; remove them" in said
    assert not (tmp_path / "errors").exists()
