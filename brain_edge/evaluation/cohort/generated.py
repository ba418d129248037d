"""Heads made by a generator package from label maps (SPADE): label maps, slices, volumes.

The generator replaces the drawn contrasts of the analytic synthesiser (`brain_edge.evaluation.cohort.synthesize`). It
has learnt how a scanner shows each class, in one contrast. Its image is stretched to full scale, because the output of
a generator has its own range (tanh). The image is 0 outside of the label map, like the skull-stripped images that the
generator was trained on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from brain_edge.engine.assembly import assemble
from brain_edge.engine.phantom_study import classes_of
from brain_edge.engine.segmenter import Segmenter, WarmSegmenter
from brain_edge.errors import InputError, UsageError
from brain_edge.evaluation.cohort.reference import read_reference
from brain_edge.evaluation.cohort.synthesize import FULL_SCALE
from brain_edge.evaluation.cohort.typical import LARGEST_NORM, TypicalSlices, atypical
from brain_edge.image.volume import Mask, Volume
from brain_edge.jobs.generate import require_generator
from brain_edge.jobs.record import provenance
from brain_edge.package import WeightsStatus

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from brain_edge.deploy.fetch import Report
    from brain_edge.evaluation.cohort.typical import Slices
    from brain_edge.machine.options import RuntimeOptions
    from brain_edge.package import ModelPackage


@dataclass(frozen=True, eq=False)
class Generator:
    """A package that makes images from label maps, ready to run.

    Attributes:
        segmenter: warm segmenter with one label map as input and one image as output.
    """

    segmenter: WarmSegmenter

    @property
    def package(self) -> ModelPackage:
        """Package of the generator."""
        return self.segmenter.package

    @classmethod
    def open(cls, package: ModelPackage, options: RuntimeOptions | None = None) -> Generator:
        """Open a generator from an opened package, to run with OpenVINO on this CPU.

        Raises:
            UsageError: the package makes masks or several images, or its input is not one label map.
        """
        require_generator(package, "--generator", "name a generator package")
        spec = package.spec
        if classes_of(spec) is None or len(spec.inputs) != 1 or spec.stages[-1].network.channels_out != 1:
            raise UsageError(
                f"{package.folder}: expected a generator of one image from one label map, got {spec.name}, which takes "
                f"{', '.join(sequence.name for sequence in spec.inputs)} and makes "
                f"{spec.stages[-1].network.channels_out} image(s); name another package"
            )
        return cls(Segmenter.open(package, options))

    @property
    def is_untrained(self) -> bool:
        """True if the weights are random, so that the images are noise."""
        return self.package.manifest.weights_status is WeightsStatus.RANDOM

    @property
    def description(self) -> str:
        """Text in the header of every file."""
        return f"SYNTHETIC {provenance(self.package)}"

    def head(self, tissues: Mask, *, merge: bool) -> tuple[Volume, Mask]:
        """Make the image of a label map (I, J, K), and its reference mask, on the grid of the map.

        Args:
            tissues: label map with the classes that the generator was trained on.
            merge: True for a reference mask with one label for all classes.

        Raises:
            InputError: the label map is empty, or contains a class that the generator does not know.
        """
        if not tissues.labels.any():
            raise InputError("expected tissues in the label map, got 0 in every voxel; give another label map")
        (made,) = self.segmenter.synthesize(_as_volume(tissues))
        low, high = made.voxels.min(), made.voxels.max()
        stretched = np.where(tissues.labels > 0, FULL_SCALE * ((made.voxels - low) / (high - low)), np.float32(0))
        reference = tissues.labels > 0 if merge else tissues.labels
        return (
            Volume(stretched, tissues.geometry, f"synthetic, {self.package.spec.name}"),
            Mask(np.ascontiguousarray(reference, dtype=np.uint8), tissues.geometry),
        )

    def slices(self, tissues: Mask) -> Slices:
        """Return the slices (S, I, J) of a label map in the network's frame, before they become one channel per class.

        Raises:
            UsageError: the generator does not work slice by slice.
        """
        first = self.package.spec.stages[0]
        axis = first.network.execution.slice_axis
        if axis is None:
            raise UsageError(
                f"{self.package.folder}: expected a generator that works slice by slice, got "
                f"{self.package.spec.name}; omit --like"
            )
        frame = assemble(_as_volume(tissues), self.package.spec)
        for step in first.before:
            if step.label_values() is not None:
                break
            frame = step.apply(frame)
        return np.moveaxis(frame.voxels[0], axis, 0)


def those_like(
    real: Sequence[Path], maps: Sequence[Path], generator: Generator, report: Report | None = None
) -> tuple[Path, ...]:
    """Return the label maps whose slices all resemble real ones; see `brain_edge.evaluation.cohort.typical`.

    A map is left out as a whole, because a head with missing slices is useless.

    Raises:
        InputError: a map cannot be read, or no real map contains a label.
    """
    typical = TypicalSlices.of(_slices(real, generator))
    kept = []
    for path, slices in zip(maps, _slices(maps, generator), strict=True):
        deviations = typical.deviations(slices)
        far = atypical(deviations)
        if far == 0:
            kept.append(path)
        elif report is not None:
            report(
                f"{path} is left out: {far} of its {len(deviations)} slices have a z-score norm above "
                f"{LARGEST_NORM:g} against {typical.slices} real slices"
            )
    return tuple(kept)


def _slices(maps: Sequence[Path], generator: Generator) -> Iterator[Slices]:
    for path in maps:
        tissues = read_reference(path, {})
        try:
            yield generator.slices(tissues)
        except InputError as error:
            # errors about voxels do not name their file
            raise InputError(f"{path}: {error}") from error


def _as_volume(tissues: Mask) -> Volume:
    return Volume(tissues.labels.astype(np.float32), tissues.geometry, "label map")
