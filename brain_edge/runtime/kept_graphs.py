"""Folder of compiled graphs as a process uses it: named by the user, or the default folder of the user.

A named folder must work. The default folder may be missing, of another user or on a full disk. The process then
computes without it and says so in one sentence. See docs/decisions/0048.
"""

from __future__ import annotations

import logging
import os
import shutil
import stat
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Final

from brain_edge.errors import BrainEdgeError
from brain_edge.runtime.cache import GraphKey, load, remove_oldest, require_cache_folder, store

if TYPE_CHECKING:
    from pathlib import Path

    from brain_edge.machine.options import RuntimeOptions

LIMIT_BYTES: Final = 2 * 2**30
"""Largest size of all entries of a folder; the entries that were not used for longest are removed beyond it."""
LEAST_FREE_BYTES: Final = 2**30
"""Free space that must stay on the disk of a default folder."""
_told: Final[set[Path]] = set()
_telling: Final = Lock()


@dataclass(frozen=True)
class KeptGraphs:
    """Compiled graphs of earlier processes.

    Attributes:
        folder: folder of the entries.
        is_default: True if nobody named the folder; nothing about it is then an error.
    """

    folder: Path
    is_default: bool = False

    @classmethod
    def of(cls, options: RuntimeOptions) -> KeptGraphs | None:
        """Return the compiled graphs of these options; None if none are kept.

        Raises:
            UsageError: the named folder is a file.
            OutputError: the named folder cannot be created, or is not writable.
        """
        if options.cache_folder is None:
            return None
        kept = cls(options.cache_folder, options.cache_is_default)
        if not kept.is_default:
            require_cache_folder(kept.folder)
        elif (problem := _problem_of(kept.folder)) is not None:
            _tell(kept.folder, problem)
            return None
        return kept

    def load(self, key: GraphKey) -> bytes | None:
        """Return OpenVINO's export for this key; None if there is no intact entry."""
        return load(self.folder, key)

    def store(self, key: GraphKey, blob: bytes) -> None:
        """Write an entry and remove the oldest ones beyond the limit; a problem costs one sentence, not the mask."""
        try:
            if self.is_default and shutil.disk_usage(self.folder).free < LEAST_FREE_BYTES + len(blob):
                _tell(self.folder, f"its disk has less than {LEAST_FREE_BYTES / 2**30:g} GiB of free space")
                return
            store(self.folder, key, blob)
            remove_oldest(self.folder, LIMIT_BYTES, key)
        except (OSError, BrainEdgeError) as error:
            _tell(self.folder, str(error))


def _problem_of(folder: Path) -> str | None:
    """Create a default folder if it is missing; return the reason if it cannot be used."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except OSError as error:
        return str(error.strerror or error)
    if hasattr(os, "geteuid") and status.st_uid != os.geteuid():
        return "the folder belongs to another user"
    if os.name == "posix" and status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "other users may write to the folder"  # an entry is executed
    return None if os.access(folder, os.R_OK | os.W_OK | os.X_OK) else "the folder cannot be written to"


def _tell(folder: Path, problem: str) -> None:
    """Warn about a folder once in a process, because several graphs meet the same problem."""
    with _telling:
        if folder in _told:
            return
        _told.add(folder)
    words = "compiled graphs are not kept in %s: %s; name another folder with --cache, or give --cache none"
    logging.getLogger(__name__).warning(words, folder, problem)
