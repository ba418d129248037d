"""`python -m mutants [AREA ...]`, in `tests/`: try every mutant that has no result yet, then write the page."""

from __future__ import annotations

import subprocess
import sys

import click

from mutants.results import Outcome, read_results, tidy_results
from mutants.run import COPY, UncleanError, copy_checkout, remove_copy, try_mutant
from mutants.table import ROOT, StaleError, all_mutants, areas
from mutants.trial import warm_up


@click.command(help=__doc__)
@click.argument("only", metavar="[AREA]...", nargs=-1)
@click.option("--again", is_flag=True, help="Also what has a result for the same code and tests.")
def main(only: tuple[str, ...], *, again: bool) -> None:
    """Exit 1 where a mutant survives that is not equivalent, is killed though it is, or no longer fits the code."""
    if unknown := set(only) - {*areas(), *(mutant.id for mutant in all_mutants())}:
        raise click.UsageError(f"no area and no mutant: {', '.join(sorted(unknown))}; areas are {', '.join(areas())}")
    chosen = [mutant for name in only or areas() for mutant in all_mutants() if name in (mutant.area, mutant.id)]
    machine = _machine()
    copy_checkout()
    warm_up()
    results, wrong = read_results(), []
    for mutant in chosen:
        try:
            known = results.get(mutant.id)
            if again or known is None or known.digest != mutant.digest_in(COPY):
                results[mutant.id] = try_mutant(mutant, machine, _say)
        except (StaleError, UncleanError) as error:
            wrong.append(f"{mutant.id}: {error}")
            continue
        if (results[mutant.id].outcome is Outcome.SURVIVED) != bool(mutant.equivalent):
            wrong.append(f"{mutant.id}: {results[mutant.id].outcome}: {mutant.what}")
    remove_copy()
    tidy_results([mutant.id for mutant in all_mutants()])
    _write_page()
    _say("\n".join(wrong))
    sys.exit(bool(wrong))


def _write_page() -> None:
    """Imports of ours come last: a child of this process must not have them."""
    from mutants.page import PAGE, page

    mutants, results = all_mutants(), read_results()
    if any(mutant.id not in results for mutant in mutants):
        _say("no page yet: some mutants have no result")
    else:
        PAGE.write_text(page(mutants, results), encoding="utf-8")


def _machine() -> str:
    code = "from brain_edge.machine.description import this_machine; print(this_machine().cpu)"
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()


def _say(text: str) -> None:
    click.echo(text, err=True)


if __name__ == "__main__":
    main()
