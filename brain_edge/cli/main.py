"""The program: finds a command by name, and ends with the exit code of whatever happened."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager
from importlib import import_module
from io import TextIOWrapper
from typing import TYPE_CHECKING, Final, NoReturn

import click

from brain_edge import __version__
from brain_edge.cli.failure import DEBUG, exit_code, show

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM: Final = "brain-edge"

# Each command lives in a module of its own, imported when it is called: `--help` stays instant, and a
# workstation without torch never touches the build commands.
COMMANDS: Final = {
    "run": "segment a head: image in, mask out",
    "bids": "masks of a BIDS dataset, as BIDS derivatives",
    "info": "what a package is, and its digest",
    "verify": "check a package on this machine: hashes and self-test",
    "evaluate": "Dice and HD95 of a package on a cohort",
    "convert": "PyTorch to an FP32 package, compared with PyTorch",
    "quantize": "FP32 to INT8 package within a Dice budget",
    "tune": "cheaper settings of a package within a Dice budget",
    "bench": "how fast a package is here, and where its time goes",
    "cohort": "create, check or fetch a cohort of cases",
    "recipes": "the models that can be converted by name",
    "cache": "compiled graphs that runs have kept, and how to clear them",
    "wheelhouse": "all that a workstation without network installs from",
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
        _accept_debug(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """One line per command."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def debug_option() -> click.Option:
    """`--debug`, before or after the name of the command; `brain_edge.cli.failure` reads it outside of click."""
    return click.Option([DEBUG], is_flag=True, expose_value=False, help="Show the traceback of an error.")


def _accept_debug(command: click.Command) -> None:
    """Give a command, and each command below it, the option `--debug`, once."""
    if not any(DEBUG in parameter.opts for parameter in command.params):
        command.params.append(debug_option())
    if isinstance(command, click.Group):
        for below in command.commands.values():
            _accept_debug(below)


@click.group(
    cls=LazyGroup,
    params=[debug_option()],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name=PROGRAM)
def program() -> None:
    """A trained brain-MRI network on a hospital CPU: INT8 within a Dice budget, without PyTorch.

    Research use only. Not a medical device.
    """


def main() -> NoReturn:
    """Run the program and exit."""
    # a stream that our caller has closed would give its number to the first file that is opened, a result for one
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), "r" if name == "stdin" else "w"))
    # what a console lacks is shown as an escape: printing the name of a result must not be what fails
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")
    try:
        with _signals_interrupt():
            program.main(prog_name=PROGRAM, standalone_mode=False)
    except (Exception, KeyboardInterrupt) as caught:  # noqa: BLE001 - the one place where a bug becomes a sentence
        # to click the end of any file is the end of the terminal's, and so an interrupt
        is_end = isinstance(caught, click.Abort) and isinstance(caught.__cause__, EOFError)
        error = caught.__cause__ if is_end and caught.__cause__ else caught
        show(error)
        sys.exit(exit_code(error))
    sys.exit(0)


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Let a request to end (by the system, a scheduler, a closed terminal) unwind as Ctrl-C does.

    Python's own reaction would be to vanish at once, and to leave a partial file behind. A signal that our
    caller has chosen to ignore (`nohup`) stays ignored.
    """
    wanted = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    taken = [number for number in wanted if signal.getsignal(number) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)
