"""The one place where an error becomes words on stderr and an exit code."""

from __future__ import annotations

import sys
from io import StringIO
from typing import Final

import click

from brain_edge.errors import BrainEdgeError

EXIT_FAILED: Final = 1
EXIT_INTERRUPTED: Final = 130

DEBUG: Final = "--debug"


def exit_code(error: BaseException) -> int:
    """What the program ends with because of this error: see `docs/reference/exit-codes.md`."""
    if isinstance(error, click.exceptions.Exit | click.ClickException | BrainEdgeError):
        return error.exit_code
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return EXIT_INTERRUPTED
    return EXIT_FAILED


def words(error: BaseException, about: str = "") -> str:
    """What the user is told; `about` is named where the error does not name it itself."""
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return "interrupted; nothing half-written was left"
    place = f"{about}: " if about not in str(error) else ""
    if isinstance(error, BrainEdgeError):
        return f"error: {place}{error}"
    if isinstance(error, MemoryError):
        return f"error: {place}there is not enough memory ({error}); close other programs or take a larger machine"
    if isinstance(error, OSError):
        return f"error: {place}the system refused: {error}"
    return (
        f"internal error, a bug of brain-edge: {place}{type(error).__name__}: {error}; "
        f"run it again with {DEBUG} and report what it says"
    )


def say(*lines: str, err: bool = False) -> None:
    """Write lines, in which nothing can move the cursor or end a line, whatever a name in them holds."""
    for line in lines:
        shown = (sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in line)
        click.echo("".join(shown), err=err)


def show(error: BaseException, about: str = "") -> None:
    """Write an error to stderr, after its traceback where that was asked for."""
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
    say(words(error, about), err=True)
