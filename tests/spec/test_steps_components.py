"""Clean-up of single labels, against scipy's labelling and cases made by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phantoms import ORIENTATIONS, make_affine
from scipy import ndimage
from strategies import shapes

from brain_edge.image.geometry import Geometry, axis_moves
from brain_edge.spec.steps import ComponentExtent, Frame, KeepLargest, MinimumVolume, RemoveSmallComponents
from brain_edge.spec.steps.known_frame import KnownFrame, MisfitError
from brain_edge.spec.steps.moves import reorder

FULL = np.ones((3, 3, 3))
NCR, ED, ET = 1, 2, 4


def framed(labels: np.ndarray, affine: np.ndarray | None = None) -> Frame:
    return Frame(labels[np.newaxis].astype(np.uint8), Geometry(labels.shape, np.eye(4) if affine is None else affine))


def noisy(shape: tuple[int, int, int], seed: int) -> np.ndarray:
    """Labels 0, 1, 2, 4 in pieces of many sizes."""
    return np.random.default_rng(seed).choice([0, 0, 0, 0, NCR, ED, ET], shape).astype(np.uint8)


def naive(labels: np.ndarray, of: tuple[int, ...], keep) -> np.ndarray:
    """The label map with the components of some labels that `keep` does not want set to 0."""
    numbers, count = ndimage.label(np.isin(labels, of), FULL)
    result = labels.copy()
    for number in range(1, count + 1):
        if not keep(numbers == number):
            result[numbers == number] = 0
    return result


class TestMinimumVolume:
    @pytest.mark.parametrize(("voxels", "expected"), [(200, ET), (201, NCR)])
    def test_fewer_than_so_many_voxels_become_necrosis(self, voxels, expected):
        """DeepSeg + nnU-Net: an enhancing tumour of fewer than 200 voxels."""
        labels = np.zeros((30, 30, 30))
        labels[:10, :5, :4] = ET
        labels[20:, :, :] = ED
        result = MinimumVolume(of=(ET,), voxels=voxels, replacement=NCR).apply(framed(labels)).voxels[0]
        assert set(np.unique(result[:10, :5, :4])) == {expected}
        np.testing.assert_array_equal(result[20:], ED)

    @pytest.mark.parametrize(("volume_ml", "kept"), [(0.6, True), (0.601, False)])
    def test_millilitres_are_of_the_grid(self, volume_ml, kept):
        """600 voxels of 1 mm are 0.6 ml, and so are 75 of 2 mm: exactly that much is not less."""
        for spacing, side in ((1.0, (10, 10, 6)), (2.0, (5, 5, 3))):
            labels = np.zeros((12, 12, 12))
            labels[tuple(slice(0, n) for n in side)] = ET
            frame = framed(labels, np.diag([spacing] * 3 + [1.0]))
            assert bool(MinimumVolume(of=(ET,), volume_ml=volume_ml).apply(frame).voxels.any()) is kept

    def test_labels_are_counted_together_and_none_is_none(self):
        labels = np.zeros((4, 4, 4))
        assert not MinimumVolume(of=(ET,), voxels=5).apply(framed(labels)).voxels.any()
        labels[0, :3, 0], labels[3, :3, 3] = NCR, ET
        assert MinimumVolume(of=(NCR, ET), voxels=6).apply(framed(labels)).voxels.any()
        assert not MinimumVolume(of=(NCR, ET), voxels=7).apply(framed(labels)).voxels.any()


class TestRemoveSmallComponents:
    @given(shapes(1, 9), st.integers(0, 99), st.sampled_from([1, 2, 3, 5, 20]))
    def test_is_a_loop_over_components(self, shape, seed, least):
        labels = noisy(shape, seed)
        result = RemoveSmallComponents(of=(NCR, ET), voxels=least).apply(framed(labels)).voxels[0]
        np.testing.assert_array_equal(result, naive(labels, (NCR, ET), lambda inside: inside.sum() >= least))

    def test_may_give_another_label_and_counts_millilitres(self):
        labels = np.zeros((9, 9, 9))
        labels[0, 0, 0], labels[4:8, 4:8, 4:8] = ET, ET
        frame = framed(labels, np.diag([2.0, 2.0, 2.0, 1.0]))
        result = RemoveSmallComponents(of=(ET,), volume_ml=0.02, replacement=NCR).apply(frame).voxels[0]
        assert result[0, 0, 0] == NCR
        assert (result[4:8, 4:8, 4:8] == ET).all()


class TestKeepLargest:
    @given(shapes(1, 9), st.integers(0, 99))
    def test_of_one_label_leaves_the_others_alone(self, shape, seed):
        labels = noisy(shape, seed)
        result = KeepLargest(of=(ET,)).apply(framed(labels)).voxels[0]
        np.testing.assert_array_equal(result[labels != ET], labels[labels != ET])
        numbers, count = ndimage.label(labels == ET, FULL)
        sizes = ndimage.sum_labels(labels == ET, numbers, range(1, count + 1))
        kept = np.unique(numbers[result == ET])
        assert len(kept) == min(1, count)
        assert count == 0 or sizes[kept[0] - 1] == sizes.max()


class TestComponentExtent:
    @given(shapes(1, 10), st.integers(0, 99), st.floats(0, 6), st.integers(1, 5))
    def test_is_a_loop_over_components(self, shape, seed, area, slices):
        labels = noisy(shape, seed)

        def keep(inside):
            areas = inside.sum(axis=(0, 1))
            return (areas > 0).sum() >= slices and areas[areas > 0].mean() > area

        step = ComponentExtent(of=(NCR, ED, ET), mean_area_above=area, minimum_slices=slices)
        np.testing.assert_array_equal(step.apply(framed(labels)).voxels[0], naive(labels, (NCR, ED, ET), keep))

    def test_the_thresholds_of_tcup_gan_for_glioma(self):
        """A whole tumour of more than 125 pixels in its slices over at least 5 of them stays."""
        labels = np.zeros((40, 40, 30))
        labels[0:14, 0:9, 0:5] = ED  # 126 pixels, 5 slices
        labels[20:34, 0:9, 0:4] = ED  # 126 pixels, 4 slices
        labels[0:5, 20:30, 10:25] = ED  # 50 pixels, 15 slices
        result = ComponentExtent(of=(ED,), mean_area_above=125, minimum_slices=5).apply(framed(labels)).voxels[0]
        assert result[:14, :9].sum() == 126 * 5 * ED == result.sum(dtype=int)

    @pytest.mark.parametrize(("area", "stays"), [(11.9, True), (12, False)])
    def test_exactly_the_area_is_not_above_it(self, area, stays):
        labels = np.zeros((8, 8, 8))
        labels[:4, :3, :5] = ED
        result = ComponentExtent(of=(ED,), mean_area_above=area, minimum_slices=5).apply(framed(labels)).voxels
        assert bool(result.any()) is stays

    @pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
    def test_planes_are_the_patients_however_the_head_is_stored(self, plane):
        labels = noisy((7, 8, 9), 3)
        labels[labels == 0] = np.random.default_rng(4).choice([0, ET], (labels == 0).sum(), p=[0.9, 0.1])
        step = ComponentExtent(of=(NCR, ED, ET), mean_area_above=1.5, minimum_slices=2, plane=plane, connectivity=6)
        canonical = framed(labels, make_affine("RAS"))
        expected = step.apply(canonical).voxels
        for orientation in ORIENTATIONS:
            moves = axis_moves("RAS", orientation)
            stored = Frame(reorder(canonical.voxels, moves), canonical.geometry.reoriented(moves))
            np.testing.assert_array_equal(step.apply(stored).voxels, reorder(expected, moves))


STEPS = (
    MinimumVolume(of=(ET,), voxels=20, replacement=3),
    RemoveSmallComponents(of=(ET,), voxels=3, replacement=3),
    KeepLargest(of=(ET,), replacement=3),
    ComponentExtent(of=(ET,), mean_area_above=1, replacement=3),
)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: type(step).__name__)
class TestAll:
    def test_leave_a_map_without_the_label_alone_and_do_not_change_what_they_are_given(self, step):
        labels = noisy((5, 6, 7), 1)
        labels[labels == ET] = 0
        frame = framed(labels)
        frame.voxels.setflags(write=False)
        np.testing.assert_array_equal(step.apply(frame).voxels, frame.voxels)

    def test_say_which_labels_they_write_and_need_labels(self, step):
        assert step.outcome(KnownFrame(1, frozenset({0, ET}))) == KnownFrame(1, frozenset({0, 3, ET}))
        with pytest.raises(MisfitError, match=f"needs labels for the step {type(step).__name__}, got none"):
            step.outcome(KnownFrame(1))
        with pytest.raises(MisfitError, match=f"needs one label map for the step {type(step).__name__}, got 2"):
            step.outcome(KnownFrame(2, frozenset({0, ET})))


@pytest.mark.parametrize("kind", [MinimumVolume, RemoveSmallComponents])
def test_a_size_is_in_one_unit(kind):
    for sizes in ({}, {"voxels": 3, "volume_ml": 1.0}):
        with pytest.raises(ValueError, match="give the minimum size either in `voxels` or in `volume_ml`"):
            kind(of=(ET,), **sizes)
