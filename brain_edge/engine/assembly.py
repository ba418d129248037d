"""Assembly of a patient's images into the channels of a model, all on one grid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from brain_edge.errors import InputError
from brain_edge.image.geometry import overlap_share, require_head
from brain_edge.image.volume import Study, Volume
from brain_edge.spec.steps import Frame
from brain_edge.spec.steps.regrid import sampled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brain_edge.image.geometry import Geometry
    from brain_edge.image.volume import FloatArray
    from brain_edge.spec import ModelSpec

MINIMUM_OVERLAP: Final = 0.5
"""Smallest share of the reference image that another sequence must cover; less shows another part of the body."""


def assemble(study: Study | Volume, spec: ModelSpec) -> Frame:
    """Return the channels (C, I, J, K) that a model expects, in its order, on the grid of the reference sequence.

    A sequence on another grid of the same frame of reference is resampled linearly through its affine. An optional
    sequence that is missing gets its channel in `Frame.complete`.

    Raises:
        InputError: a sequence is missing, is not one of the model's, or covers too little of the reference.
        GeometryError: no head has the grid of an image.
    """
    names = [sequence.name for sequence in spec.inputs]
    if isinstance(study, Volume):
        study = Study({names[0]: study}, names[0])
    _require_sequences(study, names, spec)
    for volume in study.volumes.values():
        require_head(volume.geometry)
    reference = study.volumes[study.reference]
    channels = [_on_grid(study.volumes[name], reference) for name in names if name in study.volumes]
    absent = tuple(position for position, name in enumerate(names) if name not in study.volumes)
    # the usual case is one channel, which needs no copy of the volume
    voxels = channels[0][np.newaxis] if len(channels) == 1 else np.stack(channels)
    return Frame(voxels, reference.geometry, absent=absent)


def resample_onto(volume: Volume, geometry: Geometry) -> FloatArray:
    """Interpolate `volume` linearly at the voxel centres of `geometry` (I, J, K); 0 outside its field of view.

    The field of view ends at the edges of the outermost voxels, as in ITK. Between their centres and their edges the
    value is that of the nearest voxel.
    """
    return np.asarray(sampled(volume.voxels, volume.geometry, geometry, order=1), dtype=np.float32)


def _require_sequences(study: Study, names: Sequence[str], spec: ModelSpec) -> None:
    missing = [name for name in names if name not in study.volumes and name not in spec.optional]
    unknown = [name for name in study.volumes if name not in names]
    if missing or unknown:
        raise InputError(
            f"the model {spec.name} takes {', '.join(names)}, got {', '.join(study.volumes)}; "
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
            f"expected at least {MINIMUM_OVERLAP:.0%}; "
            "register the images first (docs/how-to/register-sequences.md)"
        )
    return resample_onto(volume, reference.geometry)
