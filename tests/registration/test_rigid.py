"""Rigid transforms: composition, inverse and files, judged by SciPy and SimpleITK."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from movements import rigid
from scipy.spatial.transform import Rotation

from brain_edge.errors import GeometryError, InputError
from brain_edge.registration.itk_file import read_itk, write_itk
from brain_edge.registration.rigid import Rigid

POINTS = np.array([[0.0, 0, 0], [60, -80, 40], [-70, 20, -30]])
ANGLES = st.tuples(*[st.floats(-170, 170)] * 3)
SHIFTS = st.tuples(*[st.floats(-100, 100)] * 3)


@given(ANGLES, SHIFTS, ANGLES, SHIFTS)
def test_a_composition_applies_the_first_transform_first(a, b, c, d):
    first, second = rigid(a, b), rigid(c, d)
    assert np.allclose(second.after(first).moved(POINTS), second.moved(first.moved(POINTS)))


@given(ANGLES, SHIFTS)
def test_the_inverse_brings_every_point_back(angles, shift):
    transform = rigid(angles, shift)
    assert np.allclose(transform.inverse().after(transform).matrix, np.eye(4), atol=1e-12)


@given(ANGLES, SHIFTS)
def test_the_angle_is_that_of_scipy(angles, shift):
    magnitude = Rotation.from_euler("xyz", angles, degrees=True).magnitude()
    assert rigid(angles, shift).angle_deg == pytest.approx(np.degrees(magnitude), abs=1e-5)


def test_the_identity_moves_nothing():
    assert Rigid.identity().displacement_mm(POINTS).tolist() == [0, 0, 0]
    assert rigid((0, 0, 0), (3, 4, 0)).displacement_mm(POINTS) == pytest.approx([5, 5, 5])


@pytest.mark.parametrize("matrix", [np.diag([1.1, 1, 1, 1]), np.diag([-1.0, 1, 1, 1])])
def test_what_scales_or_mirrors_is_refused(matrix):
    with pytest.raises(GeometryError, match="scales, shears or mirrors"):
        Rigid(matrix)


@pytest.mark.parametrize("matrix", [np.eye(3), np.full((4, 4), np.nan), np.ones((4, 4))])
def test_what_is_no_transform_is_refused(matrix):
    with pytest.raises(GeometryError, match="finite 4 x 4 matrix with the last row 0 0 0 1"):
        Rigid(matrix)


def test_a_written_transform_is_that_of_simpleitk(tmp_path):
    """SimpleITK has LPS coordinates: x and y change their sign."""
    sitk = pytest.importorskip("SimpleITK", reason="needs SimpleITK, which reads the file")
    transform = rigid((10, -20, 15), (5, -12, 20))
    write_itk(transform, tmp_path / "a.txt")
    read = sitk.ReadTransform(str(tmp_path / "a.txt"))
    lps = np.array([-1, -1, 1])
    moved = [np.array(read.TransformPoint((point * lps).tolist())) * lps for point in POINTS]
    assert np.allclose(moved, transform.moved(POINTS), atol=1e-9)


def test_a_transform_that_simpleitk_wrote_about_a_centre_is_read(tmp_path):
    sitk = pytest.importorskip("SimpleITK", reason="needs SimpleITK, which writes the file")
    written = sitk.AffineTransform(3)
    written.SetCenter((10, 20, 30))
    written.SetMatrix(Rotation.from_euler("xyz", (0.1, 0.2, 0.3)).as_matrix().ravel().tolist())
    written.SetTranslation((1, 2, 3))
    sitk.WriteTransform(written, str(tmp_path / "a.tfm"))
    lps = np.array([-1, -1, 1])
    expected = [np.array(written.TransformPoint((point * lps).tolist())) * lps for point in POINTS]
    assert np.allclose(read_itk(tmp_path / "a.tfm").moved(POINTS), expected, atol=1e-6)


def test_a_file_keeps_every_digit(tmp_path):
    transform = rigid((1, 2, 3), (0.1, 0.2, 0.3))
    write_itk(transform, tmp_path / "a.txt")
    assert np.allclose(read_itk(tmp_path / "a.txt").matrix, transform.matrix, rtol=0, atol=1e-15)


GOOD = "#Insight Transform File V1.0\nTransform: AffineTransform_double_3_3\nParameters: 1 0 0 0 1 0 0 0 1 0 0 0\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "in the first line"),
        ("1 0 0 0\n0 1 0 0", "in the first line"),
        (GOOD.replace("Affine", "BSpline") + "FixedParameters: 0 0 0\n", "got BSplineTransform_double_3_3"),
        (GOOD + GOOD, "got several or none"),
        (GOOD + "FixedParameters: 0 0 0\nParameters: 1 0 0 0 1 0 0 0 1 9 0 0\n", "got several or none"),
        (GOOD + "# a: b\n" * 20_000 + "FixedParameters: 0 0 0\n", "at most 100000 bytes, got more"),
        (GOOD, "expected 3 numbers in FixedParameters, got 0"),
        (GOOD.replace("1 0 0", "1 x 0") + "FixedParameters: 0 0 0\n", "expected numbers in Parameters"),
        (GOOD.replace(": 1 0 0 0 1", ": 2 0 0 0 1") + "FixedParameters: 0 0 0\n", "scales, shears or mirrors"),
    ],
)
def test_another_file_is_refused(tmp_path, text, words):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(InputError, match=words):
        read_itk(tmp_path / "a.txt")


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="expected an ITK text file"):
        read_itk(tmp_path / "none.txt")
