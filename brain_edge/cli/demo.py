"""`brain-edge demo`."""

from __future__ import annotations

from pathlib import Path

import click

from brain_edge.cli.building import quiet_option, reporter
from brain_edge.cli.failure import say
from brain_edge.cli.options import threads_option
from brain_edge.verbs.build_side import build_side


@click.command("demo")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default=Path("demo"), show_default=True, help="Output folder."
)
@threads_option
@quiet_option
def command(output: Path, threads: int | None, quiet: bool) -> None:
    """Convert, quantise and run deepbet on the MNI152 head, then print a table and write a picture."""
    with build_side("demo"):
        from brain_edge_conversion.demo.demo import run_demo

        result = run_demo(output, threads, reporter(quiet=quiet))
    say(*result.table.splitlines(), "", f"look at {result.picture}")
