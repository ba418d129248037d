"""The page about the mutants: a table of all areas, what survived, and why what is called equivalent is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from brain_edge.evaluation.markdown import markdown_table
from mutants.results import Outcome
from mutants.table import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mutants.results import Result
    from mutants.table import Mutant

PAGE: Final = ROOT / "docs" / "reference" / "mutants.md"


def page(mutants: Sequence[Mutant], results: Mapping[str, Result]) -> str:
    """The whole page; every mutant needs its result."""
    return "\n".join(_lines(mutants, results)) + "\n"


def _lines(mutants: Sequence[Mutant], results: Mapping[str, Result]) -> Iterator[str]:
    equivalent = [mutant for mutant in mutants if mutant.equivalent]
    counted = [mutant for mutant in mutants if not mutant.equivalent]
    alive = [mutant for mutant in counted if results[mutant.id].outcome is Outcome.SURVIVED]
    slow = [mutant for mutant in counted if results[mutant.id].outcome is Outcome.TIMEOUT]
    yield "# Mutants"
    yield ""
    yield "A mutant is one deliberate fault in the code: a limit that no longer binds, a sign, a default, a line left out."
    yield "`make mutants` puts in one at a time, in a copy of the checkout, and runs the tests named for it; a mutant is"
    yield "killed where a test fails that passes without it. What has a result for the same text of code and tests is left"
    yield "out, so that a run goes on where one stopped; `make mutants AREA=budget` tries one table. The tables are"
    yield "`tests/mutants/tables/*.toml`, the results `tests/mutants/results.jsonl`; this page is written from both."
    yield ""
    yield markdown_table(
        ("area", "mutants", "equivalent", "killed", "survived", "share killed"),
        [*(_row(area, [m for m in mutants if m.area == area], results) for area in sorted({m.area for m in mutants})),
         _row("**all**", mutants, results)],
        aligned=False,
    )
    yield ""
    yield f"The share is of the mutants that are not equivalent. {len(slow)} of the killed were stopped after several times"
    yield "what their tests take. A fault that the tests do not reach is missing from this table, not counted in it: the"
    yield "mutants were chosen by hand, where a silent error would cost most."
    yield ""
    yield f"Measured {_span(results[m.id].date for m in mutants)} on {_span(results[m.id].machine for m in mutants)}."
    yield ""
    yield "## Survivors"
    yield ""
    if not alive:
        yield "None."
    for mutant in alive:
        yield f"- **{mutant.id}** `{mutant.file}`: {mutant.what}."
    yield ""
    yield "## Equivalent"
    yield ""
    yield "The program does the same with and without them, or differs in time alone."
    yield ""
    for mutant in equivalent:
        yield f"- **{mutant.id}** `{mutant.file}`: {mutant.what}. {mutant.equivalent}"


def _row(name: str, mutants: Sequence[Mutant], results: Mapping[str, Result]) -> tuple[str, ...]:
    counted = [mutant for mutant in mutants if not mutant.equivalent]
    alive = sum(results[mutant.id].outcome is Outcome.SURVIVED for mutant in counted)
    killed = len(counted) - alive
    share = f"{100 * killed / len(counted):.1f} %"
    return (name, str(len(mutants)), str(len(mutants) - len(counted)), str(killed), str(alive), share)


def _span(values: Iterator[str]) -> str:
    found = sorted(set(values))
    return found[0] if len(found) == 1 else f"{found[0]} to {found[-1]}"
