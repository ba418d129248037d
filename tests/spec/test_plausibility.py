"""Absurd inputs and absurd masks are flagged, in words and numbers; a good head is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from strategies import shapes
from tiny_package import PHANTOM, SPEC

from brain_edge.image.geometry import Geometry
from brain_edge.image.phantom import make_volume
from brain_edge.image.volume import Mask, Study, Volume
from brain_edge.io.nifti import read_volume
from brain_edge.spec import Plausible, PlausibleInput, PlausibleLabel, Task
from brain_edge.spec.plausibility import (
    Flag,
    FlagKind,
    border_share,
    check_input,
    check_mask,
    distinct,
    head_share,
    is_empty,
    lattice,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from brain_edge.spec import ModelSpec

INPUTS = Plausible(inputs=PlausibleInput(spacing_mm=(0.3, 7.0), extent_mm=(100.0, 400.0)))
CUBE = Geometry((60, 60, 60), np.diag([2.0, 2.0, 2.0, 1.0]))


def head(spacing_mm=(1.0, 1.0, 1.0), shape=(180, 220, 180)) -> Geometry:
    return Geometry(shape, np.diag([*spacing_mm, 1.0]))


@given(shape=shapes(2, 80), values=st.integers(1, 300), seed=st.integers(0, 99))
def test_the_numbers_of_an_image_are_those_of_numpy(shape, values, seed):
    voxels = np.random.default_rng(seed).integers(-values, values, shape).astype(np.float32)
    voxels[0, 0, 0] = values  # an image has more than one value
    volume = Volume(voxels, Geometry(shape, np.eye(4)))
    numbers, counts = distinct(volume)
    expected = np.unique(voxels[np.ix_(*lattice(volume))], return_counts=True)
    np.testing.assert_array_equal(numbers, expected[0])
    np.testing.assert_array_equal(counts, expected[1])


def mask_of(*boxes: tuple[slice, slice, slice]) -> Mask:
    labels = np.zeros(CUBE.shape, dtype=np.uint8)
    for box in boxes:
        labels[box] = 1
    return Mask(labels, CUBE)


def limited(**limits) -> ModelSpec:
    """The tiny spec with one label and these limits."""
    label = PlausibleLabel(**{"label": 1, "volume_ml": (0.0, 1e9), **limits})
    return msgspec.structs.replace(SPEC, plausible=Plausible(labels=(label,)))


def box(low: int, high: int) -> tuple[slice, slice, slice]:
    return (slice(low, high),) * 3


def image(spacing_mm=(1.0, 1.0, 1.0), shape=(180, 220, 180)) -> Study:
    """A study of one image, bright in its middle."""
    grid = head(spacing_mm, shape)
    voxels = np.zeros(grid.shape, np.float32)
    middle = tuple(slice(side // 4, side - side // 4) for side in grid.shape)
    voxels[middle] = 100 + np.arange(voxels[middle].size).reshape(voxels[middle].shape) % 997
    return Study.of(T1=Volume(voxels, grid))


def beside(geometry: Geometry) -> tuple[Flag, ...]:
    """The flags of a second sequence on this grid, beside `image()`, whose head lies from 45 to 134 mm along x."""
    first = image().volumes["T1"]
    voxels = np.zeros(geometry.shape, np.float32)
    voxels[:] = (np.arange(voxels.size) % 991).reshape(voxels.shape)
    second = Volume(voxels, geometry)
    return check_input(Study.of(T1=first, T2=second), INPUTS)


def moved(geometry: Geometry, x_mm: float) -> Geometry:
    affine = np.array(geometry.affine)
    affine[0, 3] += x_mm
    return Geometry(geometry.shape, affine)


class TestSequences:
    def test_a_sequence_that_covers_the_head_has_no_flag(self):
        assert beside(head()) == ()
        assert beside(moved(head(), 40.0)) == ()
        assert beside(head((2.0, 2.0, 5.0), (90, 110, 36))) == ()

    def test_a_sequence_that_ends_within_the_head_is_flagged(self):
        """Above the half of the field of view that is asked for: the network would see 0 where there is brain."""
        (flag,) = beside(moved(head(), 72.0))
        assert flag.kind is FlagKind.COVERAGE
        assert flag.value == pytest.approx((134 - 72) / 90, abs=0.03)
        assert flag.message == (
            f"T2 covers {flag.value:.0%} of the head in T1, expected at least 95%: the network saw 0 beyond it"
        )

    def test_the_grid_of_each_sequence_is_judged(self):
        (flag,) = beside(head((1.0, 1.0, 9.0), (180, 220, 20)))
        assert flag.message == "T2: spacing of 9 mm, expected 0.3 to 7 mm"

    def test_where_no_head_is_found_nothing_is_said(self):
        voxels = np.zeros((70, 70, 70), np.float32)
        voxels[1, 1, 1] = 1  # between the voxels that are looked at
        speck = Volume(voxels, head(shape=(70, 70, 70)))
        assert head_share(speck, moved(speck.geometry, 1000.0)) == 1.0


class TestInput:
    def test_a_head_has_no_flag(self):
        assert check_input(image(), INPUTS) == ()
        assert check_input(image((0.9, 0.9, 6.0), (256, 256, 30)), INPUTS) == ()

    def test_no_ranges_no_flags(self):
        assert check_input(image((50.0, 1.0, 1.0), (20, 20, 20)), Plausible()) == ()

    def test_slices_too_thick(self):
        (flag,) = check_input(image((1.0, 1.0, 8.0), (200, 200, 25)), INPUTS)
        assert (flag.kind, flag.value, flag.low, flag.high) == (FlagKind.SPACING, 8.0, 0.3, 7.0)
        assert flag.message == "spacing of 8 mm, expected 0.3 to 7 mm"

    def test_a_field_of_view_too_small_and_one_too_large(self):
        flags = check_input(image((1.0, 1.0, 1.0), (90, 200, 500)), INPUTS)
        assert [flag.kind for flag in flags] == [FlagKind.COVERAGE] * 2
        assert [flag.message for flag in flags] == [
            "field of view of 90 mm, expected 100 to 400 mm",
            "field of view of 500 mm, expected 100 to 400 mm",
        ]

    def test_both_at_once_and_the_same_value_once(self):
        small = Plausible(inputs=PlausibleInput(spacing_mm=(0.3, 7.0), extent_mm=(1.0, 400.0)))
        flags = check_input(image((0.1, 0.1, 0.1), (40, 40, 40)), small)
        assert [flag.kind for flag in flags] == [FlagKind.SPACING]

    def test_float32_rounding_of_a_limit_is_no_flag(self):
        spacing = float(np.float32(0.3)) - 1e-6
        small = Plausible(inputs=PlausibleInput(spacing_mm=(0.3, 7.0), extent_mm=(1.0, 400.0)))
        assert check_input(image((spacing,) * 3, (40, 40, 40)), small) == ()


class TestMask:
    def test_a_good_one_has_no_flag(self):
        spec = limited(volume_ml=(60.0, 70.0), max_components=1, max_border_share=0.0)
        assert check_mask(mask_of(box(20, 40)), spec) == ()

    @pytest.mark.parametrize(("task", "kinds"), [(Task.SKULL_STRIPPING, [FlagKind.EMPTY]), (Task.LESION, [])])
    def test_an_empty_one_is_flagged_where_something_must_be(self, task, kinds):
        flags = check_mask(mask_of(), msgspec.structs.replace(limited(volume_ml=(1.0, 2.0)), task=task))
        assert [flag.kind for flag in flags] == kinds
        assert is_empty(flags) == bool(kinds)
        if flags:
            assert flags[0].message == "the mask is empty; tiny found nothing in this image"

    def test_volume_out_of_range(self):
        (flag,) = check_mask(mask_of(box(20, 40)), limited(volume_ml=(600.0, 2200.0)))
        assert flag.kind is FlagKind.VOLUME
        assert flag.value == pytest.approx(64.0)
        assert flag.label == 1
        assert flag.message == "brain of 64.0 ml, expected 600 to 2200 ml"
        assert not is_empty((flag,))

    def test_pieces(self):
        (flag,) = check_mask(mask_of(box(2, 5), box(10, 12), box(20, 21)), limited(max_components=2))
        assert (flag.kind, flag.value, flag.high) == (FlagKind.COMPONENTS, 3, 2)
        assert flag.message == "brain in 3 pieces, expected at most 2"

    def test_pieces_that_touch_by_a_corner_are_one_as_for_scipy(self):
        mask = mask_of(box(2, 5), box(5, 8))
        assert ndimage.label(mask.labels, np.ones((3, 3, 3)))[1] == 1
        assert check_mask(mask, limited(max_components=1)) == ()

    def test_border(self):
        (flag,) = check_mask(mask_of((slice(0, 10), slice(20, 30), slice(20, 30))), limited(max_border_share=0.05))
        assert (flag.kind, flag.value) == (FlagKind.BORDER, pytest.approx(0.1))
        assert flag.message == "10.0% of brain lies on the border of the image, expected at most 5.0%"

    def test_the_volume_counts_where_the_user_has_the_mask_and_pieces_where_the_network_made_it(self):
        made, given = mask_of(box(20, 40)), mask_of(box(20, 30), box(31, 32))
        (flag,) = check_mask(made, limited(volume_ml=(60.0, 70.0), max_components=1), given)
        assert (flag.kind, flag.value) == (FlagKind.VOLUME, pytest.approx(given.volume_ml(1)))

    def test_several_flags_come_together(self):
        spec = limited(volume_ml=(1.0, 2.0), max_components=1, max_border_share=0.0)
        flags = check_mask(mask_of(box(0, 20), box(30, 40)), spec)
        assert [flag.kind for flag in flags] == [FlagKind.VOLUME, FlagKind.BORDER, FlagKind.COMPONENTS]


@given(shapes(), st.integers(0, 99))
def test_border_share_counts_the_outermost_layer(shape, seed):
    labels = np.random.default_rng(seed).random(shape) < 0.3
    places = np.stack(np.meshgrid(*(np.arange(side) for side in shape), indexing="ij"))
    last = np.array(shape).reshape(3, 1, 1, 1) - 1
    outer = ((places == 0) | (places == last)).any(axis=0)
    assert border_share(labels) == pytest.approx((labels & outer).sum() / max(1, labels.sum()))


LABELS = np.digitize(make_volume(PHANTOM).voxels, [150, 350, 550, 750]).astype(np.float32)
"""Four classes of a phantom's intensities, as a tissue map has them."""


class TestValues:
    """What is given as a head is one: a label map, a mask and the same image twice are flagged."""

    @pytest.mark.parametrize("voxels", [LABELS, 17.0 * LABELS, (LABELS > 2) * 0.25, 2 - (LABELS > 2)])
    def test_label_maps_and_masks_are_flagged(self, voxels: np.ndarray):
        labels = Volume(ndimage.median_filter(voxels, 5), make_volume(PHANTOM).geometry)
        (flag,) = check_input(Study.of(FLAIR=labels), Plausible())
        assert flag.kind is FlagKind.VALUES
        assert flag.value > flag.high
        assert "FLAIR looks like a label map or mask" in flag.message

    @pytest.mark.parametrize("levels", [60, 255, 4095])
    def test_few_grey_levels_are_no_labels(self, levels: int):
        """Of a head with a background that is not 0, as after a z-score."""
        volume = make_volume(PHANTOM)
        grey = np.rint(volume.voxels / volume.voxels.max() * levels) - 1
        assert check_input(Study.of(T1=Volume(grey, volume.geometry)), Plausible()) == ()

    def test_an_image_of_few_values_is_flagged_however_they_are_mixed(self):
        """Noise of sixteen values is an image of few grey levels; of four it is none."""
        geometry = make_volume(PHANTOM).geometry
        random = np.random.default_rng(0)
        kinds = []
        for values in (4, 40):
            noise = random.integers(0, values, geometry.shape).astype(np.float32)
            kinds.append([flag.kind for flag in check_input(Study.of(T1=Volume(noise, geometry)), Plausible())])
        assert kinds == [[FlagKind.VALUES], []]

    def test_a_ct_is_flagged_and_a_z_score_is_not(self):
        volume = make_volume(PHANTOM)
        hounsfield = np.where(volume.voxels < 50, -1000 + volume.voxels, volume.voxels / 10)
        (flag,) = check_input(Study.of(T1=Volume(hounsfield, volume.geometry)), Plausible())
        assert flag.kind is FlagKind.VALUES
        assert "T1 looks like a CT, not an MR image" in flag.message
        scored = (volume.voxels - volume.voxels.mean()) / volume.voxels.std()
        assert check_input(Study.of(T1=Volume(scored, volume.geometry)), Plausible()) == ()

    def test_one_image_for_two_sequences_is_flagged(self):
        """Also scaled."""
        volume = make_volume(PHANTOM)
        study = Study.of(T1=volume, T2=Volume(3 * volume.voxels + 7, volume.geometry))
        (flag,) = check_input(study, Plausible())
        assert (flag.kind, flag.message) == (FlagKind.VALUES, "T2 is the same image as T1")

    def test_two_images_of_one_head_are_two(self):
        first, second = (make_volume(msgspec.structs.replace(PHANTOM, seed=seed)) for seed in (1, 2))
        assert check_input(Study.of(T1=first, T2=second), Plausible()) == ()

    @pytest.mark.data
    def test_real_heads_have_no_flag_and_real_masks_have_one(self, mri: Callable[[str], Path]):
        names = ("FLAIR", "T1", "T2", "T1POST")
        study = Study({name: read_volume(mri(f"ms_cross/patient07/{name}.nii.gz")) for name in names}, "T1")
        assert check_input(study, Plausible()) == ()
        gold = Study({"T1": study.volumes["T1"], "FLAIR": read_volume(mri("ms_cross/patient07/gold.nii.gz"))}, "T1")
        (flag,) = check_input(gold, Plausible())
        assert "FLAIR looks like a label map" in flag.message
