"""Known movements are found, and the judge knows what lies over each other; heads at 2 mm."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest
from movements import mirrored, rigid, shifted

from brain_edge.errors import MissingExtraError
from brain_edge.image.phantom import Phantom, make_volume
from brain_edge.image.volume import Volume
from brain_edge.io.nifti import read_volume
from brain_edge.registration.judgement import Verdict, judge
from brain_edge.registration.library import without_bias
from brain_edge.registration.nearby import brain_corners
from brain_edge.registration.register import _best_start, register
from brain_edge.registration.rigid import Rigid
from brain_edge.registration.through import resample_through
from brain_edge.registration.working import Pair, centre_mm, isotropic

MOVES = (
    rigid((4, -3, 8), (6, -9, 4)),
    rigid((-15, 8, 10), (-12, 10, 12)),
    rigid((0, 0, 20), (0, 20, 0)),
    rigid((0, 0, 0), (0, 0, 5)),
)


@pytest.fixture(scope="module")
def sequences(mri):
    """Two sequences that lie over each other, at 2 mm: T1 and FLAIR."""
    files = (mri(f"ms_cross/patient07/{name}.nii.gz") for name in ("T1", "FLAIR"))
    return tuple(isotropic(read_volume(file), None, 2.0) for file in files)


def corners(volume):
    bright = np.argwhere(volume.voxels > volume.voxels.mean())
    return brain_corners(bright @ volume.geometry.affine[:3, :3].T + volume.geometry.affine[:3, 3])


@pytest.mark.data
@pytest.mark.parametrize("known", [MOVES[0], *(pytest.param(each, marks=pytest.mark.full) for each in MOVES[1:])])
def test_a_known_movement_is_found_across_contrasts(sequences, known):
    """The voxels are 2 mm: a quarter of it at the corners of the brain. Three of the four take too long for CI."""
    pytest.importorskip("SimpleITK", reason="needs the extra register")
    t1, flair = sequences
    copy = resample_through(flair, known, flair.geometry)
    found = register(copy, t1, threads=1)
    places = corners(t1)
    error = np.linalg.norm(found.moved(places) - known.inverse().moved(places), axis=1).mean()
    assert error < 0.5
    assert judge(copy, t1, found).verdict is Verdict.GOOD


def test_the_same_input_gives_the_same_bytes_with_any_number_of_threads():
    """At the first resolution, where the threads are used; the finer searches take one thread."""
    pytest.importorskip("SimpleITK", reason="needs the extra register")
    phantom = Phantom(shape=(32, 32, 32), spacing_mm=6.0)
    moving = shifted(make_volume(Phantom(shape=(32, 32, 32), spacing_mm=6.0, seed=2), 1.5), MOVES[0])
    pair = Pair(make_volume(phantom), moving)
    centre = centre_mm(pair.fixed, None)
    assert _best_start(pair, centre, 1).matrix.tobytes() == _best_start(pair, centre, 2).matrix.tobytes()


def test_a_missing_extra_is_named_before_any_work(monkeypatch):
    image = make_volume(Phantom(shape=(24, 24, 24)))
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(MissingExtraError, match=r"registration needs SimpleITK.*brain-edge\[register\]"):
        register(image, image, threads=1)


@pytest.mark.data
def test_what_lies_over_each_other_is_good(sequences):
    t1, flair = sequences
    found = judge(flair, t1, Rigid.identity())
    assert (found.verdict, found.reasons, found.drift_mm) == (Verdict.GOOD, (), 0)


@pytest.mark.data
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda image: shifted(image, rigid((0, 0, 0), (0, 3, 4))), r"more alike \d\.\d mm away"),
        (mirrored, "left-right mirrored image fits better"),
        (lambda image: shifted(image, rigid((0, 0, 0), (400, 0, 0))), "do not overlap"),
    ],
    ids=["5 mm", "mirrored", "elsewhere"],
)
def test_what_does_not_is_refused(sequences, change, words):
    t1, flair = sequences
    found = judge(change(flair), t1, Rigid.identity())
    assert found.verdict is Verdict.FAILED
    assert any(re.search(words, reason) for reason in found.reasons), found.reasons


@pytest.mark.full  # five seconds of N4, which is SimpleITK's
def test_n4_removes_a_bias_field():
    """A phantom under a field that doubles from left to right is nearer to the phantom afterwards."""
    pytest.importorskip("SimpleITK", reason="needs the extra register")
    plain = make_volume(Phantom(shape=(48, 64, 48), spacing_mm=4.0))
    field = np.linspace(0.7, 1.4, 48, dtype=np.float32)[:, None, None]
    corrected = without_bias(Volume(plain.voxels * field, plain.geometry))
    inside = plain.voxels > 200
    spread = [np.std(each[inside] / plain.voxels[inside]) for each in (plain.voxels * field, corrected.voxels)]
    assert spread[1] < spread[0] / 2
