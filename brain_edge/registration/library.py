"""SimpleITK: images, the search for a rigid transform at one resolution, and the correction of a bias field.

The only module that imports SimpleITK, when it is called. SimpleITK has LPS coordinates; this module converts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from brain_edge.errors import extra_needed
from brain_edge.image.volume import Volume
from brain_edge.registration.rigid import Rigid

if TYPE_CHECKING:
    from brain_edge.image.geometry import Geometry
    from brain_edge.registration.rigid import Points
    from brain_edge.registration.working import Pair

ItkImage: TypeAlias = Any
"""Image of SimpleITK, which has no types."""

LPS: Final = np.diag([-1.0, -1.0, 1.0, 1.0])
BINS: Final = 32
"""Bins of the joint histogram along each intensity: SimpleITK's examples take 24 to 50 for brain MRI."""
SEED: Final = 1
"""Seed of the perturbation of the sampled points, so that the same input gives the same transform."""
SMALLEST_STEP: Final = 0.005
"""Step at which the optimizer stops, mm: far below the accuracy that any image allows."""
MOST_STEPS: Final = 100
BIAS_SHRINK_MM: Final = 4.0
"""Spacing at which the bias field is estimated: the field is smooth over centimetres."""
BIAS_STEPS: Final = [20, 20]
"""Iterations of N4 at two resolutions of its spline."""


@dataclass(frozen=True)
class Level:
    """One resolution of the search.

    Attributes:
        spacing_mm: spacing of the isotropic grids, and first step, mm.
        points: largest number of points of the fixed image that are compared.
    """

    spacing_mm: float
    points: int


def import_simpleitk() -> Any:
    """Import and return SimpleITK, with one thread for all of its filters.

    The search has parts that ask for the number of threads of the process, and not for its own.

    Raises:
        MissingExtraError: SimpleITK is not installed.
    """
    with extra_needed("registration", "SimpleITK", "register"):
        import SimpleITK
    library: Any = SimpleITK  # its functions have no types
    library.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    return library


def itk_image(voxels: np.ndarray[Any, Any], geometry: Geometry) -> ItkImage:
    """Return voxels (I, J, K) with their geometry as an image of SimpleITK."""
    image = import_simpleitk().GetImageFromArray(np.ascontiguousarray(voxels.transpose(2, 1, 0)))
    affine, spacing = LPS @ geometry.affine, np.array(geometry.spacing_mm)
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetSpacing(spacing.tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    return image


def without_bias(volume: Volume) -> Volume:
    """Return an image divided by its bias field (N4, estimated at 4 mm), for the search alone."""
    sitk = import_simpleitk()
    image = itk_image(volume.voxels - float(volume.voxels.min()), volume.geometry)
    small = sitk.Shrink(image, [max(1, int(BIAS_SHRINK_MM / side)) for side in volume.geometry.spacing_mm])
    corrector = sitk.N4BiasFieldCorrectionImageFilter()
    corrector.SetNumberOfThreads(1)
    corrector.SetMaximumNumberOfIterations(BIAS_STEPS)
    corrector.Execute(small, sitk.OtsuThreshold(small, 0, 1))
    field = np.exp(sitk.GetArrayFromImage(corrector.GetLogBiasFieldAsImage(image)).transpose(2, 1, 0))
    return Volume((volume.voxels - float(volume.voxels.min())) / field, volume.geometry, volume.name)


def align(pair: Pair, start: Rigid, centre: Points, level: Level) -> tuple[Rigid, float]:
    """Return the rigid transform with the greatest mutual information near `start`, and this information.

    The search takes one thread: several threads add up the derivatives in the order in which the threads finish, and
    the last digits of the transform would differ from run to run.

    Args:
        pair: images and masks at the resolution of `level`.
        start: transform at which the search begins.
        centre: world point (3,) of the fixed image about which the search rotates, mm.
        level: resolution.
    """
    sitk = import_simpleitk()
    search = _search(sitk, pair, level)
    transform = _euler(sitk, start, centre)
    search.SetInitialTransform(transform, True)
    search.Execute(
        itk_image(pair.fixed.voxels, pair.fixed.geometry), itk_image(pair.moving.voxels, pair.moving.geometry)
    )
    return _rigid(transform), -float(search.GetMetricValue())


def _search(sitk: Any, pair: Pair, level: Level) -> Any:
    search = sitk.ImageRegistrationMethod()
    search.SetNumberOfThreads(1)
    search.SetNumberOfWorkUnits(1)
    search.SetMetricAsMattesMutualInformation(BINS)
    share = level.points / pair.fixed.voxels.size
    if share < 1:
        search.SetMetricSamplingStrategy(search.REGULAR)
        search.SetMetricSamplingPercentage(share, SEED)
    if pair.fixed_mask is not None:
        search.SetMetricFixedMask(itk_image(pair.fixed_mask.labels, pair.fixed_mask.geometry))
    if pair.moving_mask is not None:
        search.SetMetricMovingMask(itk_image(pair.moving_mask.labels, pair.moving_mask.geometry))
    search.SetInterpolator(sitk.sitkLinear)
    search.SetOptimizerAsRegularStepGradientDescent(level.spacing_mm, SMALLEST_STEP, MOST_STEPS)
    search.SetOptimizerScalesFromPhysicalShift()
    return search


def _euler(sitk: Any, rigid: Rigid, centre: Points) -> Any:
    """Return a rigid transform as three angles and a translation about `centre`."""
    matrix, middle = LPS @ rigid.matrix @ LPS, LPS[:3, :3] @ centre
    transform = sitk.Euler3DTransform()
    transform.SetCenter(middle.tolist())
    transform.SetMatrix(matrix[:3, :3].ravel().tolist(), 1e-6)
    transform.SetTranslation((matrix[:3, :3] @ middle + matrix[:3, 3] - middle).tolist())
    return transform


def _rigid(transform: Any) -> Rigid:
    rotation = np.array(transform.GetMatrix()).reshape(3, 3)
    middle = np.array(transform.GetCenter())
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    matrix[:3, 3] = np.array(transform.GetTranslation()) + middle - rotation @ middle
    return Rigid(LPS @ matrix @ LPS)
