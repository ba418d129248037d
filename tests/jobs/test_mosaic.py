"""The picture of a mask: judged by its pixels, by SimpleITK's reorientation, and by what must not be in it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - what its own manual calls it
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from phantoms import OBLIQUE, ORIENTATIONS, make_affine, make_head, make_volume
from PIL import Image
from present import present
from scipy import ndimage
from scipy.spatial.distance import cdist
from scipy.spatial.transform import Rotation

from brain_edge.errors import GeometryError, InputError, MissingExtraError, OutputError
from brain_edge.image.geometry import Geometry
from brain_edge.image.volume import Mask, Volume
from brain_edge.io.nifti import read_volume
from brain_edge.jobs.pictures.mosaic import (
    COLOURS,
    compose,
    label_contours,
    write_mosaic,
)
from brain_edge.jobs.pictures.scene import MARGIN_MM, PLANES, choose_slices, make_scene, tilt_deg
from brain_edge_conversion.budget.comparison import write_comparison_mosaic

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SIDES = (40, 48, 12)
SPACING_MM = (1.0, 1.0, 5.0)
BALL_CENTRE_SHARE = np.array([0.75, 0.70, 0.60])
"""Of the way from left to right, posterior to anterior, inferior to superior."""


@pytest.fixture(scope="module")
def ball() -> tuple[Volume, Mask]:
    """A grey block with a white ball on the right, in front, above the middle: 5 mm slices, RAS."""
    affine = np.diag([*SPACING_MM, 1.0])
    extent = np.array(SIDES) * SPACING_MM
    places = np.stack(np.meshgrid(*((np.arange(n) + 0.5) * d for n, d in zip(SIDES, SPACING_MM, strict=True))), -1)
    distance = np.linalg.norm(places.transpose(1, 0, 2, 3) - BALL_CENTRE_SHARE * extent, axis=-1)
    labels = (distance < 9).astype(np.uint8)
    grey = np.where(np.random.default_rng(0).random(SIDES) < 0.03, 0, 50)  # some black, so that grey is not
    return (
        Volume(np.where(labels, 100, grey).astype(np.float32), Geometry(SIDES, affine), "ball"),
        Mask(labels, Geometry(SIDES, affine)),
    )


@pytest.fixture(scope="module")
def pixels_of_ball(ball: tuple[Volume, Mask], tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    path = tmp_path_factory.mktemp("picture") / "ball.png"
    write_mosaic(*ball, path, title="ball", legend={1: "ball"})
    return picture(path)


def picture(path: Path) -> np.ndarray:
    """Pixels (row, column, RGB) from 0 to 1, read by Pillow."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), dtype=np.float64) / 255


def panels(pixels: np.ndarray) -> list[tuple[slice, slice]]:
    """The pictures of slices in reading order: large connected areas that are not black."""
    labelled, _ = ndimage.label(pixels.max(axis=-1) > 0.15)
    found = ((rows, columns) for rows, columns in ndimage.find_objects(labelled))
    boxes = [box for box in found if (box[0].stop - box[0].start) > 60]
    return sorted(boxes, key=lambda box: (box[0].start // 20, box[1].start))


def near_colour(pixels: np.ndarray, colour: str) -> np.ndarray:
    return np.abs(pixels - to_rgb(colour)).max(axis=-1) < 0.15


def words_in(volume: Volume, mask: Mask, *, around_mask: bool = False, notes: tuple[str, ...] = ()) -> str:
    contours = label_contours(mask, {1: "brain"})
    figure = compose(volume, contours, "a title", notes, around_mask=around_mask).figure
    return "\n".join(text.get_text() for text in figure.findobj(Text))


@pytest.mark.parametrize(
    ("row", "share_right", "share_down"),
    [(0, 1 - 0.75, 1 - 0.70), (1, 1 - 0.75, 1 - 0.60), (2, 1 - 0.70, 1 - 0.60)],
    ids=["axial", "coronal", "sagittal"],
)
def test_patient_right_is_left_anterior_is_up_or_left_superior_is_up(
    row: int, share_right: float, share_down: float, pixels_of_ball: np.ndarray
) -> None:
    """The ball of the patient's right, anterior, superior part lies where a radiologist looks for it."""
    found = panels(pixels_of_ball)
    tops = sorted({box[0].start for box in found})
    assert len(tops) == 3
    middle = pixels_of_ball[[box for box in found if box[0].start == tops[row]][1]]
    for marked in (middle.min(axis=-1) > 0.95, near_colour(middle, COLOURS[0])):
        down, right = ndimage.center_of_mass(marked)
        assert right / middle.shape[1] == pytest.approx(share_right, abs=0.04)
        assert down / middle.shape[0] == pytest.approx(share_down, abs=0.05)


def test_panels_have_the_proportions_of_the_head_in_mm(pixels_of_ball: np.ndarray) -> None:
    """5 mm slices are 5 mm high: width and height of each panel are those of the field of view, to one scale."""
    found = panels(pixels_of_ball)
    right_mm, front_mm, up_mm = np.array(SIDES) * SPACING_MM
    expected = {0: (right_mm, front_mm), 1: (right_mm, up_mm), 2: (front_mm, up_mm)}
    tops = sorted({box[0].start for box in found})
    sizes = {top: (b[1].stop - b[1].start, b[0].stop - b[0].start) for b in found for top in [b[0].start]}
    scales = [np.array(sizes[top]) / expected[row] for row, top in enumerate(tops)]
    assert np.ptp(scales) / np.mean(scales) < 0.02


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_every_storage_order_shows_the_same_slices_as_simpleitk_orients_them(orientation: str) -> None:
    """48 storage orders: LPS arrays equal SimpleITK's, and each slice is at the index the picture names."""
    volume = make_volume(make_affine(orientation))
    scene = make_scene(volume, [volume.voxels > 80], around_mask=False)
    assert scene is not None
    assert np.array_equal(scene.anatomy, _oriented_by_simpleitk(volume))
    for plane, slices in zip(PLANES, scene.slices, strict=True):
        for index in slices:
            letter, _, number = scene.place(plane, index).partition(" = ")
            stored = np.take(volume.voxels, int(number), axis="ijk".index(letter))
            shown = plane.cut(scene.anatomy, index)
            assert np.array_equal(np.sort(stored, axis=None), np.sort(shown, axis=None))


def _oriented_by_simpleitk(volume: Volume) -> np.ndarray:
    image = sitk.GetImageFromArray(volume.voxels.T)
    to_lps = np.diag([-1.0, -1.0, 1.0]) @ volume.geometry.affine[:3]
    image.SetSpacing(volume.geometry.spacing_mm)
    image.SetDirection((to_lps[:, :3] / volume.geometry.spacing_mm).ravel().tolist())
    image.SetOrigin(to_lps[:, 3].tolist())
    return sitk.GetArrayFromImage(sitk.DICOMOrient(image, "LPS")).T


@given(low=st.integers(0, 300), length=st.integers(1, 300), start=st.integers(0, 50))
def test_slices_are_distinct_ordered_and_inside_the_mask(low: int, length: int, start: int) -> None:
    slices = choose_slices((low, low + length), start)
    assert list(slices) == sorted(set(slices))
    assert len(slices) == 5 if length >= 8 else 1 <= len(slices) <= 5
    assert all(low <= index + start < low + length for index in slices)


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_what_lies_beyond_the_margin_is_not_in_a_scene_around_the_mask(seed: int) -> None:
    """Every voxel within 10 mm of a labelled one is shown, and none that is further away (by brute force)."""
    random = np.random.default_rng(seed)
    grid = make_volume(make_affine(ORIENTATIONS[seed % 48], (2.0, 4.0, 3.0))).geometry
    voxels = np.arange(2, 2 + np.prod(grid.shape), dtype=np.float32).reshape(grid.shape)  # each value once
    labelled = random.integers(0, grid.shape, size=(2, 3))
    region = np.zeros(grid.shape, dtype=bool)
    region[tuple(labelled.T)] = True
    places = np.argwhere(np.ones(grid.shape)) * grid.spacing_mm
    distance_mm = cdist(places, labelled * grid.spacing_mm).min(axis=1)
    scene = make_scene(Volume(voxels, grid), [region], around_mask=True)
    assert scene is not None
    assert set(scene.anatomy.ravel()) == set(voxels.ravel()[distance_mm <= MARGIN_MM])
    assert np.array_equal(np.sort(scene.anatomy[scene.regions[0]]), np.sort(voxels[region]))


@pytest.mark.full  # draws two more pictures
def test_a_face_beyond_the_margin_changes_no_pixel(ball: tuple[Volume, Mask], tmp_path: Path) -> None:
    """Two heads that differ only further than the margin from the mask give the same file around the mask."""
    volume, mask = ball
    other = volume.voxels.copy()
    other[:8] = 77
    for name, voxels in (("one", volume.voxels), ("other", other)):
        head = Volume(voxels, volume.geometry)
        write_mosaic(head, mask, tmp_path / name, title="t", legend={1: "ball"}, around_mask=True)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_an_empty_mask_around_which_to_cut_shows_no_anatomy(ball: tuple[Volume, Mask], tmp_path: Path) -> None:
    volume, mask = ball
    empty = Mask(np.zeros_like(mask.labels), mask.geometry)
    write_mosaic(volume, empty, tmp_path / "empty.png", title="t", legend={1: "brain"}, around_mask=True)
    assert panels(picture(tmp_path / "empty.png")) == []
    assert "No anatomy is shown" in words_in(volume, empty, around_mask=True)


def test_an_empty_mask_still_gives_a_picture_of_the_head(ball: tuple[Volume, Mask], tmp_path: Path) -> None:
    volume, mask = ball
    empty = Mask(np.zeros_like(mask.labels), mask.geometry)
    write_mosaic(volume, empty, tmp_path / "empty.png", title="t", legend={1: "brain"})
    assert len(panels(picture(tmp_path / "empty.png"))) == 15
    assert "brain  0 ml" in words_in(volume, empty)


def test_the_words_are_in_the_picture(ball: tuple[Volume, Mask]) -> None:
    """Research only, the side convention, letters at the edges, millilitres, and the flags given."""
    volume, mask = ball
    words = words_in(volume, mask, notes=("volume: 3.0 ml, expected 800 to 2000 ml",))
    volume_ml = np.count_nonzero(mask.labels) * np.prod(SPACING_MM) / 1000
    assert f"brain  {volume_ml:.2f} ml" in words
    for expected in ("RESEARCH USE ONLY", "a title", "expected 800 to 2000 ml", "patient's right (R) is on the left"):
        assert expected in words
    assert {"R", "L", "A", "P", "S", "I"} <= set(words.splitlines())


def test_research_use_only_is_in_the_pixels_at_the_upper_right(pixels_of_ball: np.ndarray) -> None:
    corner = pixels_of_ball[20:60, -320:]
    assert np.count_nonzero(near_colour(corner, "#F0E442")) > 500


@pytest.mark.parametrize("words", ["WOMAN MWM ", "a long flag ", "il.I,:'", "/no/space/in/this_path"])
def test_long_titles_and_flags_stay_within_the_picture(words: str, ball: tuple[Volume, Mask], tmp_path: Path) -> None:
    """Wide letters, narrow letters, words without an end: wrapped, and the rim of the picture stays black."""
    empty = Mask(np.zeros_like(ball[1].labels), ball[1].geometry)
    how: dict[str, Any] = {"title": words * 30, "legend": {1: "ball"}, "notes": [words * 60], "around_mask": True}
    write_mosaic(ball[0], empty, tmp_path / "long.png", **how)
    pixels = picture(tmp_path / "long.png")
    assert pixels[:, -24:].max() == pixels[:, :24].max() == 0
    assert pixels[-20:].max() == 0


@pytest.mark.full  # draws two more pictures
def test_mathematics_and_the_matplotlibrc_of_the_user_change_nothing(ball: tuple[Volume, Mask], tmp_path: Path) -> None:
    """A dollar sign in a file name is a dollar sign; settings of the process do not reach the picture."""
    write_mosaic(*ball, tmp_path / "one", title="$\\frac x_1$ 100 %", legend={1: "a_b^c$"})
    strange: Any = {
        "savefig.bbox": "tight",
        "text.usetex": True,
        "savefig.dpi": 30,
        "font.size": 40,
        "image.cmap": "jet",
    }
    with mpl.rc_context(strange):
        write_mosaic(*ball, tmp_path / "other", title="$\\frac x_1$ 100 %", legend={1: "a_b^c$"})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_comparison_shows_each_of_coinciding_contours(ball: tuple[Volume, Mask], tmp_path: Path) -> None:
    """Three equal masks: each of their colours is seen, because later lines are thinner."""
    volume, mask = ball
    masks = {"reference": mask, "PyTorch": mask, "INT8": mask}
    write_comparison_mosaic(volume, masks, tmp_path / "three.png", title="three")
    pixels = picture(tmp_path / "three.png")
    panel = pixels[panels(pixels)[2]]
    assert all(near_colour(panel, colour).any() for colour in COLOURS[:3])


@pytest.mark.full  # draws two more pictures
def test_comparison_names_an_empty_mask_among_others(ball: tuple[Volume, Mask], tmp_path: Path) -> None:
    """One empty mask of two: the alert takes a line more than the picture of two full ones."""
    volume, mask = ball
    empty = Mask(np.zeros_like(mask.labels), mask.geometry)
    for name, second in (("full", mask), ("empty", empty)):
        write_comparison_mosaic(volume, {"FP32": mask, "INT8": second}, tmp_path / name, title="t")
    assert len(picture(tmp_path / "empty")) > len(picture(tmp_path / "full"))


def test_twenty_eight_labels_have_different_lines(ball: tuple[Volume, Mask]) -> None:
    contours = label_contours(ball[1], {label: str(label) for label in range(29)})
    assert len({contour.line for contour in contours}) == len(contours) == 28


def test_a_brain_sized_mask_sets_white_inside_it() -> None:
    """Fat five times as bright as the brain does not leave the brain dark; a lesion mask leaves fat in range."""
    voxels = make_head((60, 60, 60), np.float32)
    brain = voxels > 0
    voxels[:10] = 600
    volume = Volume(voxels, Geometry((60, 60, 60), np.diag([3.0, 3.0, 3.0, 1.0])))
    lesion = np.zeros_like(brain)
    lesion[30:33, 30:33, 30:33] = True
    whites = [
        present(make_scene(volume, [region], around_mask=False)).window()[1]
        for region in (brain & (voxels < 600), lesion)
    ]
    assert whites[0] < 120
    assert whites[1] == 600


@pytest.mark.parametrize("angle_deg", [0.0, 3.0, 20.0])
def test_the_tilt_of_an_oblique_acquisition_is_the_rotation_angle(angle_deg: float) -> None:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("x", angle_deg, degrees=True).as_matrix() @ np.diag([-1, 0.8, 5])
    assert tilt_deg(Geometry((4, 4, 4), affine)) == pytest.approx(angle_deg, abs=1e-5)


@pytest.mark.full  # draws two more pictures
def test_an_oblique_acquisition_says_so(tmp_path: Path) -> None:
    volume = make_volume(OBLIQUE)
    mask = Mask((volume.voxels > 0).astype(np.uint8), volume.geometry)
    assert "Oblique acquisition" in words_in(volume, mask)
    write_mosaic(volume, mask, tmp_path / "oblique.png", title="t", legend={1: "brain"})


def test_a_label_without_a_name_is_refused(ball: tuple[Volume, Mask], tmp_path: Path) -> None:
    volume, mask = ball
    with pytest.raises(InputError, match=r"ball: expected a name .* every label of the mask, got none for 5, 7"):
        write_mosaic(volume, _relabelled(mask), tmp_path / "x.png", title="t", legend={1: "ball"})
    assert not list(tmp_path.iterdir())


def _relabelled(mask: Mask) -> Mask:
    labels = mask.labels * 5
    labels[0, 0, 0] = 7
    return Mask(labels, mask.geometry)


def test_a_mask_on_another_grid_is_refused(ball: tuple[Volume, Mask], tmp_path: Path) -> None:
    volume, mask = ball
    moved = Mask(mask.labels, Geometry(SIDES, mask.geometry.affine + np.eye(4, k=3)))
    with pytest.raises(GeometryError, match=r"ball: expected the mask on the grid of the volume .* map the mask back"):
        write_mosaic(volume, moved, tmp_path / "x.png", title="t", legend={1: "ball"})
    with pytest.raises(GeometryError, match=r"expected the mask 'INT8' on the grid"):
        write_comparison_mosaic(volume, {"FP32": mask, "INT8": moved}, tmp_path / "x.png", title="t")


def test_a_missing_folder_is_an_output_error(ball: tuple[Volume, Mask], tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist"):
        write_mosaic(*ball, tmp_path / "none" / "x.png", title="t", legend={1: "ball"})


def test_without_matplotlib_the_extra_is_named(
    ball: tuple[Volume, Mask], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"needs matplotlib.*pip install 'brain-edge\[report\]'"):
        write_mosaic(*ball, tmp_path / "x.png", title="t", legend={1: "ball"})


def test_pyplot_is_never_imported_and_matplotlib_only_when_drawing() -> None:
    """In a child process: the module costs no matplotlib, a picture no pyplot."""
    code = """
import sys, tempfile, numpy as np, brain_edge.jobs.pictures.mosaic as m
from brain_edge.image.phantom import Phantom, make_volume
from brain_edge.image.volume import Mask
assert "matplotlib" not in sys.modules
v = make_volume(Phantom(shape=(16, 16, 16), spacing_mm=12.0))
with tempfile.TemporaryDirectory() as d:
    m.write_mosaic(v, Mask((v.voxels > 500).astype(np.uint8), v.geometry), d + "/x.png", title="t", legend={1: "b"})
assert "matplotlib.pyplot" not in sys.modules and "matplotlib.figure" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.full  # draws two more pictures
@pytest.mark.data
def test_a_real_head_with_thick_oblique_slices_is_drawn(mri: Callable[[str], Path], tmp_path: Path) -> None:
    """3 mm slices tilted by three degrees: panels keep their proportions, brain volume is in the legend."""
    head = "ms_longitudinal/patient01/study1_T1W"
    volume, brain = read_volume(mri(f"{head}.nii.gz")), read_volume(mri(f"{head}_brainmask.nii.gz"))
    mask = Mask((brain.voxels > 0).astype(np.uint8), brain.geometry)
    write_mosaic(volume, mask, tmp_path / "head.png", title="head", legend={1: "brain"}, around_mask=True)
    assert picture(tmp_path / "head.png").max() == 1
    figure = compose(volume, label_contours(mask, {1: "brain"}), "head", [], around_mask=True).figure
    scales = [
        (axes.bbox.width / np.ptp(axes.get_xlim()), axes.bbox.height / np.ptp(axes.get_ylim())) for axes in figure.axes
    ]
    assert len(scales) == 15
    assert np.ptp(scales) < 1e-6 * np.mean(scales)
    assert f"brain  {mask.volume_ml(1):.1f} ml" in {text.get_text() for text in figure.findobj(Text)}
