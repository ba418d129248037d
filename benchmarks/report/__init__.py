"""A page with tables and figures (SVG, PNG) from recorded results; nothing is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from benchmarks.harness.cell_record import read_cells
from brain_edge.machine.atomic_folder import atomic_folder

from .costs import read_costs
from .figures import draw_all
from .page import benchmark_page
from .recipe_age import read_recipe_ages
from .suite import read_suites
from .summaries import machines
from .whole_cases import read_whole_cases

PAGE: Final = "README.md"


@click.command()
@click.argument("results", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder of the page; is made.")
@click.option(
    "--costs", type=click.Path(path_type=Path), metavar="TOML", help="Your prices and powers: cost of a case, too."
)
@click.option("--overwrite", is_flag=True, help="Replace a folder that is there.")
def main(results: Path, output: Path, costs: Path | None, overwrite: bool) -> None:
    """A page with tables and figures from all that is recorded below the folder RESULTS.

    Each machine has tables and figures of its own; what was not measured is said, never estimated.
    """
    click.echo(write_benchmark_report(results, output, costs, overwrite=overwrite))


def write_benchmark_report(results: Path, folder: Path, costs: Path | None = None, *, overwrite: bool = False) -> Path:
    """Render all cells below a folder, whole or not at all; the path of the page.

    Args:
        results: folder of recorded cells, of any number of machines.
        folder: is made.
        costs: TOML with the reader's prices and powers.
        overwrite: replace a folder that is there.

    Raises:
        InputError: there are no cells, or a file is refused.
        UsageError: the folder is there already.
        OutputError: it cannot be written.
        MissingExtraError: matplotlib is not installed.
    """
    cases = read_whole_cases(results)
    suites = read_suites(results)
    found = machines(read_cells(results), [case.machine for case in cases])
    stated = read_costs(costs) if costs is not None else None
    with atomic_folder(folder, overwrite=overwrite) as draft:
        drawn = draw_all(found, draft)
        page = benchmark_page(found, drawn, stated, cases, read_recipe_ages(), suites)
        (draft / PAGE).write_text(page, encoding="utf-8")
    return folder / PAGE
