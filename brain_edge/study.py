"""From the images of a patient to the channels of a model, all on one grid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from brain_edge.errors import InputError
from brain_edge.geometry import overlap_share
from brain_edge.steps import Frame
from brain_edge.volume import Study, Volume

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brain_edge.geometry import Affine, Geometry, Shape
    from brain_edge.spec import ModelSpec
    from brain_edge.volume import FloatArray

    BoolArray: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]

MINIMUM_OVERLAP: Final = 0.5
"""Least share of the reference image that another sequence must cover: less is another part of the body."""

EDGE_TOLERANCE: Final = 1e-3
"""Voxels by which a centre may lie outside and is inside: a float32 affine is not more exact than that."""


def assemble(study: Study | Volume, spec: ModelSpec) -> Frame:
    """The channels (C, I, J, K) that a model expects, in its order, on the grid of the reference sequence.

    A sequence on another grid of the same frame of reference is resampled linearly through its affine.

    Raises:
        InputError: a sequence is missing or is not one of the model's, or covers too little of the reference.
    """
    names = [sequence.name for sequence in spec.inputs]
    if isinstance(study, Volume):
        study = Study({names[0]: study}, names[0])
    _require_sequences(study, names, spec.name)
    reference = study.volumes[study.reference]
    channels = [_on_grid(study.volumes[name], reference) for name in names]
    return Frame(_stacked(channels), reference.geometry)


def resample_onto(volume: Volume, geometry: Geometry) -> FloatArray:
    """The intensities of `volume` at the voxel centres of `geometry` (I, J, K), linear, 0 outside.

    Inside is up to the edges of the outermost voxels, as in ITK: between their centres and their edges the
    nearest value holds.
    """
    from scipy.ndimage import affine_transform

    mapping = np.linalg.inv(volume.geometry.affine) @ geometry.affine
    moved = affine_transform(
        volume.voxels, mapping[:3, :3], mapping[:3, 3], output_shape=geometry.shape, order=1, mode="nearest"
    )
    moved[~_inside(mapping, geometry.shape, volume.geometry.shape)] = 0
    return np.asarray(moved, dtype=np.float32)


def _inside(mapping: Affine, shape: Shape, source: Shape) -> BoolArray:
    """Which voxels (I, J, K) of a grid of `shape` lie in the field of view of a grid of `source` voxels."""
    i, j, k = np.ogrid[: shape[0], : shape[1], : shape[2]]
    inside = np.ones(shape, dtype=bool)
    for row, side in zip(mapping[:3], source, strict=True):
        place = row[0] * i + row[1] * j + row[2] * k + row[3]
        inside &= (place >= -0.5 - EDGE_TOLERANCE) & (place <= side - 0.5 + EDGE_TOLERANCE)
    return inside


def _require_sequences(study: Study, names: Sequence[str], model: str) -> None:
    missing = [name for name in names if name not in study.volumes]
    unknown = [name for name in study.volumes if name not in names]
    if missing or unknown:
        raise InputError(
            f"the model {model} takes {', '.join(names)}, got {', '.join(study.volumes)}; "
            f"missing: {', '.join(missing) or 'none'}, not wanted: {', '.join(unknown) or 'none'}. "
            "Name each input, for example T1=head.nii.gz"
        )


def _on_grid(volume: Volume, reference: Volume) -> FloatArray:
    if volume.geometry.same_grid(reference.geometry):
        return volume.voxels
    share = overlap_share(reference.geometry, volume.geometry)
    if share < MINIMUM_OVERLAP:
        raise InputError(
            f"{volume.name} covers {share:.0%} of the field of view of {reference.name}, "
            f"expected at least {MINIMUM_OVERLAP:.0%}: the images do not lie over each other; register them first"
        )
    return resample_onto(volume, reference.geometry)


def _stacked(channels: list[FloatArray]) -> FloatArray:
    # one channel is the usual case and needs no copy of the volume
    return channels[0][np.newaxis] if len(channels) == 1 else np.stack(channels)
