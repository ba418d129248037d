"""Trial input of a model without a patient: the phantom as each of its inputs, and the model's result on it.

Conversion, the self-test of a package and `verify` all use this module, so that they compare the same study.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from brain_edge.image.phantom import make_study
from brain_edge.image.volume import Study

if TYPE_CHECKING:
    from brain_edge.engine.segmenter import Segmenter
    from brain_edge.image.phantom import Phantom
    from brain_edge.image.volume import LabelArray
    from brain_edge.spec import ModelSpec


def stand_in(phantom: Phantom, spec: ModelSpec) -> Study:
    """Make a study of all sequences of a model; a label map if the model takes one."""
    study = make_study(phantom, [sequence.name for sequence in spec.inputs])
    values = classes_of(spec)
    if values is None:
        return study
    classes, volumes = np.array(values, dtype=np.float32), {}
    for name, volume in study.volumes.items():
        # intensities divided into as many equal steps as there are classes
        steps = np.floor(volume.voxels / max(float(volume.voxels.max()), 1.0) * len(values)).clip(0, len(values) - 1)
        volumes[name] = replace(volume, voxels=classes[steps.astype(np.intp)])
    return Study(volumes, study.reference)


def outcome(segmenter: Segmenter, study: Study) -> LabelArray:
    """Return the label map (I, J, K) uint8 by which two runs of a model are compared.

    It is the mask. For a model that makes images, it marks the voxels where the mean of its images exceeds that mean's
    average over the volume.
    """
    if not segmenter.spec.makes_images:
        return segmenter(study).mask.labels
    image = np.mean([volume.voxels for volume in segmenter.synthesize(study)], axis=0, dtype=np.float64)
    return np.asarray(image > image.mean(), dtype=np.uint8)


def classes_of(spec: ModelSpec) -> tuple[int, ...] | None:
    """Return the values of the label map that a model takes, or None if the model takes images."""
    return next(filter(None, (step.label_values() for step in spec.stages[0].before)), None)
