"""Commands that are killed outright at any moment, and started again: nothing half-written, nothing left, the same."""

from __future__ import annotations

import shutil
import subprocess
import time
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Final

from hunt.commands import COMMANDS, differences, leftovers, results, start, succeed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from hunt.commands import Command

ALLOWED: Final = (".bidsignore",)
"""Hidden files that are no leftovers."""


@dataclass(frozen=True)
class Undisturbed:
    """A command as it runs when nobody kills it.

    Attributes:
        given: folder of what it is given.
        right: its results.
        seconds: what it takes.
    """

    given: Path
    right: Mapping[str, bytes]
    seconds: float


def undisturbed(command: Command, place: Path) -> Undisturbed:
    """Run a command twice in a folder: once to warm the machine up, once to see how long it takes."""
    given = place / "given"
    given.mkdir(parents=True)
    command.make(given)
    for name in ("first", "second"):
        begun = time.monotonic()
        shutil.copytree(given, place / name)
        succeed(command.arguments, place / name)
        seconds = time.monotonic() - begun
    return Undisturbed(given, results(place / "second"), seconds)


def kill_once(name: str, whole: Undisturbed, place: Path, seed: int, trial: int) -> list[str]:
    """Kill a command at a moment that the seed decides, start it again; what is wrong, in words."""
    command = COMMANDS[name]
    moment_s = Random(f"{name}-{seed}-{trial}").uniform(0, whole.seconds)  # noqa: S311 - no secret
    shutil.copytree(whole.given, place)
    _kill(command, place, moment_s)
    wrong = [f"left by the kill: {each}" for each in differences(results(place), whole.right, whole=False)]
    wrong += _again(command, place, whole)
    return [f"{name}, killed after {moment_s:.2f} s: {each}" for each in wrong]


def _kill(command: Command, place: Path, moment_s: float) -> None:
    with start(command.arguments, place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        try:
            run.wait(timeout=moment_s)
        except subprocess.TimeoutExpired:
            run.kill()


def _again(command: Command, place: Path, whole: Undisturbed) -> Iterator[str]:
    """The next run: it goes on, and ends as if nothing had happened."""
    is_done = command.once and not any(differences(results(place), whole.right, whole=True))
    try:
        if not is_done:
            succeed(command.arguments, place)
    except RuntimeError as error:
        yield str(error)
    yield from differences(results(place), whole.right, whole=True)
    yield from (f"{name} is left" for name in leftovers(place) if not name.endswith(ALLOWED))
