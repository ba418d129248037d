"""Frame, the value that steps pass on: channels on a grid, and the way back to their native grid."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from brain_edge.image.geometry import Geometry
    from brain_edge.image.resample import Interpolation
    from brain_edge.spec.steps.moves import Move

Value = TypeVar("Value")

Array: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[Any]]


@dataclass(frozen=True, eq=False)
class Frame:
    """Channels on a grid on their way through a stage.

    Attributes:
        voxels: voxels (C, I, J, K): float32 intensities or probabilities, or uint8 labels with C = 1.
        geometry: present grid of the voxels.
        trail: moves since the native grid, oldest first.
        statistics: fitted values by name, one per channel; a statistic can be fitted on one grid and used on another.
        findings: results of earlier stages of a cascade, by stage name.
        absent: positions of the missing optional sequences among the sequences of the model. `voxels` has no channels
            for them until `complete`, because they have no statistics.
    """

    voxels: Array
    geometry: Geometry
    trail: tuple[Move, ...] = ()
    statistics: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    findings: Mapping[str, Frame] = field(default_factory=dict)
    absent: tuple[int, ...] = ()

    def with_voxels(self, voxels: Array) -> Frame:
        """Return the frame with other values on the same grid."""
        return replace(self, voxels=voxels)

    def moved(self, voxels: Array, geometry: Geometry, move: Move) -> Frame:
        """Return the frame on another grid, with the move added to the trail."""
        return replace(self, voxels=voxels, geometry=geometry, trail=(*self.trail, move))

    def undone(self, interpolation: Interpolation) -> Frame:
        """Return the frame on the native grid, with every move undone, the latest first."""
        voxels, geometry = self.voxels, self.geometry
        for move in reversed(self.trail):
            voxels, geometry = move.undo(voxels, interpolation), move.before
        return replace(self, voxels=voxels, geometry=geometry, trail=())

    def present(self, values: Sequence[Value]) -> list[Value]:
        """Return the values of the sequences that are present, given one value per sequence."""
        return [value for position, value in enumerate(values) if position not in self.absent]

    def complete(self) -> Frame:
        """Return the frame with channels of zeros for absent sequences; the frame itself if none is absent."""
        if not self.absent:
            return self
        voxels = self.voxels
        for position in sorted(self.absent):
            voxels = np.insert(voxels, position, 0, axis=0)
        return replace(self, voxels=voxels, absent=())
