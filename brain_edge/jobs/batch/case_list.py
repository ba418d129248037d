"""List of the cases of a batch in a file, so that no folder is searched.

The list is a table with tabs, in UTF-8, with one line per case and a header. The first column is `case`, the name of
the case. Each other column is a sequence of the model; a model of one sequence may call it `image`. A cell is a path,
absolute or relative to the folder of the list. The cell of an optional sequence may be empty. The column after `case`
may be `shard`, such as `3/8`: it decides the shard of each case, in place of the name.

A fault of the list is refused before any case runs, in every shard. An image that is missing fails its own case.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from brain_edge.errors import InputError
from brain_edge.io.inputs import IMAGE_SUFFIXES, is_image_name
from brain_edge.jobs.batch.shard import Shard
from brain_edge.machine.nearest import did_you_mean
from brain_edge.machine.paths import folded, in_store, read_small

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brain_edge.spec import ModelSpec

CASE: Final = "case"
IMAGE: Final = "image"
SHARD: Final = "shard"
MOST_NAME_BYTES: Final = 190
"""Length of a case name in UTF-8: a file name has at most 255 bytes, and an unfinished result gets 57 more, such as
`_probabilities.nii.gz`."""
MOST_PART_BYTES: Final = 255
MOST_PATH_BYTES: Final = 4096
"""Lengths of a file name and of a path that Linux takes, the latter with its end; Windows takes less."""


def listed_cases(path: Path, spec: ModelSpec, shard: Shard) -> tuple[tuple[str, dict[str, Path] | InputError], ...]:
    """Read the cases of one shard from a list, in the order of the list.

    Args:
        path: list of the cases of all shards.
        spec: specification of the model.
        shard: part of the batch.

    Returns:
        The name of each case with its file per sequence, or with the fault of its cells.

    Raises:
        InputError: the list cannot be read, or has a fault.
    """
    header, lines = _lines(path)
    columns = header.split("\t")
    is_divided = columns[1:2] == [SHARD]
    first = 2 if is_divided else 1
    sequences = _sequences(path, columns[first - 1 :], spec)
    names = [line.partition("\t")[0] for line in lines]
    _require_sound(path, lines, names, len(columns) - 1)
    own = _divided(path, lines, shard) if is_divided else set(shard.share(names))
    rows = (line.split("\t") for name, line in zip(names, lines, strict=True) if name in own)
    return tuple((cells[0], _files(path, cells[0], sequences, cells[first:], spec)) for cells in rows)


def _divided(path: Path, lines: Sequence[str], shard: Shard) -> set[str]:
    """Return the cases of a shard of a list with the column `shard`; all cases without a division.

    Raises:
        InputError: a line belongs to no shard of this division.
    """
    own = str(shard)
    division = {f"{number}/{shard.count}" for number in range(1, shard.count + 1)}
    places = [line.split("\t", 2)[:2] for line in lines]
    if shard == Shard():
        return {name for name, _ in places}
    odd = next((place for _, place in places if place not in division), None)
    if odd is not None:
        raise InputError(
            f"{path}: expected the shard {shard}, got a list whose column {SHARD!r} has {odd!r}; give a shard of that "
            "division, or make the list again"
        )
    return {name for name, place in places if place == own}


def listed_names(path: Path) -> tuple[str, ...]:
    """Return the names of all cases of a list, in the order of the list.

    Raises:
        InputError: the list cannot be read, or has a fault.
    """
    header, lines = _lines(path)
    names = tuple(line.partition("\t")[0] for line in lines)
    _require_sound(path, lines, names, header.count("\t"))
    return names


def _lines(path: Path) -> tuple[str, list[str]]:
    """Return the header and the other lines; empty lines at the end are left out.

    Raises:
        InputError: the file cannot be read, is not UTF-8, has another first column or no case.
    """
    try:
        text = read_small(path).decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: the list cannot be read ({error.strerror}); check its path") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected a list in UTF-8, got other bytes; save it as UTF-8") from error
    header, *lines = text.replace("\r\n", "\n").rstrip("\n").split("\n")
    if header.partition("\t")[0] != CASE:
        raise InputError(
            f"{path}: expected a table with tabs whose first column is {CASE!r}, got {header[:60]!r}; add the header"
        )
    if not lines:
        raise InputError(f"{path}: expected one line per case below the header, got none; add the cases")
    return header, lines


def _sequences(path: Path, header: Sequence[str], spec: ModelSpec) -> list[str]:
    """Return the sequence of each column after the first.

    Raises:
        InputError: a column is no sequence of the model, occurs twice or is missing.
    """
    known = [sequence.name for sequence in spec.inputs]
    columns = [known[0] if len(known) == 1 and name == IMAGE else name for name in header[1:]]
    words = ", ".join([CASE, *known])
    for name in columns:
        if name not in known or columns.count(name) > 1:
            raise InputError(
                f"{path}: expected the columns {words} once each, got {name!r}; remove or rename the column"
                f"{did_you_mean(name, known)}"
            )
    missing = [name for name in known if name not in columns and name not in spec.optional]
    if missing:
        raise InputError(f"{path}: expected the columns {words}, found no {', '.join(missing)}; add the column")
    return columns


def _require_sound(path: Path, lines: Sequence[str], names: Sequence[str], tabs: int) -> None:
    """Check all lines of a list, of which there may be 100,000, with little work for each.

    Raises:
        InputError: a line has another number of cells, a name cannot be part of a file name, or two names are equal.
    """
    faulty = next((number for number, line in enumerate(lines, 2) if line.count("\t") != tabs), None)
    if faulty is not None:
        cells = lines[faulty - 2].count("\t") + 1
        raise InputError(f"{path}, line {faulty}: expected {tabs + 1} cells, got {cells}; correct the line")
    text = "\n".join(["", *names, ""])
    is_long = len(max(names, key=len)) > MOST_NAME_BYTES // 4 and not all(map(is_case_name, names))
    if is_long or any(sign in text for sign in ("/", "\\", "\0", "\n.", "\n\n")):
        odd = next(number for number, name in enumerate(names, 2) if not is_case_name(name))
        raise InputError(
            f"{path}, line {odd}: expected a case name that can be part of a file name, got "
            f"{names[odd - 2][:MOST_NAME_BYTES]!r}; rename the case (no slash, at most {MOST_NAME_BYTES} bytes)"
        )
    keys = folded(text).split("\n")[1:-1]
    if len(set(keys)) < len(keys):
        first: dict[str, int] = {}
        number = next(number for number, key in enumerate(keys, 2) if first.setdefault(key, number) != number)
        raise InputError(
            f"{path}, line {number}: expected each case once, got {names[number - 2]!r} also in line "
            f"{first[keys[number - 2]]} (upper and lower case are equal); remove or rename one"
        )


def is_case_name(name: str) -> bool:
    """Return True if a name of a case can be part of a file name."""
    is_short = len(name.encode("utf-8", "surrogateescape")) <= MOST_NAME_BYTES
    return bool(name) and is_short and "/" not in name and "\\" not in name and "\0" not in name and name[0] != "."


def _can_exist(path: Path) -> bool:
    """Return False for a path that every system refuses, so that it fails its own case and not the batch."""
    text = str(path).encode("utf-8", "surrogateescape")
    return b"\0" not in text and len(text) < MOST_PATH_BYTES and max(map(len, text.split(b"/"))) <= MOST_PART_BYTES


def _files(
    path: Path, case: str, sequences: Sequence[str], cells: Sequence[str], spec: ModelSpec
) -> dict[str, Path] | InputError:
    """Return the file per sequence in the order of the model, or the fault of a cell."""
    named = {
        name: Path(cell) if in_store(Path(cell)) else path.parent / cell
        for name, cell in zip(sequences, cells, strict=True)
        if cell
    }
    for name in (sequence.name for sequence in spec.inputs):
        if name not in named and name not in spec.optional:
            return InputError(f"{path}, case {case}: expected an image of {name}, got an empty cell; fill it in")
        if name in named and not (is_image_name(named[name].name) and _can_exist(named[name])):
            return InputError(
                f"{path}, case {case}: expected an image ({', '.join(IMAGE_SUFFIXES)}), got "
                f"{str(named[name])[:MOST_PATH_BYTES]!r}; correct it"
            )
    return {sequence.name: named[sequence.name] for sequence in spec.inputs if sequence.name in named}
