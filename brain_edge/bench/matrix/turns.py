"""Whole processes in turn outside the matrix: recipes on whole cases, tuned packages; one file a run.

`benchmarks/recipe_case.py` and `benchmarks/tuned.py` write these files, `brain-edge report` reads them.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec

from brain_edge.bench.matrix.cells import MOST_BYTES, CellSample, Commit
from brain_edge.errors import InputError
from brain_edge.machine.description import Machine

if TYPE_CHECKING:
    from pathlib import Path

PATTERNS: Final = ("*-case-*.json", "*-tuned-*.json")


class TurnEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One contender: its name, and a sample of each round that it took part in, the first rounds of all."""

    name: str
    samples: tuple[CellSample, ...]


class Turns(msgspec.Struct, frozen=True, kw_only=True):
    """Contenders that ran in turn, each as a whole cold process; the first is what the others are compared with.

    Attributes:
        benchmark: what was compared, in words.
        recipe, model: of what; a file says one of them.
    """

    benchmark: str
    recipe: str = ""
    model: str = ""
    started: datetime
    commit: Commit
    machine: Machine
    entries: tuple[TurnEntry, ...]

    @property
    def subject(self) -> str:
        """The model."""
        return self.recipe or self.model


def read_turns(where: Path) -> tuple[Turns, ...]:
    """All such runs in a folder and the folders below it, oldest first; () where there are none.

    Raises:
        InputError: a file cannot be read, or is none.
    """
    if not where.is_dir():
        return ()
    return tuple(_read(path) for path in sorted({path for each in PATTERNS for path in where.rglob(each)}, key=_name))


def _name(path: Path) -> tuple[str, Path]:
    return path.name, path.parent


def _read(path: Path) -> Turns:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path}: expected whole processes in turn, this file is far too large")
        found = msgspec.json.decode(path.read_bytes(), type=Turns)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except msgspec.DecodeError as error:
        raise InputError(f"{path}: expected whole processes in turn: {error}") from error
    if not found.entries or not all(entry.samples for entry in found.entries):
        raise InputError(f"{path}: expected whole processes in turn, a contender has no samples; remove the file")
    return found
