"""Crops depend on a seed and a step alone, fit into memory, and are compared without the margins of cut sides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from lessons import files_in
from small_graphs import chain, image

from brain_edge_conversion.distilling import crops
from brain_edge_conversion.distilling.crops import crop_at, crop_shape

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_crop_is_the_largest_whose_activations_fit(monkeypatch: pytest.MonkeyPatch):
    model = chain()
    assert crop_shape(model, (1, 1, 160, 200, 48)) == (1, 1, 96, 96, 48)
    monkeypatch.setattr(crops, "ACTIVATIONS_BYTES", 60 * 2**20)
    assert crop_shape(model, (1, 1, 160, 200, 48)) == (1, 1, 64, 64, 48)
    monkeypatch.setattr(crops, "ACTIVATIONS_BYTES", 0)
    assert crop_shape(model, (1, 1, 160, 200, 48)) == (1, 1, 32, 32, 32)


def test_sides_that_the_model_fixes_stay_whole():
    model: Any = chain()
    model.reshape([1, 1, 48, -1, -1])
    assert crop_shape(model, (1, 1, 48, 200, 20)) == (1, 1, 48, 96, 20)


def test_the_crop_of_a_step_is_the_same_each_time_and_differs_from_others(tmp_path: Path):
    (file,) = files_in(tmp_path, image(0, 40))
    found = [crop_at(step, file, (1, 1, 32, 32, 32), 0).image for step in (0, 0, 1)]
    assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])
    assert found[0].shape == (1, 1, 32, 32, 32)


def test_only_sides_that_were_cut_lose_a_margin(tmp_path: Path):
    """An uncut side is the border that the network meets on whole images too."""
    (file,) = files_in(tmp_path, image(0, 40)[:, :, :32])
    sides = [crop_at(step, file, (1, 1, 32, 32, 32), 0).compared[2:] for step in range(20)]
    assert all(side[0] == slice(0, 32) for side in sides)
    assert slice(4, 28) in [side[1] for side in sides]


def test_a_crop_without_contrast_is_drawn_again(tmp_path: Path):
    values = np.zeros((1, 1, 64, 64, 64), np.float32)
    values[..., 20:44, 20:44, 20:44] = image(0, 24)
    (file,) = files_in(tmp_path, values)
    assert all(np.ptp(crop_at(step, file, (1, 1, 32, 32, 32), 0).image) > 0 for step in range(10))
