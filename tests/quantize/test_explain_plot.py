"""Names beside the bars of the picture of INT8 errors."""

from __future__ import annotations

import pytest

from brain_edge_conversion.quantize.explain_plot import LONGEST, _short


@pytest.mark.parametrize("length", [1, LONGEST])
def test_a_name_that_fits_stays(length: int):
    assert _short("a" * length) == "a" * length


def test_a_long_name_keeps_its_end_and_says_that_it_is_cut():
    name = "__module.encoder.stages.0/" + "b" * LONGEST
    assert _short(name) == "…" + "b" * (LONGEST - 1)
