"""The sentence about all subjects is false as rarely as it says, over all cohorts that are drawn."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.calibration import DRAWS, POPULATIONS, SIZES, STATED, Rates, rates, table

PAGE = Path(__file__).parents[2] / "docs" / "concepts" / "budget.md"
MOST = STATED + 3 * (STATED * (1 - STATED) / DRAWS) ** 0.5
"""Three standard errors more than stated."""


def stored() -> list[list[str]]:
    """The cells of the table in the documentation."""
    block = PAGE.read_text(encoding="utf-8").split("<!-- calibration:begin -->")[1].split("<!-- calibration:end -->")[0]
    _, _, *rows = block.strip().splitlines()
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


@pytest.mark.full  # draws for half a minute what changes with the bound alone
def test_the_table_in_the_documentation_is_what_the_program_draws():
    """The cohorts of three subjects, drawn again; those of 60 take a minute."""
    drawn = table([[rates(each, SIZES[0])] for each in POPULATIONS], SIZES[:1])
    assert [row[:2] for row in stored()] == [
        [cell.strip() for cell in row.strip("|").split("|")] for row in drawn.splitlines()[2:]
    ]


def test_no_cell_is_above_what_is_stated():
    shares = [float(share) / 100 for row in stored() for share in re.findall(r"([\d.]+)% of all", " ".join(row))]
    assert len(shares) == len(POPULATIONS) * len(SIZES)
    assert max(shares) <= MOST
    assert max(shares[: len(SIZES)]) > STATED - 3 * (STATED * (1 - STATED) / DRAWS) ** 0.5, "the bound is no wider"


@pytest.mark.parametrize("size", [SIZES[1], *(pytest.param(size, marks=pytest.mark.full) for size in SIZES[2:])])
def test_other_sizes_with_fewer_draws(size: int):
    """Of the population for which it is worst, and of several candidates."""
    draws = 400
    for population in (POPULATIONS[0], POPULATIONS[-1]):
        assert rates(population, size, draws).false <= STATED + 3 * (STATED * (1 - STATED) / draws) ** 0.5


def test_given_that_a_package_was_written_it_may_be_false_every_time():
    found = rates(POPULATIONS[0], 10, 400)
    assert isinstance(found, Rates)
    assert 0 < found.written == found.false
