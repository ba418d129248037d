"""Augmentation: judged by SimpleITK's resampling, scikit-image's gamma and scipy's Rice distribution."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - what its own manual calls it
from hypothesis import given, settings
from hypothesis import strategies as st
from phantoms import ORIENTATIONS, make_affine
from phantoms import make_mask as make_labels
from phantoms import make_volume as make_small
from scipy.spatial.transform import Rotation
from scipy.stats import kstest, rice
from skimage.exposure import adjust_gamma

from brain_edge.errors import GeometryError, InputError, UsageError
from brain_edge.image.geometry import Geometry
from brain_edge.image.phantom import Phantom, make_volume
from brain_edge.image.volume import Mask, Volume
from brain_edge_conversion.demo.augment import (
    DEMO_BIAS_FIELD,
    DEMO_GAMMA,
    DEMO_NOISE,
    ROTATION_RANGE_DEG,
    Augmentation,
    augment,
    bias_field,
    demo_augmentations,
    rician_noise,
    rotation_matrix,
)

ALL = Augmentation(3, bias_field=0.3, gamma=1.3, noise=0.05, flip_left_right=True, rotation_deg=(5, -3, 7))
ANGLES = st.tuples(*[st.floats(*ROTATION_RANGE_DEG)] * 3)


def make_tilted_head() -> tuple[Volume, Mask]:
    """The phantom's head on an oblique grid of 2 x 2.5 x 4 mm voxels, stored LSP, centred off the origin."""
    phantom = make_volume(Phantom(shape=(84, 80, 52), spacing_mm=2.5))
    affine = make_affine("LSP", (2.5, 2.5, 4.0))
    affine[:3, :3] = Rotation.from_euler("xyz", (4, -7, 11), degrees=True).as_matrix() @ affine[:3, :3]
    geometry = Geometry(phantom.geometry.shape, affine)
    return Volume(phantom.voxels, geometry, "head"), Mask((phantom.voxels > 400).astype(np.uint8), geometry)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


def test_the_identity_changes_no_voxel() -> None:
    volume, mask = make_tilted_head()
    same, same_mask = augment(volume, mask, Augmentation())
    assert np.array_equal(same.voxels, volume.voxels)
    assert same_mask is not None
    assert np.array_equal(same_mask.labels, mask.labels)
    assert same.geometry is volume.geometry


def test_the_same_augmentation_gives_the_same_bits_and_another_seed_others() -> None:
    volume, mask = make_tilted_head()
    (one, one_mask), (two, two_mask) = augment(volume, mask, ALL), augment(volume, mask, ALL)
    other, other_mask = augment(volume, mask, dataclasses.replace(ALL, seed=4))
    assert one.voxels.tobytes() == two.voxels.tobytes()
    assert not np.allclose(one.voxels, other.voxels, rtol=0.01)
    for same in (two_mask, other_mask):  # where a head lies does not depend on the seed
        assert one_mask is not None
        assert same is not None
        assert np.array_equal(one_mask.labels, same.labels)


def test_inputs_are_not_changed() -> None:
    volume, mask = make_tilted_head()
    voxels, labels = volume.voxels.copy(), mask.labels.copy()
    augment(volume, mask, ALL)
    assert np.array_equal(volume.voxels, voxels)
    assert np.array_equal(mask.labels, labels)


@pytest.mark.parametrize("angles", [(8, 0, 0), (0, -8, 0), (0, 0, 8), (6, -4, 7)])
def test_rotation_is_that_of_simpleitk(angles: tuple[float, float, float]) -> None:
    """On an oblique, anisotropic grid: same intensities, same mask as an Euler transform about the centre."""
    volume, mask = make_tilted_head()
    turned, turned_mask = augment(volume, mask, Augmentation(rotation_deg=angles))
    assert turned_mask is not None
    expected = _turned_by_simpleitk(volume.voxels, volume.geometry, angles, sitk.sitkLinear)
    inner = np.pad(np.ones([side - 4 for side in volume.geometry.shape], dtype=np.uint8), 2)
    # what comes from the rim is left out: there SimpleITK extrapolates by half a voxel, scipy does not
    inside = _turned_by_simpleitk(inner, volume.geometry, angles, sitk.sitkNearestNeighbor) > 0
    assert inside.mean() > 0.7
    assert np.abs(turned.voxels - expected)[inside].max() < 1e-3 * volume.voxels.max()
    labels = _turned_by_simpleitk(mask.labels, volume.geometry, angles, sitk.sitkNearestNeighbor)
    assert dice(turned_mask.labels[inside] > 0, labels[inside] > 0) > 0.9999
    assert dice(turned_mask.labels > 0, mask.labels > 0) < 0.95


def _turned_by_simpleitk(
    voxels: np.ndarray, geometry: Geometry, angles_deg: tuple[float, float, float], interpolator: int
) -> np.ndarray:
    image = sitk.GetImageFromArray(voxels.T)
    to_lps = np.diag([-1.0, -1.0, 1.0]) @ geometry.affine[:3]
    image.SetSpacing(geometry.spacing_mm)
    image.SetDirection((to_lps[:, :3] / geometry.spacing_mm).ravel().tolist())
    image.SetOrigin(to_lps[:, 3].tolist())
    transform = sitk.Euler3DTransform()
    transform.SetComputeZYX(True)  # R = Rz Ry Rx
    transform.SetCenter(image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in geometry.shape]))
    x, y, z = np.radians(angles_deg)
    transform.SetRotation(-x, -y, z)  # about x and y of LPS, which point the other way
    return sitk.GetArrayFromImage(sitk.Resample(image, image, transform.GetInverse(), interpolator, 0.0)).T


@given(ANGLES)
def test_the_rotation_matrix_is_scipys(angles: tuple[float, float, float]) -> None:
    assert np.allclose(rotation_matrix(angles), Rotation.from_euler("xyz", angles, degrees=True).as_matrix())


@given(angles=ANGLES, flip=st.booleans())
@settings(max_examples=10, deadline=None)
def test_the_mask_moves_with_the_image(angles: tuple[float, float, float], flip: bool) -> None:
    """A mask used as the image, moved and thresholded, is the mask moved."""
    _, mask = make_tilted_head()
    image = Volume(mask.labels.astype(np.float32), mask.geometry)
    moved, moved_mask = augment(image, mask, Augmentation(flip_left_right=flip, rotation_deg=angles))
    assert moved_mask is not None
    assert dice(moved.voxels > 0.5, moved_mask.labels > 0) > 0.97


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_flip_mirrors_left_and_right_in_every_storage_order(orientation: str) -> None:
    """In the world: x of each label's centre is mirrored on the middle of the grid, y and z stay."""
    volume = make_small(make_affine(orientation))
    mask = make_labels(volume)
    _, flipped = augment(volume, mask, Augmentation(flip_left_right=True))
    assert flipped is not None
    middle_x = volume.geometry.corners_mm()[:, 0].mean()
    for label in (1, 2):
        before, after = _centre_mm(mask, label), _centre_mm(flipped, label)
        assert after == pytest.approx([2 * middle_x - before[0], before[1], before[2]])


def _centre_mm(mask: Mask, label: int) -> np.ndarray:
    centre = np.argwhere(mask.labels == label).mean(axis=0)
    return mask.geometry.affine[:3, :3] @ centre + mask.geometry.affine[:3, 3]


def test_gamma_is_that_of_scikit_image_on_the_robust_scale() -> None:
    volume, _ = make_tilted_head()
    scale = np.percentile(volume.voxels[volume.voxels > 0], 99.5)
    bent, _ = augment(volume, None, Augmentation(gamma=1.4))
    assert np.allclose(bent.voxels, scale * adjust_gamma(volume.voxels / scale, 1.4), rtol=1e-4, atol=0.01)


@given(strength=st.floats(0.01, 0.4), seed=st.integers(0, 2**32 - 1))
def test_a_bias_field_is_a_cubic_within_its_strength(strength: float, seed: int) -> None:
    """Reaches the strength, never exceeds it, and its logarithm has no fourth differences."""
    field = bias_field((12, 9, 10), strength, np.random.Generator(np.random.PCG64(seed)))
    logarithm = np.log(field.astype(np.float64))
    assert np.abs(logarithm).max() == pytest.approx(strength, rel=1e-4)
    for axis in range(3):
        assert np.abs(np.diff(logarithm, n=4, axis=axis)).max() < 1e-5


def test_the_bias_field_multiplies_the_head() -> None:
    volume, _ = make_tilted_head()
    uneven, _ = augment(volume, None, Augmentation(7, bias_field=0.2))
    bright = volume.voxels > 1
    ratio = uneven.voxels[bright] / volume.voxels[bright]
    assert 0.81 < ratio.min() < ratio.max() < 1.23
    assert np.ptp(ratio) > 0.1


@pytest.mark.parametrize("signal", [0.0, 0.05, 0.8])
def test_noise_has_the_rice_distribution_of_scipy(signal: float) -> None:
    sigma = 0.05
    noisy = rician_noise(np.full(20_000, signal, dtype=np.float32), sigma, np.random.Generator(np.random.PCG64(1)))
    assert kstest(noisy, rice(b=signal / sigma, scale=sigma).cdf).pvalue > 0.01


@given(
    st.builds(
        Augmentation,
        seed=st.integers(0, 2**32 - 1),
        bias_field=st.floats(0, 0.4),
        gamma=st.floats(0.7, 1.5),
        noise=st.floats(0, 0.09),
        flip_left_right=st.booleans(),
        rotation_deg=ANGLES,
    )
)
@settings(deadline=None)
def test_intensities_stay_finite_and_nonnegative_and_no_signal_stays_zero(augmentation: Augmentation) -> None:
    volume = make_small()
    result, _ = augment(volume, None, augmentation)
    moved, _ = augment(volume, None, dataclasses.replace(augmentation, bias_field=0, gamma=1, noise=0))
    assert result.voxels.dtype == np.float32
    assert np.isfinite(result.voxels).all()
    assert result.voxels.min() >= 0
    assert not result.voxels[moved.voxels == 0].any()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"bias_field": 0.5}, r"expected bias_field between 0 and 0.4, got 0.5"),
        ({"gamma": 0.0}, r"expected gamma between 0.7 and 1.5, got 0"),
        ({"noise": -0.1}, r"expected noise between 0 and 0.09, got -0.1"),
        ({"noise": float("nan")}, r"expected noise between 0 and 0.09, got nan"),
        ({"rotation_deg": (0, 90, 0)}, r"expected rotation_deg between -8 and 8, got 90"),
    ],
)
def test_values_outside_their_range_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Augmentation(**wrong)


def test_normalised_intensities_are_refused() -> None:
    """A z-scored head has no zero that means no signal; moving it alone needs none."""
    volume = make_small()
    scored = dataclasses.replace(volume, voxels=volume.voxels - volume.voxels.mean())
    with pytest.raises(InputError, match=r"head: expected magnitude intensities.*before any normalisation"):
        augment(scored, None, Augmentation(gamma=1.2))
    augment(scored, None, Augmentation(flip_left_right=True))


def test_a_mask_on_another_grid_is_refused() -> None:
    volume = make_small()
    mask = Mask(make_labels(volume).labels, Geometry(volume.geometry.shape, make_affine("LAS")))
    with pytest.raises(GeometryError, match="head: expected the mask on the grid of the volume"):
        augment(volume, mask, Augmentation())


@given(count=st.integers(1, 12), seed=st.integers(0, 2**32 - 1))
def test_a_demonstration_cohort_spreads_over_its_ranges(count: int, seed: int) -> None:
    """One value in each of `count` equal parts of every range; half are mirrored; the seed decides."""
    cohort = demo_augmentations(count, seed)
    assert cohort == demo_augmentations(count, seed)
    assert len({case.seed for case in cohort}) == count
    assert sum(case.flip_left_right for case in cohort) == count // 2
    columns = [([case.bias_field for case in cohort], DEMO_BIAS_FIELD), ([case.gamma for case in cohort], DEMO_GAMMA)]
    columns.append(([case.noise for case in cohort], DEMO_NOISE))
    columns += [([case.rotation_deg[axis] for case in cohort], ROTATION_RANGE_DEG) for axis in range(3)]
    for values, (low, high) in columns:
        parts = (np.array(values) - low) / (high - low) * count
        assert sorted(np.floor(parts + 1e-9).astype(int)) == list(range(count))


def test_an_empty_cohort_is_refused() -> None:
    with pytest.raises(UsageError, match="expected at least 1 augmentation, got 0"):
        demo_augmentations(0, 1)
