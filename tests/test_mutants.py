"""The mutants fit the code as it is, each has a result, and the page says what came out."""

from __future__ import annotations

from collections import Counter

import pytest
from mutants.page import PAGE, page
from mutants.results import Outcome, read_results
from mutants.table import ROOT, StaleError, all_mutants, areas, mutants_of

MUTANTS = all_mutants()
RESULTS = read_results()


@pytest.mark.parametrize("area", areas())
def test_every_mutant_fits_the_code_and_names_tests_that_there_are(area: str):
    for mutant in mutants_of(area):
        mutant.apply((ROOT / mutant.file).read_text("utf-8"))
        for test in mutant.tests:
            path, _, name = test.partition("::")
            assert (ROOT / path).is_file(), f"{mutant.id}: {path}"
            assert all(part in (ROOT / path).read_text("utf-8") for part in name.split("::")), f"{mutant.id}: {test}"


def test_every_mutant_has_a_name_of_its_own_and_says_what_it_does():
    assert [name for name, count in Counter(mutant.id for mutant in MUTANTS).items() if count > 1] == []
    assert [mutant.id for mutant in MUTANTS if not mutant.what] == []


def test_every_mutant_was_tried_as_it_is():
    """Not with the text of the files of today, which move on: with this change."""
    assert [each.id for each in MUTANTS if each.id not in RESULTS or RESULTS[each.id].mutant != each.digest] == []


def test_what_is_called_equivalent_is_argued_and_was_not_killed():
    equivalent = [mutant for mutant in MUTANTS if mutant.equivalent]
    assert [mutant.id for mutant in equivalent if len(mutant.equivalent.split()) < 8] == []
    assert [mutant.id for mutant in equivalent if RESULTS[mutant.id].outcome is not Outcome.SURVIVED] == []


def test_at_least_300_and_of_those_that_are_not_equivalent_95_percent_are_killed():
    counted = [mutant for mutant in MUTANTS if not mutant.equivalent]
    killed = [mutant for mutant in counted if RESULTS[mutant.id].outcome is not Outcome.SURVIVED]
    assert len(MUTANTS) >= 300
    assert len(killed) >= 0.95 * len(counted)


def test_the_page_is_what_would_be_written():
    assert PAGE.read_text("utf-8") == page(MUTANTS, RESULTS), "run `make mutants`"


def test_a_mutant_whose_code_has_moved_or_that_changes_nothing_is_stale():
    mutant = MUTANTS[0]
    with pytest.raises(StaleError, match="should hold the text of the mutant once, and holds it 0 times"):
        mutant.apply("")
    with pytest.raises(StaleError, match="and holds it 2 times"):
        mutant.apply(f"{mutant.old}\n{mutant.old}")
