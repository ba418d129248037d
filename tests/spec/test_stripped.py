"""A head without its skull is flagged where the model strips skulls, and one with its skull where none is expected."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from tiny_package import PHANTOM, SPEC

from brain_edge.image.geometry import Geometry
from brain_edge.image.phantom import make_volume
from brain_edge.image.volume import Study, Volume
from brain_edge.io.nifti import read_volume
from brain_edge.spec import Task
from brain_edge.spec.plausibility import FlagKind
from brain_edge.spec.steps import Orient, ZScore
from brain_edge.spec.steps.intensity import Region
from brain_edge.spec.stripped import check_stripped, content_ml

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from brain_edge.spec import ModelSpec

TUMOUR = msgspec.structs.replace(
    SPEC,
    task=Task.TUMOUR,
    stages=(msgspec.structs.replace(SPEC.stages[0], before=(Orient(axes="RAS"), ZScore(region=Region.NONZERO))),),
)
"""A model of heads with 0 outside of the brain."""


def ball(radius_mm: float, noise: float = 0.0) -> Study:
    """A ball of noise in a field of view of 240 mm; around it 0, or noise too."""
    geometry = Geometry((60, 60, 60), np.diag([4.0, 4.0, 4.0, 1.0]))
    away = np.stack(np.meshgrid(*[np.arange(60) * 4.0 - 118.0] * 3, indexing="ij"))
    random = np.random.default_rng(0).random((2, *geometry.shape), dtype=np.float32)
    voxels = np.where((away**2).sum(axis=0) <= radius_mm**2, 500 + 100 * random[0], noise * random[1])
    return Study.of(T1=Volume(voxels.astype(np.float32), geometry))


def kinds(study: Study, spec: ModelSpec) -> list[FlagKind]:
    return [flag.kind for flag in check_stripped(study, spec)]


@pytest.mark.parametrize("radius_mm", [40.0, 70.0, 95.0])
def test_the_volume_of_the_content_is_that_of_the_ball(radius_mm):
    whole = 4 / 3 * np.pi * radius_mm**3 / 1000
    assert content_ml(ball(radius_mm).volumes["T1"]) == pytest.approx(whole, rel=0.08)


def test_a_brain_is_flagged_for_a_skull_stripper_and_a_head_for_a_model_of_brains():
    """Balls of 1.4 and 3.6 litres."""
    brain, head = ball(70.0), ball(95.0)
    assert kinds(brain, SPEC) == kinds(head, TUMOUR) == [FlagKind.STRIPPED]
    assert kinds(head, SPEC) == kinds(brain, TUMOUR) == []
    assert "T1 looks already skull-stripped: 13" in check_stripped(brain, SPEC)[0].message
    assert "tiny expects 0 outside of the brain" in check_stripped(head, TUMOUR)[0].message


def test_noise_around_the_head_is_no_background():
    assert kinds(ball(70.0, noise=10.0), SPEC) == []
    assert kinds(ball(70.0, noise=10.0), TUMOUR) == [FlagKind.STRIPPED]


def test_other_models_take_both():
    tissue = msgspec.structs.replace(TUMOUR, task=Task.TISSUE)
    lesion = msgspec.structs.replace(SPEC, task=Task.LESION)
    for spec in (tissue, lesion):
        assert kinds(ball(70.0), spec) == kinds(ball(95.0), spec) == []


def test_the_phantom_is_a_head():
    assert kinds(Study.of(T1=make_volume(PHANTOM)), SPEC) == []


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "is_stripped"),
    [
        ("ms_cross/patient07/T1.nii.gz", True),
        ("tcga_fg_6692/skull_stripped/OtherEXampleFromTCIA_t1_bet.nii.gz", True),
        ("ms_longitudinal/patient01/study1_T1W.nii.gz", False),
        ("ms_longitudinal/patient03/study1_T2W.nii.gz", False),
        ("brainchop_t1/t1_crop.nii.gz", False),
    ],
)
def test_real_heads(name: str, is_stripped: bool, mri: Callable[[str], Path]):
    study = Study.of(T1=read_volume(mri(name)))
    assert bool(kinds(study, SPEC)) is is_stripped
    assert bool(kinds(study, TUMOUR)) is not is_stripped
