"""Synthetic heads: real anatomy, drawn contrast, masks that lie where the anatomy does, and marked wherever they go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
import pytest
from cli_program import brain_edge

from brain_edge.errors import InputError, UsageError
from brain_edge.evaluation.cohort import Split, check_cohort, load_cohort
from brain_edge.evaluation.cohort.check import CheckedCase
from brain_edge.evaluation.cohort.synthesize import FULL_SCALE, Synthesis, synthesize
from brain_edge.evaluation.cohort.synthetic_cohort import SyntheticPlan, create_synthetic_cohort
from brain_edge.image.geometry import Geometry
from brain_edge.image.volume import Mask

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (30, 34, 32)
AFFINE = np.diag([-2.0, 2.0, 2.0, 1.0])
AFFINE[:3, 3] = (29, -31, -33)
SEEDS = range(8)


def anatomy() -> Mask:
    """Two tissues, one inside the other, off the middle."""
    i, j, k = np.meshgrid(*(np.arange(side) for side in SHAPE), indexing="ij")
    distance = np.sqrt((i - 13) ** 2 + (j - 18) ** 2 + (k - 15) ** 2)
    return Mask(((distance < 9).astype(np.uint8) + (distance < 5)).astype(np.uint8), Geometry(SHAPE, AFFINE))


def centre_mm(mask: Mask, label: int) -> np.ndarray:
    """Centre of mass in the world."""
    voxels = np.argwhere(mask.labels == label).mean(axis=0)
    return mask.geometry.affine[:3, :3] @ voxels + mask.geometry.affine[:3, 3]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_mask_lies_where_the_anatomy_was_or_mirrored_on_the_middle(seed: int):
    """However thick the slices are: a grid that is off by half a slice would move it."""
    source = anatomy()
    _, mask = synthesize(source, Synthesis(seed))
    found, expected = centre_mm(mask, 2), centre_mm(source, 2)
    mirrored = expected * (-1, 1, 1)
    spacing = max(mask.geometry.spacing_mm)
    assert min(np.abs(found - expected).max(), np.abs(found - mirrored).max()) < 0.51 * spacing
    assert mask.volume_ml(2) == pytest.approx(source.volume_ml(2), rel=0.2)


@pytest.mark.parametrize("seed", SEEDS)
def test_tissues_can_be_told_apart_from_air(seed: int):
    volume, mask = synthesize(anatomy(), Synthesis(seed, shell_mm=0))
    assert volume.geometry.same_grid(mask.geometry)
    inside, outside = volume.voxels[mask.labels == 2], volume.voxels[mask.labels == 0]
    assert np.median(inside) > np.median(outside)
    assert 0 <= volume.voxels.min() < volume.voxels.max() < 3 * FULL_SCALE


def test_the_same_seed_gives_the_same_head_and_another_one_another():
    first, again, other = (synthesize(anatomy(), Synthesis(seed))[0].voxels for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert first.shape != other.shape or not np.array_equal(first, other)


def test_contrast_is_drawn():
    """Brighter inside in some heads, darker in others: no network can rely on it."""
    brighter = []
    for seed in range(12):
        volume, mask = synthesize(anatomy(), Synthesis(seed))
        brighter.append(volume.voxels[mask.labels == 2].mean() > volume.voxels[mask.labels == 1].mean())
    assert {True, False} == set(brighter)


def test_a_shell_puts_tissue_around_the_brain_that_is_in_no_mask():
    bare, wrapped = (synthesize(anatomy(), Synthesis(1, shell_mm=shell)) for shell in (0, 12))
    assert set(np.unique(wrapped[1].labels)) == set(np.unique(bare[1].labels)) == {0, 1, 2}
    tissue = [np.count_nonzero(volume.voxels > 0.09 * FULL_SCALE) for volume, _ in (bare, wrapped)]
    assert tissue[1] > 1.5 * tissue[0]


def test_tissues_can_be_merged_into_one_brain():
    (_, apart), (_, merged) = (synthesize(anatomy(), Synthesis(2, merge=merge)) for merge in (False, True))
    np.testing.assert_array_equal(merged.labels, (apart.labels > 0).astype(np.uint8))


def test_an_empty_map_is_refused():
    with pytest.raises(InputError, match="expected tissues in the label map, got 0 in every voxel"):
        synthesize(Mask(np.zeros(SHAPE, np.uint8), Geometry(SHAPE, AFFINE)), Synthesis(1))


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"seed": -1}, "expected a seed of 0 or more, got -1"),
        ({"seed": 0, "shell_mm": 41}, "a shell of 0 to 40 mm, got 41"),
    ],
)
def test_what_makes_no_head_is_refused(how: dict[str, Any], words: str):
    with pytest.raises(UsageError, match=words):
        Synthesis(**how)


def save_maps(folder: Path, count: int) -> list[Path]:
    """Label maps of people with names."""
    folder.mkdir()
    paths = [folder / f"MUSTERMANN_{number}.nii.gz" for number in range(count)]
    for path in paths:
        nib.save(nib.Nifti1Image(anatomy().labels, AFFINE), path)
    return paths


def test_a_cohort_is_marked_synthetic_and_can_be_used(tmp_path: Path):
    plan = SyntheticPlan(name="made", per_anatomy=2)
    create_synthetic_cohort(save_maps(tmp_path / "maps", 3), tmp_path / "made", plan)
    cohort = load_cohort(tmp_path / "made/cohort.toml")
    assert cohort.manifest.synthetic
    assert cohort.manifest.title.startswith("SYNTHETIC")
    assert all(isinstance(result, CheckedCase) for result in check_cohort(cohort))
    for path in (tmp_path / "made").rglob("*.nii.gz"):
        assert nib.load(path).header["descrip"].item().startswith(b"SYNTHETIC")


def test_heads_of_one_anatomy_are_in_one_split_and_nobody_is_named(tmp_path: Path):
    plan = SyntheticPlan(name="made", per_anatomy=3)
    cohort = create_synthetic_cohort(save_maps(tmp_path / "maps", 4), tmp_path / "made", plan)
    splits: dict[str, set[Split]] = {case.entry.subject: set() for case in cohort.cases()}
    for case in cohort.cases():
        splits[case.entry.subject].add(case.entry.split)
    assert all(len(found) == 1 for found in splits.values())
    assert set().union(*splits.values()) == set(Split)
    assert "MUSTERMANN" not in (tmp_path / "made/cohort.toml").read_text()
    assert not any("MUSTERMANN" in path.name for path in (tmp_path / "made").rglob("*"))


def test_too_few_anatomies_are_refused_and_leave_nothing(tmp_path: Path):
    maps = save_maps(tmp_path / "maps", 2)
    done = brain_edge("cohort", "synthesize", *maps, "-o", tmp_path / "made")
    assert done.code == 3
    assert "found 2: 1 more needed" in done.err
    assert not (tmp_path / "made").exists()


def test_the_command_says_what_it_made(tmp_path: Path):
    maps = save_maps(tmp_path / "maps", 3)
    done = brain_edge("cohort", "synthesize", *maps, "-o", tmp_path / "made", "--per-anatomy", 1, "--merge", "-q")
    assert done.code == 0, done.err
    assert "SYNTHETIC, 1 calibration, 1 validation, 1 test" in done.out
