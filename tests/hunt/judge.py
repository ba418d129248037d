"""What one mutant came to: read, refused, or a fault; judged where it is read."""

from __future__ import annotations

import shutil
import sys
import traceback
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from brain_edge.errors import BrainEdgeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hunt.mutations import Tree
    from hunt.reader import Case, Reader

ROOT: Final = Path(__file__).resolve().parents[2]
LINES: Final = 12


class Kind(StrEnum):
    """What became of a mutant."""

    ACCEPTED = "accepted"
    """It was read: the damage is in what no rule binds, or makes another valid file."""
    REFUSED = "refused"
    """An error of the tree, in words."""
    FAULT = "fault"
    """Anything else: an exception outside of the tree, a death, a hang, too much memory, damage taken for content."""


@dataclass(frozen=True)
class Outcome:
    """One mutant, tried.

    Attributes:
        number: of the mutant.
        kind: what became of it.
        error: class of the exception, or what the watcher saw.
        words: its message.
        at: the last line of ours that it came through, for telling faults apart.
        trace: the end of the traceback.
        peak_bytes: greatest resident memory of the process so far.
    """

    number: int
    kind: Kind
    error: str = ""
    words: str = ""
    at: str = ""
    trace: str = ""
    peak_bytes: int = 0

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Outcome:
        """From the plain values that it was sent as."""
        return cls(**{**answer, "kind": Kind(answer["kind"])})

    def plain(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def write_tree(tree: Tree, folder: Path) -> None:
    """Write the files of a folder, which is made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, content in tree.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def read_tree(folder: Path) -> dict[str, bytes]:
    """The files of a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def judge(reader: Reader, case: Case, number: int) -> Outcome:
    """Read one damaged folder."""
    try:
        reader.read(case)
    except (BrainEdgeError, click.UsageError) as error:
        return Outcome(number, Kind.REFUSED, type(error).__name__, str(error)[:500])
    except BaseException as error:  # noqa: BLE001 - that is what is hunted
        trace = "".join(traceback.format_exception(error)[-LINES:])
        return Outcome(number, Kind.FAULT, type(error).__name__, str(error)[:500], _place(error), trace)
    return Outcome(number, Kind.ACCEPTED)


def _place(error: BaseException) -> str:
    """The innermost line of ours."""
    ours = [
        f"{Path(frame.filename).relative_to(ROOT)}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(ROOT) and "tests" not in Path(frame.filename).relative_to(ROOT).parts
    ]
    return ours[-1] if ours else "outside"


def told(text: str) -> None:
    """A line for who watches at the terminal."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
