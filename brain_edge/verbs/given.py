"""What a Python user gives a verb, turned into what the rooms below take."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from brain_edge.errors import UsageError
from brain_edge.machine.nearest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable

    from brain_edge.jobs.case import NamedInput

FilePath: TypeAlias = str | Path
"""The path of a file or folder."""

NamedFiles: TypeAlias = FilePath | Mapping[str, FilePath]
"""One path, or a path for each name (of a sequence, of a graph)."""

Choice = TypeVar("Choice", bound=StrEnum)


def named_files(given: NamedFiles | None) -> tuple[NamedInput, ...]:
    """Return pairs of name and path; the name of a single path is None."""
    if given is None:
        return ()
    if isinstance(given, Mapping):
        return tuple((name, Path(path)) for name, path in given.items())
    return ((None, Path(given)),)


def path_or_none(given: FilePath | None) -> Path | None:
    """Return the path, or None where none is given."""
    return None if given is None else Path(given)


def chosen(kind: type[Choice], value: str, keyword: str) -> Choice:
    """Return the member of an enum that a word names.

    Raises:
        UsageError: no member has that word.
    """
    try:
        return kind(value)
    except ValueError as error:
        hint = did_you_mean(str(value), kind)
        raise UsageError(f"expected {keyword} as one of {', '.join(kind)}, got {value!r}{hint}") from error


def reporter(progress: Callable[[str], None] | None) -> Callable[[str], None]:
    """Return the function that is told lines of progress; without one they go nowhere."""
    return progress or (lambda _line: None)
