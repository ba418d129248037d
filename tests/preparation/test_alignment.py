"""Sequences that are said to lie over each other are compared, whether or not a preparation exists."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from cli_program import make_pair_package, refused, succeed
from movements import mirrored, rigid, shifted
from tiny_package import PHANTOM

from brain_edge.image.phantom import make_study
from brain_edge.image.volume import Study, Volume
from brain_edge.io.nifti import write_image
from brain_edge.preparation.alignment import check_alignment
from brain_edge.spec.plausibility import FlagKind

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from brain_edge.package import ModelPackage

STUDY = make_study(PHANTOM, ["T1", "T2"])
FIVE_MM = rigid((0, 0, 0), (0, 3, 4))


def with_second(change: Callable[[Volume], Volume]) -> Study:
    return Study.of(T1=STUDY.volumes["T1"], T2=change(STUDY.volumes["T2"]))


def test_sequences_over_each_other_have_no_flag():
    assert check_alignment(STUDY) == ()


def test_five_millimetres_are_seen():
    (flag,) = check_alignment(with_second(lambda image: shifted(image, FIVE_MM)))
    assert flag.kind is FlagKind.REGISTRATION
    assert 4 <= flag.value <= 6
    assert flag.message.startswith("T2 may not lie over T1: The images are more alike")


def test_sequences_that_share_nothing_are_seen():
    (flag,) = check_alignment(with_second(lambda image: shifted(image, rigid((0, 0, 0), (400, 0, 0)))))
    assert "do not overlap" in flag.message


def test_slices_are_not_compared():
    noise = np.random.default_rng(0).random(STUDY.volumes["T2"].voxels.shape, dtype=np.float32)

    def one_slice(volume: Volume) -> Volume:
        return Volume(volume.voxels[..., 20:21], volume.geometry.cropped(((0, 44), (0, 52), (20, 21))))

    other = one_slice(Volume(noise, STUDY.geometry))
    assert check_alignment(Study.of(T1=one_slice(STUDY.volumes["T1"]), T2=other)) == ()


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> ModelPackage:
    return make_pair_package(tmp_path_factory.mktemp("pair") / "package")


def command(package: ModelPackage, folder: Path, study: Study) -> tuple[object, ...]:
    for name, volume in study.volumes.items():
        write_image(volume, folder / f"{name}.nii.gz")
    named = [f"{name}={folder / f'{name}.nii.gz'}" for name in study.volumes]
    return ("run", package.folder, *named, "-o", folder / "mask.nii.gz")


def test_run_flags_a_movement_without_a_preparation(package, tmp_path):
    moved = with_second(lambda image: shifted(image, FIVE_MM))
    record = succeed(*command(package, tmp_path, moved), "--json").json
    assert [flag["kind"] for flag in record["flags"]] == ["registration"]


def test_run_refuses_it_under_strict_before_the_network_runs(package, tmp_path):
    moved = with_second(lambda image: shifted(image, FIVE_MM))
    words = refused(3, *command(package, tmp_path, moved), "--strict")
    assert "T2 may not lie over T1" in words
    assert "Register the sequences first, or remove --strict" in words
    assert not (tmp_path / "mask.nii.gz").exists()


@pytest.mark.data
def test_a_mirrored_header_is_seen(mri):
    """The phantom is too symmetric to show it."""
    from brain_edge.io.nifti import read_volume

    t1, flair = (read_volume(mri(f"ms_cross/patient07/{name}.nii.gz")) for name in ("T1", "FLAIR"))
    assert check_alignment(Study.of(T1=t1, FLAIR=flair)) == ()
    (flag,) = check_alignment(Study.of(T1=t1, FLAIR=mirrored(flair)))
    assert "left-right mirrored image fits better" in flag.message
