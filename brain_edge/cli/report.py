"""`brain-edge report`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("report")
@click.argument("results", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder of the page; is made.")
@click.option(
    "--costs", type=click.Path(path_type=Path), metavar="TOML", help="Your prices and powers: cost of a case, too."
)
@click.option("--overwrite", is_flag=True, help="Replace a folder that is there.")
def command(results: Path, output: Path, costs: Path | None, overwrite: bool) -> None:
    """A page with tables and figures (SVG, PNG) from the benchmark cells recorded below the folder RESULTS.

    Nothing is measured. Each machine has tables and figures of its own; what was not measured is said, never estimated.
    """
    from brain_edge.bench.matrix.report import write_benchmark_report

    click.echo(write_benchmark_report(results, output, costs, overwrite=overwrite))
