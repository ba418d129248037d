"""A cohort may hold studies as they were scanned: each is prepared once, and judged where its reference mask lies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from cli_program import make_package, refused, succeed
from cohorts import file_entry, save_manifest
from test_run import GRID, scanned

from brain_edge.engine.segmenter import Segmenter
from brain_edge.evaluation.cohort import CaseEntry, Split, load_case, load_cohort
from brain_edge.image.volume import Volume
from brain_edge.io.nifti import write_image, write_mask

if TYPE_CHECKING:
    from pathlib import Path


def test_a_raw_study_is_prepared_once_and_judged_where_its_reference_lies(tmp_path: Path):
    package, head = make_package(tmp_path / "package", GRID), scanned()
    write_image(head, tmp_path / "head.nii.gz")
    write_mask(Segmenter.open(package)(head).mask, head, tmp_path / "reference.nii.gz")
    images = {"T1": file_entry(tmp_path / "head.nii.gz", tmp_path)}
    reference = file_entry(tmp_path / "reference.nii.gz", tmp_path)
    cohort = save_manifest(tmp_path, CaseEntry(subject="one", split=Split.TEST, inputs=images, reference=reference))
    command = ("evaluate", package.folder, cohort, "--prepared", tmp_path / "kept", "--json", "-q")
    first = succeed(*command).json
    assert first["summaries"][0]["mean_dice"] > 0.999
    (entry,) = (tmp_path / "kept").iterdir()
    before = entry.stat().st_mtime_ns
    assert succeed(*command).json["summaries"] == first["summaries"]
    assert [path.stat().st_mtime_ns for path in (tmp_path / "kept").iterdir()] == [before]


@pytest.mark.parametrize("command", ["evaluate", "quantize"])
def test_a_file_as_the_folder_of_prepared_studies_is_refused_before_any_work(tmp_path: Path, command: str):
    package, head = make_package(tmp_path / "package", GRID), tmp_path / "head.nii.gz"
    write_image(scanned(), head)
    entry = CaseEntry(subject="one", split=Split.TEST, inputs={"T1": file_entry(head, tmp_path)})
    cohort = save_manifest(tmp_path, entry)
    given = {
        "evaluate": (cohort,),
        "quantize": ("--calibration", cohort, "-o", tmp_path / "int8", "--max-dice-drop", "0.1"),
    }
    said = refused(2, command, package.folder, *given[command], "--prepared", head)
    assert "head.nii.gz: expected a folder" in said
    assert not (tmp_path / "int8").exists()


@pytest.mark.full  # a whole quantise, with the imports of NNCF
def test_what_a_search_has_prepared_is_there_for_the_next_command(tmp_path: Path):
    package = make_package(tmp_path / "package", GRID)
    write_image(scanned(), tmp_path / "head.nii.gz")
    images = {"T1": file_entry(tmp_path / "head.nii.gz", tmp_path)}
    entries = [CaseEntry(subject=str(split), split=split, inputs=images) for split in Split]
    cohort = save_manifest(tmp_path, *entries, demo=True)
    limits = ("--max-dice-drop", "0.4", "--max-disagreement", "0.9", "--min-int8-share", "0.01", "--no-gain")
    kept = ("--prepared", tmp_path / "kept")
    quantised = tmp_path / "int8"
    succeed("quantize", package.folder, "--calibration", cohort, "-o", quantised, *limits, *kept, "-q")
    (entry,) = (tmp_path / "kept").iterdir()
    before = entry.stat().st_mtime_ns
    succeed("evaluate", quantised, cohort, *kept, "-q")
    assert [path.stat().st_mtime_ns for path in (tmp_path / "kept").iterdir()] == [before]


def test_a_reference_may_lie_on_any_sequence_of_its_case(tmp_path: Path):
    head = scanned()
    small = Volume(head.voxels[5:-5], head.geometry.cropped(((5, 55), (0, 70), (0, 36))))
    for name, volume in {"T1": head, "T2": small}.items():
        write_image(volume, tmp_path / f"{name}.nii.gz")
    write_image(Volume(np.where(small.voxels > 100, 1.0, 0.0), small.geometry), tmp_path / "reference.nii.gz")
    images = {name: file_entry(tmp_path / f"{name}.nii.gz", tmp_path) for name in ("T1", "T2")}
    reference = file_entry(tmp_path / "reference.nii.gz", tmp_path)
    entry = CaseEntry(subject="one", split=Split.TEST, inputs=images, reference=reference)
    (case,) = load_cohort(save_manifest(tmp_path, entry, sequences=("T1", "T2"))).cases()
    study, mask = load_case(case)
    assert study.reference == "T2"
    assert mask is not None
    assert mask.geometry.same_grid(study.geometry)
