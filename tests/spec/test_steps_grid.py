"""Steps that move voxels: forth as plain numpy would, and back without losing a voxel."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from phantoms import OBLIQUE, ORIENTATIONS, make_affine, make_head
from strategies import GRID_STEPS, INTERPOLATIONS, ORIENTED, geometries, shapes, voxels

from brain_edge.errors import ImplausibleError, PackageError
from brain_edge.image.geometry import Geometry
from brain_edge.image.resample import Interpolation, resize
from brain_edge.spec.steps import (
    CropAroundStage,
    CropOrPadTo,
    CropToStage,
    Frame,
    Orient,
    PadToMultiple,
    Placement,
    ResampleBetweenCentres,
    ResampleThickSlices,
    ResampleToSpacing,
    ResizeTo,
    TransposeAxes,
)
from brain_edge.spec.steps.grid import placed_box
from brain_edge.spec.steps.moves import take_box
from brain_edge.spec.steps.thick_slices import thick_axis


def framed(array: np.ndarray, affine: np.ndarray | None = None) -> Frame:
    """A frame of voxels (C, I, J, K)."""
    return Frame(array, Geometry(array.shape[1:], np.eye(4) if affine is None else affine))


def noise(geometry: Geometry, channels: int = 1, seed: int = 0) -> Frame:
    return Frame(voxels((channels, *geometry.shape), seed), geometry)


class TestOrient:
    @given(geometries(), ORIENTED, st.integers(0, 99))
    def test_there_and_back_is_the_same_voxels(self, geometry, axes, seed):
        frame = noise(geometry, 2, seed)
        oriented = Orient(axes=axes).apply(frame)
        assert oriented.geometry.orientation == axes
        np.testing.assert_array_equal(oriented.undone(Interpolation.CUBIC).voxels, frame.voxels)

    def test_copies_no_voxel(self):
        frame = framed(voxels((1, 4, 5, 6), 0))
        assert np.shares_memory(Orient(axes="SPL").apply(frame).voxels, frame.voxels)

    def test_one_head_stored_in_any_way_is_the_same_array_afterwards(self):
        head = make_head(dtype=np.float32)
        canonical = Orient(axes="RAS").apply(framed(head[np.newaxis], make_affine("RAS")))
        for stored in ORIENTATIONS:
            other = Orient(axes="RAS").apply(Orient(axes=stored).apply(canonical))
            np.testing.assert_array_equal(other.voxels, canonical.voxels)
            assert other.geometry.same_grid(canonical.geometry)

    @pytest.mark.parametrize("axes", ["RAR", "XYZ", "", "ras"])
    def test_refuses_what_names_no_orientation(self, axes):
        with pytest.raises(ValueError, match="that name each anatomical axis once, such as RAS or SPL, got"):
            Orient(axes=axes)


class TestResampling:
    @given(geometries(), shapes(1, 15), INTERPOLATIONS)
    def test_resize_gives_the_shape_and_keeps_the_field_of_view(self, geometry, shape, interpolation):
        frame = noise(geometry)
        resized = ResizeTo(shape=shape, interpolation=interpolation).apply(frame)
        np.testing.assert_array_equal(resized.voxels, resize(frame.voxels, shape, interpolation))
        np.testing.assert_allclose(resized.geometry.corners_mm(), geometry.corners_mm(), atol=1e-8)

    @given(geometries(), st.tuples(*[st.floats(0.5, 8)] * 3))
    def test_spacing_comes_as_close_as_whole_voxels_allow(self, geometry, spacing_mm):
        step = ResampleToSpacing(spacing_mm=spacing_mm, interpolation=Interpolation.LINEAR)
        resampled = step.apply(noise(geometry)).geometry
        for extent, wanted, side in zip(geometry.extent_mm, spacing_mm, resampled.shape, strict=True):
            assert side == 1 or abs(side - extent / wanted) <= 0.5 + 1e-4
        np.testing.assert_allclose(resampled.corners_mm(), geometry.corners_mm(), atol=1e-8)

    def test_halves_round_to_even_as_numpy_does_in_the_published_programs(self):
        """17 and 19 voxels of 1 mm at 2 mm are 8.5 and 9.5; float32 spacings leave both slightly less."""
        step = ResampleToSpacing(spacing_mm=(2.0, 2.0, 2.0), interpolation=Interpolation.LINEAR)
        affine = np.diag([*np.array([0.9999999, 1.0000001, 1.0], np.float32).tolist(), 1.0])
        assert step.apply(framed(voxels((1, 17, 17, 19), 0), affine)).geometry.shape == (8, 8, 10)

    def test_never_leaves_less_than_one_voxel(self):
        step = ResampleToSpacing(spacing_mm=(20.0, 1.0, 1.0), interpolation=Interpolation.LINEAR)
        assert step.apply(framed(voxels((1, 3, 4, 5), 0))).geometry.shape == (1, 4, 5)

    @given(geometries(), st.integers(1, 3), st.integers(0, 99))
    def test_labels_on_a_finer_grid_come_back_exactly(self, geometry, factor, seed):
        """Down again by the nearest: an odd or even factor, the cell around each old centre is its own."""
        labels = (voxels((1, *geometry.shape), seed) > 100).astype(np.uint8)
        finer = tuple(factor * side for side in geometry.shape)
        there = ResizeTo(shape=finer, interpolation=Interpolation.NEAREST).apply(Frame(labels, geometry))
        np.testing.assert_array_equal(there.undone(Interpolation.NEAREST).voxels, labels)


class TestPadding:
    @given(geometries(), st.integers(1, 9), shapes(1, 20), st.sampled_from(Placement), st.integers(0, 99))
    def test_padding_is_undone_exactly(self, geometry, multiple, minimum, placement, seed):
        step = PadToMultiple(multiple_of=multiple, minimum=minimum, placement=placement, value=-7.0)
        frame = noise(geometry, 2, seed)
        padded = step.apply(frame)
        for side, least, new in zip(geometry.shape, minimum, padded.geometry.shape, strict=True):
            assert new % multiple == 0
            assert max(side, least) <= new < max(side, least) + multiple
        assert np.count_nonzero(padded.voxels == -7.0) == padded.voxels.size - frame.voxels.size
        back = padded.undone(Interpolation.NEAREST)
        np.testing.assert_array_equal(back.voxels, frame.voxels)
        assert back.geometry is geometry

    @given(geometries(), shapes(1, 20), st.sampled_from(Placement), st.integers(0, 99))
    def test_cropping_comes_back_with_zeros_where_it_was_cut(self, geometry, shape, placement, seed):
        frame = noise(geometry, 1, seed)
        cut = CropOrPadTo(shape=shape, placement=placement).apply(frame)
        assert cut.voxels.shape[1:] == shape == cut.geometry.shape
        back = cut.undone(Interpolation.NEAREST).voxels
        kept = back != 0
        np.testing.assert_array_equal(back[kept], frame.voxels[kept])
        expected = np.prod([min(old, new) for old, new in zip(geometry.shape, shape, strict=True)])
        assert kept.sum() == expected

    @given(geometries(least=2), shapes(1, 20), st.sampled_from(Placement), st.integers(0, 99))
    def test_a_voxel_keeps_its_place_in_the_world(self, geometry, shape, placement, seed):
        frame = noise(geometry, 1, seed)
        cut = CropOrPadTo(shape=shape, placement=placement).apply(frame)
        there, here = np.argwhere(cut.voxels[0] == cut.voxels[0].max())[0], None
        assume(cut.voxels[0].max() > 0)
        here = np.argwhere(frame.voxels[0] == cut.voxels[0].max())[0]
        np.testing.assert_allclose(cut.geometry.affine @ (*there, 1), geometry.affine @ (*here, 1), atol=1e-8)

    @pytest.mark.parametrize(
        ("placement", "have", "want", "expected"),
        [
            (Placement.START, 5, 8, (0, 8)),
            (Placement.START, 8, 5, (0, 5)),
            (Placement.CENTRE, 5, 8, (-1, 7)),
            (Placement.CENTRE, 5, 9, (-2, 7)),
            (Placement.CENTRE, 8, 5, (2, 7)),
            (Placement.CENTRE, 6, 6, (0, 6)),
        ],
    )
    def test_where_the_image_lies(self, placement, have, want, expected):
        assert placed_box((have,) * 3, (want,) * 3, placement) == (expected,) * 3

    @given(shapes(1, 6), st.tuples(*[st.tuples(st.integers(-4, 9), st.integers(1, 8))] * 3), st.integers(0, 99))
    def test_a_box_anywhere_is_numpys_pad_and_slice(self, shape, spans, seed):
        array = voxels((2, *shape), seed)
        i, j, k = ((start, start + length) for start, length in spans)
        box = (i, j, k)
        wide = np.pad(array, [(0, 0), (20, 20), (20, 20), (20, 20)], constant_values=5)
        expected = wide[(slice(None), *(slice(low + 20, high + 20) for low, high in box))]
        np.testing.assert_array_equal(take_box(array, box, 5.0), expected)


@given(geometries(least=2), st.lists(st.integers(0, 4), min_size=1, max_size=4), st.integers(0, 99))
def test_any_row_of_whole_voxel_moves_is_undone_exactly(geometry, picks, seed):
    """The trail is walked backwards: padding, orientation and enlarging in any order."""
    steps = (
        Orient(axes="SPL"),
        PadToMultiple(multiple_of=4),
        Orient(axes="AIR"),
        PadToMultiple(multiple_of=3, placement=Placement.CENTRE),
        CropOrPadTo(shape=(60, 61, 62)),
    )
    frame = noise(geometry, 1, seed)
    moved = frame
    for pick in picks:
        moved = steps[pick].apply(moved)
    assert len(moved.trail) == len(picks)
    back = moved.undone(Interpolation.NEAREST)
    np.testing.assert_array_equal(back.voxels, frame.voxels)
    assert back.trail == ()
    assert back.geometry.same_grid(geometry)


def published_box(mask: np.ndarray, shape: tuple[int, ...], margin: float, share: float) -> list[slice]:
    """The rule of deepbet 1.0.2 in its own words (torch): scaled centre and size, each rounded, cut at the border."""
    small, scale = torch.from_numpy(mask.astype(np.float32)), torch.tensor(shape) / torch.tensor(mask.shape)
    planes = [torch.where(small.mean(dims) > share)[0] for dims in ((1, 2), (0, 2), (0, 1))]
    centre = scale * torch.stack([(there.max() + 1 + there.min()) / 2 for there in planes])
    size = (1 + 2 * margin * torch.ones(3)) * (scale * torch.stack([there.max() + 1 - there.min() for there in planes]))
    spans = [(int(c - s / 2), int(c + s / 2)) for c, s in zip(centre.round(), size.round(), strict=True)]
    return [slice(max(0, low), min(side, high)) for (low, high), side in zip(spans, shape, strict=True)]


@pytest.mark.parametrize(
    ("spacing_mm", "axis"),
    [((1, 1, 3.0), None), ((1, 1, 3.1), 2), ((1, 2.5, 1), None), ((1, 4, 1), 1), ((4, 4, 1), None), ((1, 1, 1), None)],
)
def test_slices_are_thick_from_more_than_three_times_the_finest_spacing_on(spacing_mm, axis):
    """nnU-Net's `ANISO_THRESHOLD`; of two axes that are as coarse neither is the one across slices."""
    assert thick_axis(spacing_mm, (1, 1, 1)) == thick_axis((1, 1, 1), spacing_mm) == axis


class TestCropToStage:
    @staticmethod
    def with_finding(shape, labels) -> Frame:
        frame = noise(Geometry(shape, OBLIQUE))
        finding = Frame(labels[np.newaxis], frame.geometry.resized(labels.shape))
        return Frame(frame.voxels, frame.geometry, findings={"box": finding})

    @given(shapes(20, 70), shapes(16, 32), st.data())
    def test_is_the_published_rule_of_deepbet(self, shape, small, data):
        labels = np.zeros(small, dtype=np.uint8)
        spans = [sorted(data.draw(st.lists(st.integers(0, s), min_size=2, max_size=2, unique=True))) for s in small]
        labels[tuple(slice(*span) for span in spans)] = 1
        margin = data.draw(st.sampled_from([0.0, 0.1, 0.25]))
        share = data.draw(st.sampled_from([0.0, 0.02]))
        assume(all((labels.mean(dims) > share).any() for dims in ((1, 2), (0, 2), (0, 1))))
        expected = published_box(labels, shape, margin, share)
        assume(all(span.stop > span.start for span in expected))
        frame = self.with_finding(shape, labels)
        cut = CropToStage(stage="box", margin=margin, minimum_plane_share=share).apply(frame)
        np.testing.assert_array_equal(cut.voxels[0], frame.voxels[0][tuple(expected)])
        back = cut.undone(Interpolation.NEAREST).voxels[0]
        np.testing.assert_array_equal(back[tuple(expected)], cut.voxels[0])
        assert np.count_nonzero(back) == cut.voxels.size

    def test_a_half_is_rounded_in_float32_as_there(self):
        """1.2 x 55 / 24 x 2 planes are 5.5: in float32 a little more, so 6, in float64 a little less, so 5."""
        labels = np.zeros((24, 24, 24), dtype=np.uint8)
        labels[10:12, 10:12, 10:12] = 1
        cut = CropToStage(stage="box", margin=0.1).apply(self.with_finding((55, 55, 55), labels))
        assert cut.voxels.shape == (1, 6, 6, 6)

    def test_nothing_found_is_refused_in_words(self):
        frame = self.with_finding((20, 20, 20), np.zeros((10, 10, 10), dtype=np.uint8))
        with pytest.raises(ImplausibleError, match="stage 'box' found nothing to crop to: no brain was found"):
            CropToStage(stage="box").apply(frame)

    def test_planes_with_too_little_do_not_count(self):
        labels = np.zeros((10, 10, 10), dtype=np.uint8)
        labels[2:6, 2:6, 2:6] = 1
        labels[9, 9, 9] = 1
        frame = self.with_finding((10, 10, 10), labels)
        assert CropToStage(stage="box", minimum_plane_share=0.02).apply(frame).voxels.shape[1:] == (4, 4, 4)
        assert CropToStage(stage="box").apply(frame).voxels.shape[1:] == (8, 8, 8)

    @pytest.mark.parametrize("step", [Orient(axes="RAS"), PadToMultiple(multiple_of=32)])
    def test_a_finding_on_another_field_of_view_is_refused(self, step):
        """A box in other axes or in a padded grid would cut the wrong part, and nobody would see it."""
        labels = np.ones((10, 10, 10), dtype=np.uint8)
        frame = step.apply(self.with_finding((20, 20, 20), labels))
        with pytest.raises(PackageError, match="with the field of view and axis order of this stage"):
            CropToStage(stage="box").apply(frame)


def test_steps_do_not_change_the_frame_they_are_given():
    labels = np.zeros((10, 10, 10), dtype=np.uint8)
    labels[3:7, 3:7, 3:7] = 1
    frame = TestCropToStage.with_finding((20, 20, 20), labels)
    before = frame.voxels.copy()
    frame.voxels.setflags(write=False)
    for step in (
        Orient(axes="SPL"),
        ResizeTo(shape=(5, 6, 7), interpolation=Interpolation.CUBIC),
        PadToMultiple(multiple_of=16),
        CropOrPadTo(shape=(9, 9, 40)),
        CropToStage(stage="box"),
    ):
        assert step.apply(frame) is not frame
    np.testing.assert_array_equal(frame.voxels, before)
    assert frame.trail == ()


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (ResizeTo, {"op": "resize_to", "shape": [0, 1, 1], "interpolation": "linear"}),
        (ResizeTo, {"op": "resize_to", "shape": [5000, 1, 1], "interpolation": "linear"}),
        (ResampleToSpacing, {"op": "resample_to_spacing", "spacing_mm": [0, 1, 1], "interpolation": "cubic"}),
        (CropToStage, {"op": "crop_to_stage", "stage": "box", "margin": 2.0}),
    ],
)
def test_sides_and_spacings_out_of_range_are_refused_when_read(kind, text):
    with pytest.raises(msgspec.ValidationError, match=r"Expected `(int|float)`"):
        msgspec.convert(text, kind)


@pytest.mark.parametrize(
    "spacing_mm", [(0.05, 1.0, 1.0), (1.0, 20.5, 1.0), (1e-320, 1.0, 1.0), (float("nan"), 1.0, 1.0)]
)
@pytest.mark.parametrize("made", [
    lambda spacing_mm: ResampleToSpacing(spacing_mm=spacing_mm, interpolation=Interpolation.LINEAR),
    lambda spacing_mm: ResampleBetweenCentres(spacing_mm=spacing_mm),
    lambda spacing_mm: ResampleThickSlices(spacing_mm=spacing_mm),
], ids=["over the field of view", "between centres", "thick slices"])  # fmt: skip
def test_a_spacing_that_no_head_has_is_refused_when_a_step_is_made(made, spacing_mm):
    with pytest.raises(ValueError, match=r"expected a spacing of 0\.1 to 20 mm, got .* mm"):
        made(spacing_mm)


class TestTheGridAfter:
    """What is predicted before a step is what it makes."""

    @given(geometries(), GRID_STEPS, st.integers(0, 99))
    def test_is_the_one_that_it_makes_and_a_crop_only_makes_less(self, geometry, step, seed):
        after = step.grid_after(geometry)
        assume(np.prod(after.shape, dtype=float) < 2**22)
        made = step.apply(noise(geometry, seed=seed)).geometry
        if step.follows_content:
            assert all(side <= most for side, most in zip(made.shape, after.shape, strict=True))
        else:
            assert made.shape == after.shape
            np.testing.assert_allclose(made.affine, after.affine, atol=1e-9)

    def test_of_a_crop_to_a_stage_is_at_most_what_it_was(self):
        grid = Geometry((9, 8, 7), np.eye(4))
        assert CropToStage(stage="box").grid_after(grid).shape == (9, 8, 7)
        assert CropAroundStage(stage="box", shape=(4, 20, 5)).grid_after(grid).shape == (4, 20, 5)
        assert TransposeAxes(axes=(2, 0, 1)).grid_after(grid).shape == (7, 9, 8)

    def test_of_a_thick_head_at_one_millimetre(self):
        """24 slices of 6 mm and 0.5 mm in the plane, as clinics make them."""
        grid = Geometry((480, 480, 24), np.diag([0.5, 0.5, 6.0, 1.0]))
        step = ResampleToSpacing(spacing_mm=(1.0, 1.0, 1.0), interpolation=Interpolation.CUBIC)
        assert step.grid_after(grid).shape == (240, 240, 144)
        assert PadToMultiple(multiple_of=32).grid_after(step.grid_after(grid)).shape == (256, 256, 160)
