"""The one place where an error becomes a message on stderr and an exit code."""

from __future__ import annotations

import os
import re
import sys
from io import StringIO
from typing import Final

import click

from brain_edge.errors import BrainEdgeError

EXIT_FAILED: Final = 1
EXIT_INTERRUPTED: Final = 130

DEBUG: Final = "--debug"
_NOT_LOADED: Final = re.compile("failed to map segment|annot allocate memory")
"""Of a library for which the address space is too small."""

COLOURS: Final = {
    "error": "red",
    "internal error, a bug of brain-edge": "red",
    "warning": "yellow",
    "hint": "cyan",
}
"""First words of a line on stderr and their colour on a terminal; click omits colours elsewhere."""


def exit_code(error: BaseException) -> int:
    """Return the exit code of the program after an error; `docs/reference/exit-codes.md` lists the codes."""
    if isinstance(error, click.exceptions.Exit | click.ClickException | BrainEdgeError):
        return error.exit_code
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return EXIT_INTERRUPTED
    return EXIT_FAILED


def words(error: BaseException, about: str = "") -> str:
    """Return the message of an error, with `about` in front where the error does not contain it."""
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return "interrupted; nothing half-written was left"
    place = f"{about}: " if about not in str(error) else ""
    if isinstance(error, BrainEdgeError):
        return f"error: {place}{error}"
    if isinstance(error, MemoryError) or (isinstance(error, ImportError) and _NOT_LOADED.search(str(error))):
        from brain_edge.machine.process import binding_remedy

        reason = f" ({error})" if str(error) else ""
        return f"error: {place}there is not enough memory{reason}; {binding_remedy().value}"
    if isinstance(error, OSError):
        return f"error: {place}the system refused: {error}"
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return f"error: {place}the system allows no further thread (ulimit -u); end other programs, or raise the limit"
    return (
        f"internal error, a bug of brain-edge: {place}{type(error).__name__}: {error}; "
        f"run the command again with {DEBUG} and report its output"
    )


def printable(line: str) -> str:
    """Return a line with its control characters escaped."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in line)


def say(*lines: str, err: bool = False) -> None:
    """Write lines with control characters escaped, so that no name in them moves the cursor or ends a line.

    On a terminal, errors and warnings on stderr have a colour, unless NO_COLOR is set (https://no-color.org).
    """
    for line in lines:
        shown = printable(line)
        kind, colon, rest = shown.partition(":")
        colour = COLOURS.get(kind.lower()) if err and colon and not os.environ.get("NO_COLOR") else None
        click.echo(shown if colour is None else click.style(kind + colon, fg=colour, bold=True) + rest, err=err)


def show(error: BaseException, about: str = "") -> None:
    """Write an error and its notes to stderr, after its traceback under `--debug`."""
    if isinstance(error, click.exceptions.Exit):
        return
    if isinstance(error, click.ClickException):
        shown = StringIO()
        error.show(file=shown)
        say(*shown.getvalue().splitlines(), err=True)
        return
    if DEBUG in sys.argv:
        import traceback

        say(*"".join(traceback.format_exception(error)).splitlines(), err=True)
    further = error.__notes__ if isinstance(error, BrainEdgeError) and hasattr(error, "__notes__") else []
    say(words(error, about), *(f"  {note}" for note in further), err=True)
