"""Where brain_edge keeps what it can fetch again."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from brain_edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

CACHE_VARIABLE = "BRAIN_EDGE_CACHE"
"""Environment variable that moves the cache, for machines whose home folder is small or read-only."""


def cache_folder(kind: str) -> Path:
    """The folder for one kind of cached files (`downloads`, for one); it need not exist yet.

    Raises:
        UsageError: neither the variable is set nor does this account have a home folder.
    """
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser().absolute() / kind
    return user_cache(sys.platform, os.environ) / "brain-edge" / kind


def user_cache(platform: str, environment: Mapping[str, str]) -> Path:
    """The user's cache folder on a platform as named by `sys.platform`.

    Linux follows the XDG Base Directory Specification, which says that a relative XDG_CACHE_HOME is to be
    ignored; the same rule is applied to LOCALAPPDATA.
    """
    variable, default = {
        "win32": ("LOCALAPPDATA", "AppData/Local"),
        "darwin": ("", "Library/Caches"),
    }.get(platform, ("XDG_CACHE_HOME", ".cache"))
    chosen = Path(environment.get(variable, ""))
    return chosen if chosen.is_absolute() else _home() / default


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError as error:
        raise UsageError(
            f"this account has no home folder to cache files in: set {CACHE_VARIABLE} to a folder"
        ) from error
