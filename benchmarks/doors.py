"""Four new users with the commands of the README as they stand: from a clone to a mask, a package, a number.

    python -m benchmarks doors
    python -m benchmarks doors --user engineer --heads heads

A clone of this commit is made in an empty folder, and the commands run there, one by one. Beside them lie a head, the
network of the engineer and the heads of three people. The result is a table: each command with its time, the number of
commands, and the time from the clone to the first mask.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from benchmarks.harness.door_files import save_engineer, save_people
from brain_edge.deploy.fetch import fetch
from brain_edge.errors import BrainEdgeError
from brain_edge.evaluation.markdown import markdown_table
from brain_edge_conversion.recipes.deepbet import RECIPE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ROOT: Final = Path(__file__).resolve().parents[1]
DOOR: Final = re.compile(r"<!-- door: (\w+) -->\n```sh\n(.*?)\n```", re.DOTALL)
FIRST: Final = "make venv"
"""Command of the README with which every user begins."""
NEEDS: Final = {"hospital": "researcher", "methods": "researcher"}
"""User whose packages another user takes."""

_say = partial(click.echo, err=True)


@dataclass(frozen=True)
class Done:
    """A command that ended well.

    Attributes:
        user: user whose command it is.
        command: line of the README.
        seconds: duration, s.
        since_clone: time from the start of the clone to the end of the command, s.
        first_mask: True if no mask was there before.
    """

    user: str
    command: str
    seconds: float
    since_clone: float
    first_mask: bool


def doors(readme: str) -> dict[str, list[str]]:
    """The commands of each user, in the order of the README, without comments."""
    lines = {user: body.splitlines() for user, body in DOOR.findall(readme)}
    return {user: [line.partition(" #")[0].rstrip() for line in body if line.strip()] for user, body in lines.items()}


def counted(commands: Iterable[str]) -> list[str]:
    """Those that are commands of the user: to activate an environment is none."""
    return [command for command in commands if not command.startswith(". ")]


@click.command()
@click.option("--user", "users", multiple=True, help="One of the users; may be repeated [all].")
@click.option("--heads", type=click.Path(path_type=Path, exists=True), help="A folder per person [phantoms].")
@click.option("--place", type=click.Path(path_type=Path), help="Empty folder for the clone [a temporary one].")
def main(users: tuple[str, ...], heads: Path | None, place: Path | None) -> None:
    """Play the users of the README and print what each command took."""
    known = doors((ROOT / "README.md").read_text(encoding="utf-8"))
    wanted = {*(users or known), *(NEEDS[user] for user in users or known if user in NEEDS)}
    if unknown := sorted(wanted - known.keys()):
        raise BrainEdgeError(f"expected users of the README ({', '.join(known)}), got {', '.join(unknown)}")
    with tempfile.TemporaryDirectory(dir=place) as folder:
        order = sorted(wanted, key=lambda user: (user in NEEDS, [*known].index(user)))
        click.echo(_table(_play(Path(folder, "brain_edge"), {user: known[user] for user in order}, heads)))


def _play(clone: Path, users: dict[str, list[str]], heads: Path | None) -> list[Done]:
    start = time.perf_counter()
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    _prepare(clone, heads)
    done = [_run("everybody", FIRST, clone, start, [])]
    for user, commands in users.items():
        active: list[str] = []
        for command in commands:
            if command.startswith(". "):
                active.append(command)
            else:
                done.append(_run(user, command, clone, start, active))
    return done


def _prepare(clone: Path, heads: Path | None) -> None:
    """Write what the users bring: a head, scans of two people, heads of three people, and a network."""
    save_engineer(clone)
    if heads is None:
        save_people(clone / "heads")
    else:
        shutil.copytree(heads, clone / "heads")
    if RECIPE.parity_input is None:
        raise AssertionError("deepbet has a public head")
    head = fetch(RECIPE.parity_input, report=_say)
    shutil.copyfile(head, clone / "head.nii.gz")
    (clone / "scans").mkdir()
    for name in ("p01", "p02"):
        shutil.copyfile(head, clone / f"scans/{name}.nii.gz")


def _run(user: str, command: str, clone: Path, start: float, active: Sequence[str]) -> Done:
    _say(f"{user}: {command}")
    had_mask = _has_mask(clone)
    before = time.perf_counter()
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    ended = subprocess.run(["bash", "-c", "\n".join([*active, command])], cwd=clone, env=environment, check=False)
    if ended.returncode:
        raise BrainEdgeError(f"{user}: expected exit code 0 of {command!r}, got {ended.returncode}")
    now = time.perf_counter()
    return Done(user, command, now - before, now - start, _has_mask(clone) and not had_mask)


def _has_mask(clone: Path) -> bool:
    return (clone / "mask.nii.gz").is_file() or any((clone / "masks").glob("*_mask.nii.gz"))


def _table(done: Sequence[Done]) -> str:
    rows = [
        (each.user, f"`{each.command}`", f"{each.seconds:.1f} s", f"{each.since_clone / 60:.1f} min") for each in done
    ]
    table = markdown_table(("user", "command", "time", "since the clone began"), rows, aligned=False)
    first = next((each for each in done if each.first_mask), None)
    mask = "no mask" if first is None else f"{first.since_clone / 60:.1f} min from the clone to the first mask"
    return f"{table}\n\n{len(done)} commands; {mask}"
