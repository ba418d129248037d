"""One head under two names, in every disguise that files have; and two heads that are none."""

from __future__ import annotations

import gzip
import itertools
from functools import cache
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import pytest
from cli_program import brain_edge, refused, succeed
from cohorts import file_entry, save_manifest, threshold_model, threshold_spec
from nibabel.processing import resample_to_output
from phantoms import ORIENTATIONS, save_with_fields
from scipy.ndimage import gaussian_filter, zoom
from scipy.spatial.transform import Rotation

from brain_edge.errors import InputError
from brain_edge.evaluation.cohort import CaseEntry, Split, check_cohort, load_cohort, require_cases
from brain_edge.evaluation.cohort.check import RefusedCase
from brain_edge.evaluation.evaluate import evaluate
from brain_edge.image.geometry import Geometry
from brain_edge.image.identity import COPY_CORRELATION, image_sha256, likeness, thumbnail
from brain_edge.image.phantom import Phantom, make_volume
from brain_edge.image.volume import Volume
from brain_edge.io.nifti import read_volume

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from brain_edge.evaluation.cohort import Cohort

SPACING_MM = 3.0
AFFINE = np.diag([-SPACING_MM, -SPACING_MM, SPACING_MM, 1.0])
"""LPS, as most scanners store."""


@cache
def person(seed: int) -> np.ndarray:
    """Whole numbers (I, J, K) of a phantom with an anatomy of its own."""
    bones = make_volume(Phantom(seed=seed, shape=(62, 74, 70), spacing_mm=SPACING_MM)).voxels
    soft = gaussian_filter(np.random.default_rng(seed).normal(size=bones.shape), 4)
    return np.round(bones * (1 + 0.2 * soft / soft.std())).clip(0).astype(np.int16)


def plain(path: Path, voxels: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    nib.save(nib.Nifti1Image(voxels, affine), path)


def compressed(path: Path, level: int) -> None:
    plain(path.with_suffix(""), person(1))
    path.write_bytes(gzip.compress(path.with_suffix("").read_bytes(), level, mtime=level))
    path.with_suffix("").unlink()


def reoriented(path: Path, code: str) -> None:
    image = nib.Nifti1Image(person(1), AFFINE)
    turn = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(AFFINE), nib.orientations.axcodes2ornt(tuple(code))
    )
    nib.save(image.as_reoriented(turn), path)


def described(path: Path) -> None:
    image = nib.Nifti1Image(person(1), AFFINE)
    image.header["descrip"] = b"somebody else"
    nib.save(image, path)


def stored_as_other_numbers(path: Path) -> None:
    """With a slope, as RAS: the file holds the double of each value."""
    save_with_fields(path, person(1)[::-1, ::-1] * 2, scl_slope=0.5)


def resampled(path: Path, spacing_mm: float) -> None:
    factor = SPACING_MM / spacing_mm
    voxels = zoom(person(1).astype(np.float32), factor, order=1, grid_mode=True, mode="nearest")
    affine = AFFINE @ np.diag([1 / factor] * 3 + [1])
    affine[:3, 3] += AFFINE[:3, :3] @ np.full(3, (1 / factor - 1) / 2)
    plain(path, voxels, affine)


SAME: dict[str, tuple[str, Callable[[Path], None]]] = {
    "compressed at another level": ("T1.nii.gz", lambda path: compressed(path, 1)),
    "not compressed": ("T1.nii", lambda path: plain(path, person(1))),
    "renamed": ("brain_of_another.nii.gz", lambda path: compressed(path, 9)),
    "with another header text": ("T1.nii.gz", described),
    "as MGH": ("T1.mgz", lambda path: nib.save(nib.MGHImage(person(1).astype(np.float32), AFFINE), path)),
    "with a slope": ("T1.nii.gz", stored_as_other_numbers),
    "at another place": ("T1.nii.gz", lambda path: plain(path, person(1), AFFINE + np.eye(4, k=3) * 7)),
}
COPIES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "scaled": ("T1.nii.gz", lambda path: plain(path, person(1) * 2 + 10)),
    "with a larger margin": ("T1.nii.gz", lambda path: plain(path, np.pad(person(1), 4))),
    "resampled coarser": ("T1.nii.gz", lambda path: resampled(path, 3.2)),
    "resampled finer": ("T1.nii.gz", lambda path: resampled(path, 2.2)),
    "resampled and scaled": ("T1.nii.gz", lambda path: plain(path, 300 + 3 * zoom(person(1), 0.95, order=1))),
}


def two_cases(folder: Path, name: str, write: Callable[[Path], None], **header: object) -> Path:
    """A cohort of a head and of what somebody has made of it, as another subject in another split."""
    entries = []
    for subject, split, file, made in (
        ("p01", Split.CALIBRATION, "T1.nii.gz", lambda path: compressed(path, 6)),
        ("p03", Split.TEST, name, write),
    ):
        path = folder / subject / file
        path.parent.mkdir()
        made(path)
        entries.append(CaseEntry(subject=subject, split=split, inputs={"T1": file_entry(path, folder)}))
    return save_manifest(folder, *entries, **header)


def require_all(manifest: Path) -> None:
    cohort: Cohort = load_cohort(manifest)
    require_cases(cohort.cases(), threshold_spec(0.5))


@pytest.mark.parametrize("how", SAME)
def test_one_image_in_two_files_is_one_image(tmp_path: Path, how: str):
    with pytest.raises(InputError, match=r"T1 of .*: p03 T1 and T1 of .*: p01 T1 are the same image, voxel by voxel"):
        require_all(two_cases(tmp_path, *SAME[how]))


def test_the_sides_of_an_image_count_and_the_sign_of_zero_does_not():
    voxels = np.arange(24, dtype=np.float32)
    names = {
        image_sha256(Volume(each.reshape(sides), Geometry(sides, np.eye(4)), "x"))
        for sides in ((2, 3, 4), (4, 3, 2))
        for each in (voxels, np.where(voxels == 0, np.float32(-0.0), voxels))
    }
    assert len(names) == 2


@pytest.mark.parametrize("code", ORIENTATIONS)
def test_an_image_keeps_its_hash_in_all_48_orientations(tmp_path: Path, code: str):
    reoriented(tmp_path / "a.nii", code)
    plain(tmp_path / "b.nii", person(1))
    first, second = (read_volume(tmp_path / name) for name in ("a.nii", "b.nii"))
    assert first.geometry.orientation == code
    assert image_sha256(first) == image_sha256(second)
    assert likeness(thumbnail(first), thumbnail(second)) == pytest.approx(1)


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_is_found_by_its_likeness(tmp_path: Path, how: str):
    words = r"T1 of .*: p03 T1 and T1 of .*: p01 T1 are one head under two subjects \(correlation (0\.9|1\.0)"
    with pytest.raises(InputError, match=words):
        require_all(two_cases(tmp_path, *COPIES[how]))


@pytest.mark.parametrize("degrees", [(5, 0, 0), (3, -4, 6)])
def test_an_upright_copy_of_slices_that_are_askew_is_found(tmp_path: Path, degrees: tuple[int, int, int]):
    """Scanners tilt their slices by some degrees, and most programs resample to a grid that is not."""
    turned = np.eye(4)
    turned[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    askew = nib.Nifti1Image(person(1).astype(np.float32), turned @ AFFINE)
    nib.save(askew, tmp_path / "askew.nii")
    nib.save(resample_to_output(askew, (2.5, 2.5, 4.0), order=1), tmp_path / "upright.nii")
    first, second = (thumbnail(read_volume(tmp_path / name)) for name in ("askew.nii", "upright.nii"))
    assert likeness(first, second) > COPY_CORRELATION
    plain(tmp_path / "other.nii", person(2))
    assert likeness(first, thumbnail(read_volume(tmp_path / "other.nii"))) < COPY_CORRELATION


@pytest.mark.parametrize("how", [*SAME, *COPIES])
def test_a_demonstration_may_have_one_head_in_all_splits_and_stays_marked(tmp_path: Path, how: str):
    name, write = (SAME | COPIES)[how]
    cohort = load_cohort(two_cases(tmp_path, name, write, demo=True))
    assert not [case for case in check_cohort(cohort) if isinstance(case, RefusedCase)]
    evaluation = evaluate(threshold_model(300), cohort)
    assert any(line.startswith("Demonstration: one head") for line in evaluation.limits)
    assert len(evaluation.without_reference) == (1 if how in SAME else 2)


def test_two_heads_are_two(tmp_path: Path):
    """Alike as two people are: of the same size, in the same place, with the same bones."""
    volumes = []
    for seed in (1, 2, 3):
        plain(tmp_path / f"{seed}.nii", person(seed))
        volumes.append(read_volume(tmp_path / f"{seed}.nii"))
    alike = [likeness(*map(thumbnail, pair)) for pair in itertools.combinations(volumes, 2)]
    assert 0.85 < min(alike) <= max(alike) < COPY_CORRELATION
    require_all(two_cases(tmp_path, "T1.nii.gz", lambda path: plain(path, person(2))))


def test_two_visits_of_one_person_may_be_alike(tmp_path: Path):
    first, second = tmp_path / "1.nii", tmp_path / "2.nii"
    plain(first, person(1))
    plain(second, person(1) * 2 + 10)
    entries = [
        CaseEntry(subject=subject, visit=path.stem, split=Split.TEST, inputs={"T1": file_entry(path, tmp_path)})
        for subject, path in (("p01", first), ("P01 ", second))
    ]
    require_all(save_manifest(tmp_path, *entries))


def test_an_image_twice_in_one_person_is_refused(tmp_path: Path):
    first, second = tmp_path / "1.nii", tmp_path / "2.nii.gz"
    plain(first, person(1))
    compressed(second, 6)
    inputs = {"T1": file_entry(first, tmp_path), "T2": file_entry(second, tmp_path)}
    manifest = save_manifest(
        tmp_path, CaseEntry(subject="p01", split=Split.TEST, inputs=inputs), sequences=("T1", "T2")
    )
    with pytest.raises(InputError, match=r"T2 of .* and T1 of .* are the same image"):
        require_all(manifest)


@pytest.mark.parametrize(("shape", "enough"), [((200, 200, 15), False), ((200, 200, 16), True), ((60, 60, 60), False)])
def test_an_image_of_few_slices_or_voxels_has_no_thumbnail(tmp_path: Path, shape: tuple[int, ...], enough: bool):
    ends = [np.linspace(0, side - 1, n).astype(int) for side, n in zip(person(1).shape, shape, strict=True)]
    plain(tmp_path / "a.nii", person(1)[np.ix_(*ends)])
    short = thumbnail(read_volume(tmp_path / "a.nii"))
    assert (short is not None) is enough
    assert likeness(short, short) == pytest.approx(float(enough))


def test_check_and_create_end_with_3_and_name_both(tmp_path: Path):
    manifest = two_cases(tmp_path, "T1.nii", lambda path: plain(path, person(1)))
    done = brain_edge("cohort", "check", manifest)
    assert done.code == 3
    assert "1 of 2 cases can be used" in done.out
    assert "p03 T1 and T1 of" in done.err
    (tmp_path / "p02").mkdir()
    plain(tmp_path / "p02/T1.nii.gz", person(2))
    words = refused(3, "cohort", "create", tmp_path, "-o", tmp_path / "new.toml")
    assert "are the same image" in words
    assert not (tmp_path / "new.toml").exists()
    plain(tmp_path / "p03/T1.nii", person(3))
    succeed("cohort", "create", tmp_path, "-o", tmp_path / "new.toml")


@pytest.mark.data
def test_real_people_are_not_taken_for_each_other(mri: Callable[[str], Path]):
    """FLAIR heads, the most alike of what is at hand, and one person at two visits, who is more alike still."""
    folder = mri("ms_longitudinal")
    heads = {
        name: thumbnail(read_volume(folder / f"{name}_FLAIR.nii.gz"))
        for name in ("patient01/study1", "patient01/study2", "patient03/study1", "patient04/study1", "patient09/study2")
    }
    for first, second in itertools.combinations(heads, 2):
        assert heads[first] is not None
        assert likeness(heads[first], heads[second]) < COPY_CORRELATION, (first, second)


@pytest.mark.data
@pytest.mark.parametrize("name", ["patient01/study1_T1W", "patient04/study1_T1W"])
def test_a_real_head_is_known_on_an_upright_grid(mri: Callable[[str], Path], tmp_path: Path, name: str):
    """Their slices are askew by 3 and 6 degrees: without turning them the copies were alike by 0.945 and 0.92."""
    head = mri(f"ms_longitudinal/{name}.nii.gz")
    nib.save(resample_to_output(nib.load(head), (1.2, 1.2, 3.0), order=1), tmp_path / "copy.nii")
    first, second = (thumbnail(read_volume(path)) for path in (head, tmp_path / "copy.nii"))
    assert likeness(first, second) > COPY_CORRELATION
