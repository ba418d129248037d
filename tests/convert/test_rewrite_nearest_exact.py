"""Interpolation `nearest-exact` without PyTorch's operation for it takes the voxels that PyTorch takes."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn.functional import interpolate

from brain_edge_conversion.convert.rewrites.nearest_exact import WithoutNearestExact

SIZES = [
    {"scale_factor": 2},
    {"scale_factor": (1, 2, 3)},
    {"scale_factor": 1.5},
    {"scale_factor": (0.4, 2.0, 1.3)},
    {"scale_factor": 1.5, "recompute_scale_factor": True},
    {"size": (9, 4, 13)},
    {"size": 5},
]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_same_voxels_are_taken(size):
    image = torch.randn(2, 3, 6, 7, 5, generator=torch.Generator().manual_seed(0))
    wanted = interpolate(image, mode="nearest-exact", **size)
    with WithoutNearestExact():
        found = interpolate(image, mode="nearest-exact", **size)
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)


def test_the_same_voxels_are_taken_along_an_axis_of_any_side():
    """Also where a place lies between two voxels, as 20.5 * 2 / 41 does."""
    for before, after in itertools.product((1, 2, 7, 16, 31), range(1, 120)):
        image = torch.arange(float(before)).reshape(1, 1, before)
        wanted = interpolate(image, size=after, mode="nearest-exact")
        with WithoutNearestExact():
            found = interpolate(image, size=after, mode="nearest-exact")
        assert torch.equal(found, wanted), (before, after)


def test_other_modes_are_left_alone():
    image = torch.randn(1, 1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    with WithoutNearestExact():
        found = interpolate(image, scale_factor=2, mode="trilinear"), interpolate(image, scale_factor=2)
    assert torch.equal(found[0], interpolate(image, scale_factor=2, mode="trilinear"))
    assert torch.equal(found[1], interpolate(image, scale_factor=2))
