"""What is written down of a candidate is what its masks are: measured once more here, with numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from cohorts import SHAPE, SPACING_MM, Identity, head, make_case, save_manifest, threshold_model

from brain_edge.errors import InputError
from brain_edge.evaluation.cohort import CaseEntry, Cohort, load_cohort
from brain_edge.evaluation.scores import hd95_mm
from brain_edge.spec import Task
from brain_edge_conversion.budget.measure import measure, subject_numbers, write_baseline

if TYPE_CHECKING:
    from pathlib import Path


def cohort_of(folder: Path, *cases: CaseEntry) -> Cohort:
    return load_cohort(save_manifest(folder, *cases))


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * np.sum(a & b) / (a.sum() + b.sum()))


def test_every_figure_is_that_of_the_two_masks_and_the_reference(tmp_path: Path):
    heads = {"Ann": head(1), "ann ": head(2), "Bob": head(3)}
    cohort = cohort_of(
        tmp_path,
        *(make_case(tmp_path, name, voxels=each, mask=(each > 700).astype(np.uint8)) for name, each in heads.items()),
    )
    write_baseline(threshold_model(300), cohort.cases(), tmp_path)
    records = measure(threshold_model(500), cohort.cases(), tmp_path, subject_numbers(cohort))
    assert any(record.hd95_baseline_mm != record.hd95_candidate_mm for record in records)
    assert [(record.case, record.subject) for record in records] == [(1, 1), (2, 1), (3, 2)], "two visits of one person"
    for record, voxels in zip(records, heads.values(), strict=True):
        baseline, candidate, reference = voxels > 300, voxels > 500, voxels > 700
        assert record.agreement == pytest.approx(dice(baseline, candidate))
        assert record.dice_baseline == pytest.approx(dice(baseline, reference))
        assert record.dice_candidate == pytest.approx(dice(candidate, reference))
        assert record.drop == pytest.approx(dice(baseline, reference) - dice(candidate, reference))
        volumes = (record.volume_baseline_ml, record.volume_candidate_ml, record.reference_volume_ml)
        counts = [each.sum() * SPACING_MM**3 / 1000 for each in (baseline, candidate, reference)]
        assert volumes == pytest.approx(counts)
        spacing_mm = (SPACING_MM,) * 3
        distances = [hd95_mm(each, reference, spacing_mm) for each in (baseline, candidate)]
        assert [record.hd95_baseline_mm, record.hd95_candidate_mm] == distances
        assert record.voxel_diagonal_mm == pytest.approx(SPACING_MM * 3**0.5)
        assert record.lesions is None


def test_a_mask_of_the_baseline_is_made_once(tmp_path: Path):
    cohort, session = cohort_of(tmp_path, make_case(tmp_path, "a"), make_case(tmp_path, "b")), Identity()
    for _ in range(2):
        write_baseline(threshold_model(300, session), cohort.cases(), tmp_path)
    assert session.runs == 2


@pytest.mark.parametrize("damage", ["emptied", "cut", "flipped", "another"])
def test_a_mask_of_the_baseline_that_a_disk_has_damaged_is_made_again(damage: str, tmp_path: Path):
    cohort, session = cohort_of(tmp_path, make_case(tmp_path, "a")), Identity()
    write_baseline(threshold_model(300, session), cohort.cases(), tmp_path)
    (path,) = tmp_path.glob("*.npz")
    whole = path.read_bytes()
    if damage == "another":
        np.savez(path, other=np.zeros(3))
    else:
        middle = len(whole) // 2
        flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
        path.write_bytes({"emptied": b"", "cut": whole[:middle], "flipped": flipped}[damage])
    write_baseline(threshold_model(300, session), cohort.cases(), tmp_path)
    assert session.runs == 2
    assert path.read_bytes() == whole


def test_a_label_must_be_in_a_mask_or_in_a_reference(tmp_path: Path):
    blind = cohort_of(tmp_path, make_case(tmp_path, "a"))
    with pytest.raises(InputError, match=r"label 1 \(bright\) occurs in no reference and no mask of the baseline"):
        write_baseline(threshold_model(1e6), blind.cases(), tmp_path)
    write_baseline(threshold_model(1e6), blind.cases(), tmp_path, unbound=(1,))
    known = cohort_of(tmp_path, make_case(tmp_path, "b", mask=np.ones(SHAPE, np.uint8)))
    (tmp_path / "masks").mkdir()
    write_baseline(threshold_model(1e6), known.cases(), tmp_path / "masks")


def test_lesions_are_counted_for_each_of_the_two(tmp_path: Path):
    """A bright and a dim one: the candidate sees the bright one alone."""
    voxels = np.zeros(SHAPE, np.float32)
    voxels[1:4, 1:4, 1:4], voxels[7:10, 7:10, 7:10] = 600, 400
    cohort = cohort_of(tmp_path, make_case(tmp_path, "a", voxels=voxels, mask=(voxels > 0).astype(np.uint8)))
    write_baseline(threshold_model(300, task=Task.LESION), cohort.cases(), tmp_path)
    (record,) = measure(threshold_model(500, task=Task.LESION), cohort.cases(), tmp_path, {1: 1})
    assert (record.lesions, record.found_baseline, record.found_candidate) == (2, 2, 1)
