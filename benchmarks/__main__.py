"""`python -m benchmarks NAME [OPTIONS]`: finds a program by the name of its module, which has a `main`."""

from __future__ import annotations

import ast
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Final

import click

from benchmarks import BENCHMARKS
from brain_edge.errors import BrainEdgeError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PROGRAM: Final = "python -m benchmarks"


def sources() -> dict[str, Path]:
    """The file of each program, by name."""
    modules = {path.stem: path for path in BENCHMARKS.glob("[!_]*.py")}
    packages = {path.parent.name: path for path in BENCHMARKS.glob("*/__init__.py")}
    found = sorted((modules | packages).items())
    return {name: path for name, path in found if "\ndef main(" in path.read_text(encoding="utf-8")}


def first_sentence(path: Path) -> str:
    """Of the docstring of a file, which is not imported for it."""
    words = " ".join((ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split())
    return f"{words.partition('. ')[0].rstrip('.')}."


class Programs(click.Group):
    """A group that imports a program when it is named."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:  # noqa: ARG002 - click's signature
        """The program of that name.

        Raises:
            UsageError: there is none.
        """
        if cmd_name not in sources():
            raise UsageError(f"expected the name of a benchmark, got {cmd_name!r}; `{PROGRAM}` lists them")
        main = import_module(f"benchmarks.{cmd_name}").main
        return main if isinstance(main, click.Command) else _command(cmd_name, main)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The first sentence of each."""
        with formatter.section("Names"):
            formatter.write_dl([(name, first_sentence(path)) for name, path in sources().items()])


def _command(name: str, main: Callable[[], int]) -> click.Command:
    """A program that reads `sys.argv` itself: `gpu_baseline.py`, which also runs where click is not."""

    def run(arguments: tuple[str, ...]) -> None:
        sys.argv = [f"{PROGRAM} {name}", *arguments]
        sys.exit(main())

    everything = click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)
    settings = {"ignore_unknown_options": True, "help_option_names": []}
    return click.Command(name, callback=run, params=[everything], context_settings=settings)


@click.group(cls=Programs, invoke_without_command=True, subcommand_metavar="NAME [OPTIONS]")
@click.pass_context
def program(context: click.Context) -> None:
    """Run one of the benchmarks, or render or compare what they recorded: NAME --help says how."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main() -> None:
    """Run the program; an error is a sentence."""
    try:
        program(prog_name=PROGRAM)
    except BrainEdgeError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
