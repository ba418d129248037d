"""Keep what a program printed, with all that it depends on, so that a figure in the documentation has a record.

    python -m benchmarks keep norm-sums norm_sums --rounds 0
    python -m benchmarks keep deepbet-info brain-edge info deepbet-int8

Runs `python -m benchmarks NAME ARGUMENTS`, or `brain-edge`, and writes command, commit, machine, versions and printed
lines to `results/kept/RECORD.json`. Files and folders that are named on the command line are called by their kind or
last name there: no path, and no name of a head. A record is never overwritten; remove it to keep another.
"""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import msgspec

from benchmarks import program
from benchmarks.harness.record import RESULTS, our_versions, this_commit
from brain_edge.errors import BrainEdgeError, UsageError
from brain_edge.machine.description import this_machine

if TYPE_CHECKING:
    from collections.abc import Sequence

KEPT: Final = RESULTS / "kept"
A_PATH: Final = re.compile(r"""(?<![\w.<])/[A-Za-z][\w.-]*|[A-Z]:\\""")


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("record")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def main(record: str, command: tuple[str, ...]) -> None:
    """Run COMMAND, a benchmark or brain-edge with its arguments, and keep what it prints as RECORD."""
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", record):
        raise UsageError(f"expected a record of small letters, digits and hyphens, got {record!r}")
    path = KEPT / f"{record}.json"
    if path.exists():
        raise UsageError(f"{path}: expected no record of that name; remove it to keep another")
    name, *arguments = command
    words = [sys.executable, "-m", "brain_edge", *arguments] if name == "brain-edge" else program(name, *arguments)
    about = {"started": datetime.now(UTC), "commit": this_commit(), "machine": this_machine()}
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise BrainEdgeError(f"{name} ended with exit code {done.returncode}; nothing is kept")
    said = " ".join(["python -m benchmarks" if name != "brain-edge" else "", *command]).strip()
    kept = {"command": without_paths(said, command), "output": without_paths(done.stdout, command).splitlines()}
    path.parent.mkdir(exist_ok=True)
    found = msgspec.json.encode({"schema": 1, **about, "versions": our_versions(), **kept})
    path.write_bytes(msgspec.json.format(found, indent=1) + b"\n")
    click.echo(done.stdout, nl=False)
    click.echo(f"written: {path}", err=True)


def without_paths(text: str, arguments: Sequence[str]) -> str:
    """A text in which what the arguments name has its last name, and a file the name of its kind alone.

    Raises:
        BrainEdgeError: a path is left.
    """
    values = {argument.rpartition("=")[2] for argument in arguments}
    for value in sorted(values, key=len, reverse=True):
        path = Path(value)
        if path.is_file():
            text = text.replace(value, f"<{''.join(path.suffixes)[1:]}>")
        elif "/" in value and path.is_dir():
            text = text.replace(value, path.resolve().name)
    if left := A_PATH.search(text):
        raise BrainEdgeError(f"the output names {left[0]!r}, a place on this machine; nothing is kept")
    return text
