"""The program: find a command by name, run it, and exit with its code."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from contextlib import contextmanager
from importlib import import_module
from io import TextIOWrapper
from typing import TYPE_CHECKING, Final, NoReturn

import click

from brain_edge import __version__
from brain_edge.cli.failure import DEBUG, exit_code, say, show

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PROGRAM: Final = "brain-edge"

# Each command has its own module, imported when the command is called: `--help` stays instant, and a
# workstation without torch never imports the build commands.
COMMANDS: Final = {
    "run": "segment a head: image in, mask out",
    "prepare": "register, bring to an atlas and strip the sequences of a study",
    "batch-script": "print a script that runs a batch on a cluster",
    "summarize": "merge the parts of a batch into one table",
    "bids": "segment a BIDS dataset into BIDS derivatives",
    "info": "show a package and its digest, or the series in DICOM",
    "verify": "check a package on this machine: hashes and self-test",
    "evaluate": "measure Dice and HD95 of a package on a cohort",
    "spec": "write and check the specification of your own network",
    "convert": "convert PyTorch to an FP32 package, compared with PyTorch",
    "quantize": "quantise an FP32 package to INT8 within a Dice budget",
    "tune": "find cheaper settings of a package within a Dice budget",
    "bench": "measure how fast a package is here, also per layer",
    "cohort": "create, check, fetch or synthesize a cohort of cases",
    "recipes": "list the models that can be converted by name",
    "cache": "list or clear the compiled graphs that runs have kept",
    "wheelhouse": "make the install folder of a workstation without network",
    "demo": "convert, quantise and run one model on a real head",
}


class LazyGroup(click.Group):
    """Command group that imports a command on use, and lists the short help of all without an import."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names in the order in which a user needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return the command of that name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"brain_edge.cli.{cmd_name.replace('-', '_')}").command
        _accept_debug(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write one line per command."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def debug_option() -> click.Option:
    """Return `--debug`, valid before and after the command name; `brain_edge.cli.failure` reads it without click."""
    return click.Option([DEBUG], is_flag=True, expose_value=False, help="Show the traceback of an error.")


def _accept_debug(command: click.Command) -> None:
    """Add the option `--debug` once to a command and to each command below it."""
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
    """Run trained brain-MRI networks on a hospital CPU: INT8 within a Dice budget, without PyTorch.

    Research use only. Not a medical device.
    """


def main() -> NoReturn:
    """Run the program and exit."""
    # the first file that is opened, such as a result, would take the descriptor of a stream that the caller has closed
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), "r" if name == "stdin" else "w"))
    # characters that a console lacks become escapes, so that printing the name of a result cannot fail
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")
    try:
        with _signals_interrupt():
            program.main(prog_name=PROGRAM, standalone_mode=False)
    except (Exception, KeyboardInterrupt) as caught:  # noqa: BLE001 - the one place where a bug becomes a sentence
        # click takes the end of any file for the end of the terminal's input, and so for an interrupt
        is_end = isinstance(caught, click.Abort) and isinstance(caught.__cause__, EOFError)
        error = caught.__cause__ if is_end and caught.__cause__ else caught
        show(error)
        show_hint(error)
        sys.exit(exit_code(error))
    sys.exit(0)


def command_line() -> NoReturn:
    """Run the program as a process of its own, which ends at once: what `brain-edge` and `python -m brain_edge` call.

    The system frees the memory of a process as a whole. Python and OpenVINO would first free it object by object.
    """
    code: list[int] = []
    atexit.register(_end, code)  # registered first, and so called last
    try:
        main()
    except SystemExit as ended:
        if isinstance(ended.code, int):
            code.append(ended.code)
        raise


def _end(code: Sequence[int]) -> None:
    """End the process with its code, if it is known and everything is written; otherwise Python ends the process."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):  # Python tries again, and reports it with an exit code of its own
        return
    if code:
        os._exit(code[0])


def show_hint(error: BaseException) -> None:
    """Write a hint below an error, where there is one."""
    from brain_edge.cli.hints import hint

    if words := hint(error, sys.argv[1:], COMMANDS):
        say(f"hint: {words}", err=True)


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Treat a request to end (from the system, a scheduler, a closed terminal) as Ctrl-C.

    By default Python would exit at once and leave a partial file behind. A signal that the caller ignores
    (`nohup`) stays ignored.
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
