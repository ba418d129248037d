"""A volume of thick slices on a finer grid, before the planes of each slice are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from brain_edge.image.volume import FloatArray


@dataclass(frozen=True, eq=False)
class RepeatedPlanes:
    """A batch (N, C, I, J, K) of which each plane along K is a copy of one of fewer planes.

    Attributes:
        voxels: the planes (N, C, I, J, k) float32, C-contiguous.
        planes: for each of the K planes, the index of the plane that it copies, int32.
    """

    voxels: FloatArray
    planes: np.ndarray[tuple[int], np.dtype[np.int32]]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (N, C, I, J, K) of the batch."""
        return (*self.voxels.shape[:-1], len(self.planes))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> FloatArray:
        """Return the batch with all its planes."""
        return np.take(self.voxels, self.planes, axis=-1).astype(dtype or np.float32, copy=False)
