"""Transforms of other libraries are read as these libraries mean them, and finished movements are not done again."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from benchmarks.harness.registration_rivals import LPS, Outcome, _of_euler
from benchmarks.registration import Moved, _all_moved
from benchmarks.registration_peers import _sites, installed_bytes
from brain_edge.registration.judgement import Judgement, Verdict


def test_the_angles_of_elastix_turn_as_itk_turns_them():
    itk = pytest.importorskip("SimpleITK")
    numbers, centre = (0.1, -0.2, 0.3, 4.0, -5.0, 6.0), (10.0, 20.0, -30.0)
    theirs = itk.Euler3DTransform(centre, *numbers[:3], numbers[3:])
    words = {"TransformParameters": map(str, numbers), "CenterOfRotationPoint": map(str, centre)}
    ours = LPS @ _of_euler({name: tuple(each) for name, each in words.items()}) @ LPS
    for point in np.eye(3) * 50:
        assert np.allclose(theirs.TransformPoint(point), ours[:3, :3] @ point + ours[:3, 3])


def test_a_printed_rotation_is_made_exact():
    rounded = np.round([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]], 3) + 1e-4
    matrix = np.eye(4)
    matrix[:3, :3] = rounded
    assert np.allclose(Outcome(matrix.tolist(), 1.0, 1).rigid.matrix[:3, :3], rounded, atol=1e-3)


def test_a_folder_of_one_library_comes_before_that_of_all():
    assert [str(each) for each in _sites(["all", "ants=own"], "ants")] == ["own", "all"]
    assert [str(each) for each in _sites(["all", "ants=own"], "greedy")] == ["all"]
    assert installed_bytes(["click"], []) > 100_000


def test_finished_movements_are_taken_from_their_file(tmp_path):
    judgement = Judgement(Verdict.GOOD, (), 1.1, 1.2, 1.1, None, 3.0, 2.0, 0.0)
    found = [Moved(number, number == 1, 0.25, 3.0, judgement) for number in range(2)]
    done = tmp_path / "done.jsonl"
    done.write_bytes(b"\n".join(map(msgspec.json.encode, found)))
    assert list(_all_moved(tmp_path / "no images here", 2, done)) == found
