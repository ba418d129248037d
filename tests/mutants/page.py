"""The page about the mutants: a table of all areas, what survived, and why what is called equivalent is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from brain_edge.evaluation.markdown import markdown_table
from mutants.results import Outcome
from mutants.table import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from mutants.results import Result
    from mutants.table import Mutant

PAGE: Final = ROOT / "docs" / "reference" / "mutants.md"
COLUMNS: Final = ("area", "mutants", "equivalent", "killed", "survived", "share killed")
INTRODUCTION: Final = """# Mutants

A mutant is one deliberate fault in the code: a limit that no longer binds, a sign, a default, a line left out. `make
mutants` puts in one at a time, in a copy of the checkout, and runs the tests that are named for it. It is killed where
one of them fails, all of which pass without it. What has a result for the same text of code and tests is left out, so
that a run goes on where the last one stopped; `make mutants AREA=budget` tries one table.

The tables are `tests/mutants/tables/*.toml`, the results `tests/mutants/results.jsonl`; this page is written from both.
A test compares all three, and that every mutant still fits the code."""
NOTE: Final = """The share is of the mutants that are not equivalent. They were chosen by hand, where a silent error
would cost most: a fault that nobody thought of is missing from this table, not counted in it."""


def page(mutants: Sequence[Mutant], results: Mapping[str, Result]) -> str:
    """The whole page; every mutant needs its result."""
    return "\n".join(_lines(mutants, results)) + "\n"


def _lines(mutants: Sequence[Mutant], results: Mapping[str, Result]) -> Iterator[str]:
    areas = sorted({mutant.area for mutant in mutants})
    rows = [_row(area, [mutant for mutant in mutants if mutant.area == area], results) for area in areas]
    table = markdown_table(COLUMNS, [*rows, _row("**all**", mutants, results)], aligned=False)
    yield from (INTRODUCTION, "", table, "", NOTE, "")
    used = [results[mutant.id] for mutant in mutants]
    slow = sum(result.outcome is Outcome.TIMEOUT for result in used)
    yield f"Killed because the tests did not end: {slow}. Measured {_span(result.date for result in used)} at commits"
    yield f"{', '.join(dict.fromkeys(result.commit for result in used))} on {_span(result.machine for result in used)}."
    yield from ("", "## Survivors", "", "What no test notices.", "")
    alive = [mutant for mutant in mutants if not mutant.equivalent and _survived(mutant, results)]
    yield from (f"- **{mutant.id}** `{mutant.file}`: {mutant.what}." for mutant in alive)
    yield from ("", "## Equivalent", "", "The program does the same with and without them.", "")
    yield from (f"- **{each.id}** `{each.file}`: {each.what}. {each.equivalent}" for each in mutants if each.equivalent)


def _row(name: str, mutants: Sequence[Mutant], results: Mapping[str, Result]) -> tuple[str, ...]:
    counted = [mutant for mutant in mutants if not mutant.equivalent]
    alive = sum(_survived(mutant, results) for mutant in counted)
    killed = len(counted) - alive
    share = f"{100 * killed / len(counted):.1f} %"
    return (name, str(len(mutants)), str(len(mutants) - len(counted)), str(killed), str(alive), share)


def _survived(mutant: Mutant, results: Mapping[str, Result]) -> bool:
    return results[mutant.id].outcome is Outcome.SURVIVED


def _span(values: Iterable[str]) -> str:
    found = sorted(set(values))
    return found[0] if len(found) == 1 else f"{found[0]} to {found[-1]}"
