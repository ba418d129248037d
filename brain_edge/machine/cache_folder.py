"""Cache folder for files that brain_edge can fetch again."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from brain_edge.machine.user_folder import user_folder

CACHE_VARIABLE = "BRAIN_EDGE_CACHE"
"""Environment variable that moves the cache, for a small or read-only home folder."""

CACHE_PLACES: Final = {
    "win32": ("LOCALAPPDATA", "AppData/Local"),
    "darwin": ("", "Library/Caches"),
    "": ("XDG_CACHE_HOME", ".cache"),
}
"""Platform (`sys.platform`, "" for any other) -> variable that names the folder, and its default in the home folder."""


def cache_folder(kind: str) -> Path:
    """Return the folder for one kind of cached files, such as `downloads`; it may not exist yet.

    Raises:
        UsageError: the variable is not set, and this account has no home folder.
    """
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser().absolute() / kind
    return user_folder(sys.platform, os.environ, CACHE_PLACES, CACHE_VARIABLE) / "brain-edge" / kind
