"""The program: finds a command by name, and turns errors into exit codes in this one place."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Final, NoReturn

import click

from brain_edge import __version__
from brain_edge.errors import BrainEdgeError

EXIT_INTERRUPTED: Final = 130
EXIT_BUG: Final = 1

# Each command lives in a module of its own, imported when it is called: `--help` stays instant, and a
# workstation without torch never touches the build commands.
COMMANDS: Final = {
    "run": "segment a head: image in, mask out",
    "info": "what a package is, and its digest",
    "verify": "check a package on this machine: hashes and self-test",
    "evaluate": "Dice and HD95 of a package on a cohort",
    "convert": "PyTorch to an FP32 package, compared with PyTorch",
    "quantize": "FP32 to INT8 package within a Dice budget",
    "cohort": "create, check or fetch a cohort of cases",
    "recipes": "the models that can be converted by name",
    "demo": "everything once, on a real head",
}


class LazyGroup(click.Group):
    """A group that imports a command when it is named, and knows the short help of all without importing any."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The names in the order in which a user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of that name, imported now."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"brain_edge.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """One line per command."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="brain-edge")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def program(debug: bool) -> None:  # noqa: ARG001, FBT001 - read by `main`, which is outside of click
    """A trained brain-MRI network on a hospital CPU: INT8 within a Dice budget, without PyTorch.

    Research use only. Not a medical device.
    """


def main() -> NoReturn:
    """Run the program and exit with the code of `docs/reference/exit-codes.md`."""
    try:
        program.main(standalone_mode=False)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted; nothing half-written was left", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except BrainEdgeError as error:
        _fail(f"error: {error}", error.exit_code)
    except Exception as error:  # noqa: BLE001 - the one place where a bug becomes a sentence
        words = f"{type(error).__name__}: {error}"
        _fail(f"internal error, a bug of brain-edge: {words}; run with --debug and report it", EXIT_BUG)
    sys.exit(0)


def _fail(message: str, code: int) -> NoReturn:
    if "--debug" in sys.argv:
        import traceback

        traceback.print_exc()
    click.echo(message, err=True)
    sys.exit(code)
