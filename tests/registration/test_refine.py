"""A place that the brain finds alone moves the first place half-way, and no farther."""

from __future__ import annotations

import numpy as np
import pytest
from movements import rigid

from brain_edge.image.geometry import Geometry
from brain_edge.image.phantom import Phantom, make_study
from brain_edge.image.volume import Mask, Volume
from brain_edge.registration.refine import _halfway, _with_rim, refined
from brain_edge.registration.rigid import Rigid

STUDY = make_study(Phantom(shape=(44, 52, 50), spacing_mm=4.0), ["T1", "T2"])
T1, T2 = STUDY.volumes["T1"], STUDY.volumes["T2"]
BRAIN = Mask((T1.voxels > 500).astype(np.uint8), T1.geometry)


@pytest.mark.parametrize("axis", range(3))
def test_a_millimetre_becomes_half_of_one(axis):
    shift = np.eye(3)[axis]
    found = refined(T2, T1, rigid((0, 0, 0), shift), BRAIN)
    assert found.matrix[:3, 3] == pytest.approx(shift / 2, abs=0.15)
    assert found.angle_deg < 0.2


def test_the_right_place_stays():
    assert np.allclose(refined(T2, T1, Rigid.identity(), BRAIN).matrix, np.eye(4), atol=1e-9)


def test_half_of_a_turn_about_a_point_keeps_the_point():
    end, centre = rigid((0, 0, 30), (0, 0, 0)), np.array([0.0, 0.0, 5.0])
    half = _halfway(Rigid.identity(), end, centre)
    assert half.angle_deg == pytest.approx(15)
    assert np.allclose(half.moved(centre[None]), centre)
    assert np.allclose(half.after(half).matrix, end.matrix)


def test_the_rim_is_measured_in_millimetres():
    labels = np.zeros((11, 11, 11), np.uint8)
    labels[5, 5, 5] = 1
    grid = Geometry((11, 11, 11), np.diag([2.0, 3.0, 6.5, 1.0]))
    image = Volume(labels.astype(np.float32), grid)
    near = _with_rim(Mask(labels, grid), image).labels
    assert near[2, 5, 5] == near[8, 5, 5] == near[5, 3, 5] == 1
    assert near[1, 5, 5] == near[5, 2, 5] == near[5, 5, 4] == 0
