"""Known movements of an image, for the tests of the registration."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from brain_edge.image.geometry import Geometry
from brain_edge.image.volume import Volume
from brain_edge.registration.rigid import Rigid


def rigid(angles_deg, shift_mm):
    """A rotation about x, y and z, then a shift."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", angles_deg, degrees=True).as_matrix()
    matrix[:3, 3] = shift_mm
    return Rigid(matrix)


def shifted(volume, moved_by):
    """The image at another place, by its header alone."""
    affine = moved_by.inverse().matrix @ volume.geometry.affine
    return Volume(volume.voxels, Geometry(volume.geometry.shape, affine), volume.name)


def mirrored(volume):
    """The image with a header that exchanges left and right."""
    return Volume(volume.voxels, Geometry(volume.geometry.shape, np.diag([-1, 1, 1, 1]) @ volume.geometry.affine))
