"""All records of the folder of a batch."""

from __future__ import annotations

import os
import posixpath
from typing import TYPE_CHECKING

import msgspec

from brain_edge.errors import InputError
from brain_edge.jobs.layout import is_case_folder
from brain_edge.jobs.record import RECORD_SUFFIX, CaseStatus, read_case_record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from brain_edge.jobs.record import CaseRecord


def read_case_records(folder: Path) -> tuple[CaseRecord, ...]:
    """Read the records of all ended cases in a folder and in its folders of cases, sorted by case name.

    Damaged records are left out. The paths of the outputs are relative to `folder`.

    Raises:
        InputError: a folder cannot be listed.
    """
    found = ((path, read_case_record(folder / path)) for path in record_paths(folder))
    ended = (rebased(record, path) for path, record in found if record and record.status is not CaseStatus.WRITING)
    return tuple(sorted(ended, key=lambda record: record.case))


def record_paths(folder: Path) -> Iterator[str]:
    """Yield the paths of `record_entries`."""
    return (path for path, _ in record_entries(folder))


def record_entries(folder: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield the records of a batch, each with its path relative to the folder, with "/"; none for a missing folder.

    Raises:
        InputError: a folder cannot be listed.
    """
    for entry in _entries(folder):
        if is_case_folder(entry.name) and entry.is_dir():
            records = (below for below in _entries(entry) if _is_record_name(below.name))
            yield from ((f"{entry.name}/{below.name}", below) for below in records)
        elif _is_record_name(entry.name):
            yield entry.name, entry


def rebased(record: CaseRecord, path: str) -> CaseRecord:
    """Return a record whose outputs are relative to the folder of the batch.

    Args:
        record: record whose outputs are relative to its own folder.
        path: path of the record, relative to the folder of the batch.
    """
    above, slash, _ = path.rpartition("/")
    if not slash:
        return record
    outputs = {
        kind: msgspec.structs.replace(file, path=posixpath.normpath(posixpath.join(above, file.path)))
        for kind, file in record.outputs.items()
    }
    return msgspec.structs.replace(record, outputs=outputs)


def _entries(folder: Path | os.DirEntry[str]) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:
        return []
    except OSError as error:
        place = os.fspath(folder)
        raise InputError(f"{place}: the folder cannot be read ({error.strerror}); check its permissions") from error


def _is_record_name(name: str) -> bool:
    return name.endswith(RECORD_SUFFIX) and not name.startswith(".")
