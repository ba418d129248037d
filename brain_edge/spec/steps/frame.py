"""The value that steps pass on: channels on a grid, and the way back to the grid they came from."""

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
        voxels: (C, I, J, K); float32 intensities or probabilities, or uint8 labels with C = 1.
        geometry: the grid of the voxels now.
        trail: the moves made since the native grid, oldest first.
        statistics: fitted values by name, one per channel: fitted on one grid, used on another.
        findings: what earlier stages of a cascade left, by stage name.
        absent: positions, among the sequences of the model, of optional ones that were not given. `voxels` has no
            channels for them until `complete`: no statistic can be taken of what is not there.
    """

    voxels: Array
    geometry: Geometry
    trail: tuple[Move, ...] = ()
    statistics: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    findings: Mapping[str, Frame] = field(default_factory=dict)
    absent: tuple[int, ...] = ()

    def with_voxels(self, voxels: Array) -> Frame:
        """The same place with other values."""
        return replace(self, voxels=voxels)

    def moved(self, voxels: Array, geometry: Geometry, move: Move) -> Frame:
        """The frame on another grid, with the way back added to the trail."""
        return replace(self, voxels=voxels, geometry=geometry, trail=(*self.trail, move))

    def undone(self, interpolation: Interpolation) -> Frame:
        """The frame back on the native grid: every move undone, the latest first."""
        voxels, geometry = self.voxels, self.geometry
        for move in reversed(self.trail):
            voxels, geometry = move.undo(voxels, interpolation), move.before
        return replace(self, voxels=voxels, geometry=geometry, trail=())

    def present(self, values: Sequence[Value]) -> list[Value]:
        """Those of one value per sequence whose sequence is there."""
        return [value for position, value in enumerate(values) if position not in self.absent]

    def complete(self) -> Frame:
        """With zeros at the places of absent sequences, as a network must see them; the frame itself if none is."""
        if not self.absent:
            return self
        voxels = self.voxels
        for position in sorted(self.absent):
            voxels = np.insert(voxels, position, 0, axis=0)
        return replace(self, voxels=voxels, absent=())
