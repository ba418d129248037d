"""Components are those of SciPy, on every shape of image."""

from __future__ import annotations

import itertools
from typing import Literal

import numpy as np
import pytest
from scipy import ndimage

from brain_edge.image.components import components, largest, without_holes

STRUCTURES: dict[Literal[6, 18, 26], int] = {6: 1, 18: 2, 26: 3}


@pytest.mark.parametrize("connectivity", STRUCTURES)
@pytest.mark.parametrize("shape", list(itertools.product([1, 2, 3, 5], repeat=3)), ids=str)
def test_count_and_places_are_those_of_scipy(shape: tuple[int, int, int], connectivity: Literal[6, 18, 26]):
    """Lines and planes of odd length too, for which cc3d alone reserves too little."""
    structure = ndimage.generate_binary_structure(3, STRUCTURES[connectivity])
    generator = np.random.default_rng(sum(shape))
    for _ in range(20):
        mask = generator.random(shape) < 0.4
        numbers, count = components(mask, connectivity)
        expected, wanted = ndimage.label(mask, structure)
        assert count == wanted
        pairs = set(zip(numbers.ravel().tolist(), expected.ravel().tolist(), strict=True))
        assert len(pairs) == len({one for one, _ in pairs}) == len({other for _, other in pairs})
        sizes = np.bincount(expected.ravel())[1:]
        assert largest(mask, connectivity).sum() == (sizes.max() if sizes.size else 0)


def test_three_voxels_of_which_the_middle_one_is_background_are_two_components():
    assert components(np.array([[[1, 0, 1]]], dtype=np.uint8))[1] == 2


@pytest.mark.parametrize("shape", [(7, 6, 5), (6, 7)], ids=str)
@pytest.mark.parametrize("corner", [0, 3])
def test_holes_are_those_of_scipy_wherever_the_mask_lies(shape: tuple[int, ...], corner: int):
    generator = np.random.default_rng(1)
    whole = np.zeros([side + 3 for side in shape], dtype=bool)
    place = tuple(slice(corner, corner + side) for side in shape)
    for share in (0.5, 0.7, 0.9):
        whole[place] = generator.random(shape) < share
        given = whole.copy()
        np.testing.assert_array_equal(without_holes(whole), ndimage.binary_fill_holes(whole))
        np.testing.assert_array_equal(whole, given)


def test_an_empty_mask_has_no_component_and_no_hole():
    empty = np.zeros((4, 5, 6), dtype=bool)
    numbers, count = components(empty)
    assert (count, numbers.any(), largest(empty).any(), without_holes(empty).any()) == (0, False, False, False)
    assert numbers.shape == empty.shape
