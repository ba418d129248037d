"""A hint below an error: the word that was probably meant, or the commands that make what is missing."""

from __future__ import annotations

import re
import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from brain_edge.errors import PackageError
from brain_edge.machine.nearest import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_MASK: Final = "the mask is -o OUT, and the image without skull is --brain OUT"
_MODEL: Final = "the model is PACKAGE, the first word after the command"
_CPU: Final = "leave it out: every run is on the CPU"
ELSEWHERE: Final = {
    **dict.fromkeys(("-m", "--mask", "--save_bet_mask"), _MASK),
    **dict.fromkeys(("--model", "-p", "--package"), _MODEL),
    **dict.fromkeys(("-g", "-gpu", "--gpu", "-device", "--device", "-dev", "--no_gpu", "--cuda"), _CPU),
    **dict.fromkeys(("--disable_tta", "-tta", "-mode"), "leave it out: the package states its mirrorings"),
    "-t": "the number of threads is --threads N",
    "-b": "the margin of the mask is --border MM",
}
"""Options of other programs (HD-BET, SynthStrip, deepbet, nnU-Net), and what they are in `run`."""


def hint(error: BaseException, words: Sequence[str], commands: Iterable[str]) -> str | None:
    """Return the hint for an error of the program; None if there is nothing to add.

    Args:
        error: error that ended the program.
        words: command line without the name of the program.
        commands: names of all commands.
    """
    if isinstance(error, click.NoSuchOption):
        return _about_option(error, words)
    if isinstance(error, PackageError):
        missing = (word for word in words if str(error).startswith(f"{word}: expected a package, a folder with"))
        return next((_about_package(word, words) for word in missing), None)
    if isinstance(error, click.UsageError) and error.message.startswith("No such command"):
        return _about_command(words, list(commands))
    return None


def _about_option(error: click.NoSuchOption, words: Sequence[str]) -> str | None:
    if error.ctx is None or error.ctx.parent is None:
        return f"name a command first: brain-edge run PACKAGE {shlex.join(word for word in words if word != 'run')}"
    given = (word.partition("=")[0] for word in words)
    found = next((word for word in given if word in ELSEWHERE and word.startswith(error.option_name)), None)
    return ELSEWHERE[found] if found and error.ctx.info_name in ("run", "bids") else None


def _about_command(words: Sequence[str], commands: list[str]) -> str | None:
    word = next(word for word in words if not word.startswith("-"))
    if near := nearest(word, commands):
        return f"did you mean {near}?"
    return f"name a command first: brain-edge run {shlex.join(words)}" if Path(word).exists() else None


def _about_package(word: str, words: Sequence[str]) -> str | None:
    """Return the hint for a word that stands in place of a package and is none."""
    from brain_edge.package.find import is_package, package_folders, packages_in

    known = [package.name for folder in package_folders() for package in packages_in(folder)]
    after = [other for other in words[words.index(word) + 1 :] if is_package(Path(other)) or other in known]
    if words[0] == "run" and after:
        return f"the package comes before the images: brain-edge {words[0]} {shlex.join([after[0], word])}"
    if words[0] == "run" and Path(word).exists():
        return "the package comes before the images"
    if recipe := _recipe_in(word):
        return (
            f"{recipe} is a recipe; make its package: brain-edge convert {recipe}, then brain-edge quantize "
            f"{recipe}-fp32 --max-dice-drop 0.01"
        )
    near = nearest(word, known)
    return f"did you mean {near}?" if near else None


def _recipe_in(word: str) -> str | None:
    """Return the recipe that a name of a package begins with; the build side is looked for, not run."""
    name = re.sub("-(fp32|int8|tuned)$", "", word)
    is_name = re.fullmatch("[a-z][a-z0-9-]*", name) is not None
    return name if is_name and find_spec(f"brain_edge_conversion.recipes.{name.replace('-', '_')}") else None
