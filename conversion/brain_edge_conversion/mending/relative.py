"""Relative error of arrays. A pure function."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from brain_edge.image.volume import FloatArray


def relative(got: Iterable[FloatArray], wanted: Sequence[FloatArray]) -> float:
    """Return the root mean square of an error as a share of that of the wanted values; 0 if those are all zero."""
    pairs = list(zip(got, wanted, strict=True))
    power = sum(float(np.sum(np.square(want, dtype=np.float64))) for _, want in pairs)
    error = sum(float(np.sum(np.square(have - want, dtype=np.float64))) for have, want in pairs)
    return float(np.sqrt(error / power)) if power > 0 else 0.0
