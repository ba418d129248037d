"""HD-BET v1 without its weights: its network sees what the published program shows it."""

from __future__ import annotations

import numpy as np
import pytest
from published_steps import input_of_hd_bet

from brain_edge.engine.segmenter import Segmenter
from brain_edge.image.phantom import Phantom, make_volume
from brain_edge_conversion.recipes.hd_bet_v1 import spec

SPEC = spec(("fold0",), ((),))


@pytest.mark.parametrize("spacing_mm", [1.0, 1.5, 2.2])
def test_the_network_sees_what_the_published_program_shows_it(spacing_mm: float):
    """Cubic interpolation overshoots at every edge, and scikit-image cuts that off where it is not told otherwise."""
    seen: list[np.ndarray] = []

    def watched(batch: np.ndarray) -> np.ndarray:
        seen.append(batch[0, 0])
        return np.concatenate((batch, -batch), axis=1)

    volume = make_volume(Phantom(shape=(110, 121, 96), spacing_mm=spacing_mm))
    Segmenter(SPEC, {"fold0": watched})(volume)
    stored = np.ascontiguousarray(volume.voxels[::-1, ::-1].transpose(2, 1, 0))
    expected, _ = input_of_hd_bet(stored, np.full(3, spacing_mm / 1.5))
    np.testing.assert_allclose(seen[0], expected, atol=1e-5)
