"""What a reader of the program is to the hunt: its valid files, the call, and the damage that it must notice."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hunt.mutations import Tree


class TakenError(Exception):
    """Damage was read as if it were content, where a hash or a rule promises that it is noticed."""


@dataclass(frozen=True)
class Case:
    """A damaged folder on disk, and the valid one that it was made of."""

    folder: Path
    valid: Tree


@dataclass(frozen=True, kw_only=True)
class Reader:
    """A reader of the program.

    Attributes:
        make: writes valid folders below a folder, each into one of its own.
        read: reads a damaged one as the program does; what it raises is judged by the error tree.
        in_ci: how many mutants the tests try; 0 where valid folders take long to make.
        patterns: names of the files that are damaged.
        mend: makes hashes right again, as somebody would who knows the format.
    """

    make: Callable[[Path], None]
    read: Callable[[Case], object]
    in_ci: int
    patterns: tuple[str, ...] = ("*",)
    mend: Callable[[Tree], Tree] = lambda tree: tree


def command(name: str, *arguments: object) -> None:
    """A command as the program calls it, without the place where errors become words."""
    found: Any = import_module(f"brain_edge.cli.{name}").command
    found.main([str(each) for each in arguments], prog_name=name, standalone_mode=False)


def files(case: Case) -> list[Path]:
    """Every file of a damaged folder."""
    return sorted(path for path in case.folder.rglob("*") if path.is_file())
