"""What a package is compared on: the user's files, the phantom of a recipe, or its head; never nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from cli_program import save_phantom
from test_convert import random_weights, source
from tiny_package import PHANTOM

from brain_edge.errors import UsageError
from brain_edge.image.phantom import Phantom, make_volume
from brain_edge_conversion.convert.by_request import ParityData, parity_study
from brain_edge_conversion.recipes import load_recipe
from brain_edge_conversion.sources import Request, Resolved

if TYPE_CHECKING:
    from pathlib import Path

SMALL = Phantom(shape=(8, 9, 10), spacing_mm=20.0)
MODEL = source()
RECIPE = replace(load_recipe("deepbet"), parity_input=None, parity_phantom=SMALL)
RESOLVED = Resolved(MODEL, random_weights(MODEL), RECIPE)


def test_random_weights_are_compared_on_the_phantom_of_the_recipe_and_the_user_is_told():
    lines: list[str] = []
    study = parity_study(Request(source="deepbet", random_weights=True, report=lines.append), RESOLVED, ParityData())
    np.testing.assert_array_equal(study.volumes["T1"].voxels, make_volume(SMALL).voxels)
    assert lines == ["random weights: compared on a generated phantom; give --parity-data to use a real head"]


def test_a_head_that_is_given_comes_first(tmp_path: Path):
    save_phantom(tmp_path / "head.nii.gz")
    data = ParityData(files=((None, tmp_path / "head.nii.gz"),))
    study = parity_study(Request(source="deepbet", random_weights=True), RESOLVED, data)
    assert study.volumes["T1"].voxels.shape == PHANTOM.shape


@pytest.mark.parametrize("recipe", [RECIPE, None])
def test_trained_weights_want_a_real_head(recipe):
    with pytest.raises(UsageError, match=r"^small: the comparison .* needs a real head; give --parity-data FILE$"):
        parity_study(Request(source="deepbet"), replace(RESOLVED, recipe=recipe), ParityData())
