"""Dice, HD95 and volumes, judged by MONAI, by hand-made masks and by what holds for every pair of masks."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from present import present
from scipy.ndimage import gaussian_filter

from brain_edge.errors import GeometryError, InputError
from brain_edge.evaluation import scores
from brain_edge.evaluation.scores import Presence, hd95_mm, score_labels, summarize, volume_difference_ml
from brain_edge.image.geometry import Geometry
from brain_edge.image.metrics import dice, least_dice

Masks = tuple[np.ndarray, np.ndarray]
Spacing = tuple[float, float, float]
SPACING_MM = (0.9, 1.3, 4.0)
K_D_TREE, DISTANCE_TRANSFORM = 2.0, 0.0
"""Values of `SPARSE_SURFACE_SHARE` that force one of the two ways for every mask."""

no_deadline = settings(deadline=None)
"""A loaded machine may stall on any example; how long one takes is no property of a metric."""

spacings = st.tuples(*[st.floats(0.2, 6.0) for _ in range(3)])


@st.composite
def mask_pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Two boolean masks of one small shape, neither of them empty."""
    shape = draw(hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=6))
    masks = hnp.arrays(np.bool_, shape).filter(np.any)
    return draw(masks), draw(masks)


def blob(seed: int, shape: tuple[int, int, int] = (24, 20, 16), sigma: float = 2.0) -> np.ndarray:
    """A random smooth mask of about half the volume, which touches the border of it."""
    noise = np.random.default_rng(seed).standard_normal(shape)
    return gaussian_filter(noise, sigma) > 0


def box(shape: tuple[int, ...], start: tuple[int, ...], sides: tuple[int, ...]) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(low, low + side) for low, side in zip(start, sides, strict=True))] = True
    return mask


def monai_hd95(a: np.ndarray, b: np.ndarray, spacing: tuple[float, float, float]) -> float:
    from monai.metrics import compute_hausdorff_distance

    one_hot = (a[None, None], b[None, None])
    with warnings.catch_warnings():
        # MONAI 1.6 calls its own deprecated argument
        warnings.filterwarnings("ignore", "monai.metrics.utils get_mask_edges:always_return", FutureWarning)
        return compute_hausdorff_distance(*one_hot, include_background=True, percentile=95, spacing=spacing).item()


def monai_dice(a: np.ndarray, b: np.ndarray) -> float:
    import torch
    from monai.metrics import compute_dice

    return compute_dice(torch.from_numpy(a[None, None]), torch.from_numpy(b[None, None])).item()


# ---------------------------------------------------------------- against MONAI


@pytest.mark.parametrize("way", [K_D_TREE, DISTANCE_TRANSFORM])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), SPACING_MM, (5.0, 0.5, 0.5)])
@pytest.mark.parametrize("sigma", [0.0, 1.0, 3.0])
def test_hd95_is_monais(way: float, spacing: Spacing, sigma: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """From noise to smooth blobs, by either way of finding the closest surface voxel."""
    monkeypatch.setattr(scores, "SPARSE_SURFACE_SHARE", way)
    for seed in range(3):
        a, b = blob(seed, sigma=sigma), blob(seed + 100, sigma=sigma)
        assert hd95_mm(a, b, spacing) == pytest.approx(monai_hd95(a, b, spacing), abs=1e-4)


def test_hd95_of_masks_far_apart_is_monais() -> None:
    """Two small blobs in opposite corners of a large volume, where surface voxels are rare."""
    a, b = np.zeros((2, 64, 60, 50), dtype=bool)
    a[:9, :9, :9], b[-9:, -9:, -9:] = blob(1, (9, 9, 9)), blob(2, (9, 9, 9))
    assert hd95_mm(a, b, SPACING_MM) == pytest.approx(monai_hd95(a, b, SPACING_MM), abs=1e-4)


def test_hd95_of_one_slice_is_monais() -> None:
    """In a volume of one slice every voxel is a surface voxel."""
    a, b = blob(3, (30, 30, 1)), blob(4, (30, 30, 1))
    assert hd95_mm(a, b, SPACING_MM) == pytest.approx(monai_hd95(a, b, SPACING_MM), abs=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_dice_is_monais(seed: int) -> None:
    a, b = blob(seed), blob(seed + 100)
    assert dice(a, b) == pytest.approx(monai_dice(a, b), abs=1e-6)


# ---------------------------------------------------------------- by hand


def test_dice_of_two_overlapping_boxes() -> None:
    """Eight voxels each, four in common: 2 x 4 / 16."""
    a, b = box((4, 4, 4), (0, 0, 0), (2, 2, 2)), box((4, 4, 4), (1, 0, 0), (2, 2, 2))
    assert dice(a, b) == 0.5


def test_dice_is_none_for_two_empty_masks_and_zero_for_one() -> None:
    empty, full = np.zeros((3, 3, 3), dtype=bool), np.ones((3, 3, 3), dtype=bool)
    assert dice(empty, empty) is None
    assert dice(empty, full) == dice(full, empty) == 0.0


def test_the_least_dice_is_of_the_labels_and_not_of_the_background() -> None:
    """All but a corner is label 1 in both: the corners lie apart, so that the background agrees nowhere."""
    first, second = np.ones((2, 4, 4, 4), dtype=np.uint8)
    first[0, 0, 0] = second[3, 3, 3] = 0
    assert least_dice(first, second) == 2 * 62 / 126
    second[0, 0, 1] = 2
    assert least_dice(first, second) == 0.0
    assert least_dice(np.zeros((2, 2, 2), np.uint8), np.zeros((2, 2, 2), np.uint8)) == 1.0


def test_hd95_is_none_where_one_side_is_empty() -> None:
    empty, full = np.zeros((3, 3, 3), dtype=bool), np.ones((3, 3, 3), dtype=bool)
    assert [hd95_mm(*pair, SPACING_MM) for pair in ((empty, full), (full, empty), (empty, empty))] == [None] * 3


def test_hd95_is_in_millimetres_along_each_axis() -> None:
    """Two single voxels (1, 2, 3) apart, at a spacing of 0.9 x 1.3 x 4 mm."""
    a, b = box((5, 5, 5), (0, 0, 0), (1, 1, 1)), box((5, 5, 5), (1, 2, 3), (1, 1, 1))
    assert hd95_mm(a, b, SPACING_MM) == pytest.approx(np.hypot(np.hypot(0.9, 2.6), 12.0))


def test_hd95_measures_surfaces_not_interiors() -> None:
    """A solid box and its shell of one voxel have the same surface, at the border of the volume too."""
    solid = box((9, 9, 9), (0, 0, 0), (9, 9, 9))
    shell = solid & ~box((9, 9, 9), (1, 1, 1), (7, 7, 7))
    assert hd95_mm(solid, shell, (1.0, 1.0, 1.0)) == 0.0


def test_hd95_forgives_one_twentieth_of_the_surface() -> None:
    """One stray voxel far away does not move it; it would be the whole of the plain Hausdorff distance."""
    a = box((40, 12, 12), (1, 1, 1), (10, 10, 10))
    stray = a | box((40, 12, 12), (39, 5, 5), (1, 1, 1))
    assert hd95_mm(a, stray, (1.0, 1.0, 1.0)) == 0.0


def test_hd95_is_the_greater_of_the_two_directions() -> None:
    """One voxel at the end of a line of 30: 0 mm that way, the 95th percentile of 0 to 29 mm back."""
    voxel, line = box((3, 3, 30), (1, 1, 0), (1, 1, 1)), box((3, 3, 30), (1, 1, 0), (1, 1, 30))
    assert hd95_mm(voxel, line, (1.0, 1.0, 1.0)) == pytest.approx(0.95 * 29)


def test_volume_difference_is_the_second_minus_the_first() -> None:
    a, b = box((4, 4, 4), (0, 0, 0), (2, 2, 2)), box((4, 4, 4), (0, 0, 0), (3, 2, 2))
    assert volume_difference_ml(a, b, 0.5) == 2.0
    assert volume_difference_ml(b, a, 0.5) == -2.0


@pytest.mark.parametrize("metric", [dice, lambda a, b: hd95_mm(a, b, SPACING_MM)], ids=["dice", "hd95_mm"])
def test_masks_that_numpy_would_combine_in_silence_are_refused(metric) -> None:
    mask = np.ones((3, 3, 3), dtype=bool)
    with pytest.raises(GeometryError, match=r"on one grid, got the shapes \(3, 3, 3\) and \(1, 3, 3\)"):
        metric(mask, mask[:1])
    with pytest.raises(TypeError, match="expected boolean masks, got bool and uint8"):
        metric(mask, mask.astype(np.uint8))


# ---------------------------------------------------------------- for every pair of masks


@no_deadline
@given(mask_pairs(), spacings)
def test_both_metrics_are_symmetric(pair: Masks, spacing: Spacing) -> None:
    a, b = pair
    assert dice(a, b) == dice(b, a)
    assert hd95_mm(a, b, spacing) == hd95_mm(b, a, spacing)


@no_deadline
@given(mask_pairs(), spacings)
def test_a_mask_agrees_with_itself(pair: Masks, spacing: Spacing) -> None:
    assert dice(pair[0], pair[0]) == 1.0
    assert hd95_mm(pair[0], pair[0], spacing) == 0.0


@no_deadline
@given(mask_pairs())
def test_dice_lies_between_0_and_1_and_is_0_only_for_disjoint_masks(pair: Masks) -> None:
    a, b = pair
    value = present(dice(a, b))
    assert 0.0 <= value <= 1.0
    assert (value == 0.0) == (not (a & b).any())


@no_deadline
@given(st.tuples(*[st.integers(3, 8)] * 3), st.integers(0, 2), st.integers(0, 12), spacings)
def test_a_box_moved_by_whole_voxels_is_that_far_away(
    sides: tuple[int, ...], axis: int, voxels: int, spacing: Spacing
) -> None:
    """The face that the box leaves behind is more than a twentieth of its surface."""
    shape, start = (21, 21, 21), [0, 0, 0]
    start[axis] = voxels
    moved = box(shape, tuple(start), sides)
    distance = hd95_mm(box(shape, (0, 0, 0), sides), moved, spacing)
    assert distance == pytest.approx(voxels * spacing[axis], rel=1e-9, abs=1e-9)


@no_deadline
@given(mask_pairs(), spacings, st.floats(0.1, 10.0))
def test_hd95_scales_with_the_spacing(pair: Masks, spacing: Spacing, factor: float) -> None:
    i, j, k = (factor * side for side in spacing)
    assert hd95_mm(*pair, (i, j, k)) == pytest.approx(factor * present(hd95_mm(*pair, spacing)), rel=1e-9)


@no_deadline
@given(mask_pairs(), spacings, st.permutations(range(3)), st.integers(0, 2))
def test_the_order_and_direction_of_axes_do_not_matter(
    pair: Masks, spacing: Spacing, axes: list[int], flipped: int
) -> None:
    a, b = (np.flip(mask.transpose(axes), flipped) for mask in pair)
    i, j, k = (spacing[axis] for axis in axes)
    assert dice(a, b) == dice(*pair)
    assert hd95_mm(a, b, (i, j, k)) == pytest.approx(hd95_mm(*pair, spacing), rel=1e-9)


@no_deadline
@given(mask_pairs(), spacings, st.integers(0, 5))
def test_background_around_both_masks_does_not_matter(pair: Masks, spacing: Spacing, margin: int) -> None:
    one, other = (np.pad(mask, margin) for mask in pair)
    assert hd95_mm(one, other, spacing) == pytest.approx(hd95_mm(*pair, spacing), rel=1e-9)


# ---------------------------------------------------------------- label maps

GRID = Geometry((4, 4, 4), np.diag([1.0, 2.0, 3.0, 1.0]))
"""One voxel is 6 cubic millimetres: 0.006 ml."""


def label_map(**boxes: tuple[int, int]) -> np.ndarray:
    """A label map on `GRID`: `l3=(0, 2)` writes label 3 into the slices 0 to 1 along I (16 voxels each)."""
    labels = np.zeros(GRID.shape, dtype=np.uint8)
    for name, (start, stop) in boxes.items():
        labels[start:stop] = int(name[1:])
    return labels


def test_each_label_is_scored_with_its_presence() -> None:
    """Label 1 is on both sides, 2 only predicted, 3 only in the reference, 4 nowhere."""
    scores = score_labels(label_map(l1=(0, 2), l2=(2, 4)), label_map(l1=(0, 1), l3=(3, 4)), GRID, (1, 2, 3, 4))
    assert [score.label for score in scores] == [1, 2, 3, 4]
    assert [score.presence for score in scores] == [
        Presence.BOTH,
        Presence.PREDICTION_ONLY,
        Presence.REFERENCE_ONLY,
        Presence.NEITHER,
    ]
    assert [score.dice for score in scores] == [pytest.approx(2 / 3), 0.0, 0.0, None]
    assert [score.hd95_mm for score in scores] == [1.0, None, None, None]


def test_volumes_are_in_millilitres_and_the_difference_is_prediction_minus_reference() -> None:
    """A label that the reference lacks has its whole volume as false-positive volume."""
    scores = score_labels(label_map(l1=(0, 1), l2=(2, 4)), label_map(l1=(0, 2)), GRID, (1, 2))
    volumes = [(score.volume_ml, score.reference_volume_ml, score.volume_difference_ml) for score in scores]
    assert volumes == [pytest.approx((0.096, 0.192, -0.096)), pytest.approx((0.192, 0.0, 0.192))]


def test_a_label_score_is_that_of_its_own_mask() -> None:
    rng = np.random.default_rng(0)
    prediction, reference = rng.integers(0, 3, (2, *GRID.shape), dtype=np.uint8)
    for score in score_labels(prediction, reference, GRID, (1, 2)):
        a, b = prediction == score.label, reference == score.label
        assert (score.dice, score.hd95_mm) == (dice(a, b), hd95_mm(a, b, GRID.spacing_mm))


def test_an_undeclared_value_is_refused_by_name() -> None:
    declared, stray = label_map(l1=(0, 2)), label_map(l1=(0, 2), l7=(3, 4))
    with pytest.raises(InputError, match=r"labels \[1, 2\] and 0 .* in the reference, got also \[7\]; relabel"):
        score_labels(declared, stray, GRID, (1, 2))
    with pytest.raises(InputError, match=r"in the prediction, got also \[7\]"):
        score_labels(stray, declared, GRID, (1, 2))


def test_a_label_map_on_another_grid_is_refused() -> None:
    with pytest.raises(
        GeometryError, match=r"expected a reference with the shape of the grid, \(4, 4, 4\), got \(3, 4, 4\)"
    ):
        score_labels(label_map(), label_map()[:3], GRID, (1,))


# ---------------------------------------------------------------- summaries


def test_a_summary_counts_what_it_leaves_out() -> None:
    """Label 1: half right, exact, missed, and nowhere."""
    half, exact, missed, nowhere = (
        score_labels(prediction, reference, GRID, (1,))
        for prediction, reference in [
            (label_map(l1=(0, 3)), label_map(l1=(0, 1))),
            (label_map(l1=(0, 1)), label_map(l1=(0, 1))),
            (label_map(), label_map(l1=(0, 1))),
            (label_map(), label_map()),
        ]
    )
    (summary,) = summarize([half, exact, missed, nowhere])
    assert (summary.label, summary.cases, summary.absent, summary.hd95_undefined) == (1, 3, 1, 1)
    assert (summary.mean_dice, summary.worst_dice) == (pytest.approx((0.5 + 1.0 + 0.0) / 3), 0.0)
    assert (summary.hd95_mean_mm, summary.hd95_worst_mm) == (1.0, 2.0)
    assert summary.mean_volume_difference_ml == pytest.approx((0.192 + 0.0 - 0.096) / 3)


def test_a_label_in_no_case_has_no_means() -> None:
    case = score_labels(label_map(l1=(0, 1)), label_map(l1=(0, 1)), GRID, (1, 2))
    first, second = summarize([case, case])
    assert (first.cases, first.absent, first.mean_dice) == (2, 0, 1.0)
    assert (second.cases, second.absent, second.hd95_undefined) == (0, 2, 0)
    assert second.mean_dice is second.worst_dice is second.hd95_mean_mm is second.hd95_worst_mm is None
    assert second.mean_volume_difference_ml is None


def test_cases_scored_for_other_labels_are_refused() -> None:
    one, two = (score_labels(label_map(), label_map(), GRID, labels) for labels in [(1,), (1, 2)])
    with pytest.raises(ValueError, match=r"same labels in every case, got \[\(1,\), \(1, 2\)\]"):
        summarize([one, two])
