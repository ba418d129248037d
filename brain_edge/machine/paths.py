"""Where brain_edge keeps what it can make or fetch again."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from brain_edge.errors import InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

CACHE_VARIABLE = "BRAIN_EDGE_CACHE"
"""Environment variable that moves the cache, for machines whose home folder is small or read-only."""


def require_text(path: Path) -> Path:
    """The same path, if its name is text: some names are bytes that this system's encoding does not know.

    Such a file can be read, but neither its record nor a list of results could name it.

    Raises:
        InputError: it is none.
    """
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"{path}: expected a name in this system's encoding ({sys.getfilesystemencoding()}), got other bytes; "
            "rename it, or set PYTHONUTF8=1 if it is text in UTF-8"
        ) from error
    return path


def may_be_file(path: Path) -> bool:
    """Whether a name is a file, or nobody can tell: then whoever opens it says why it cannot be read.

    A link that leads nowhere, or a share that does not answer, is an input that is missing and no absent one. Folders,
    pipes and devices are no files.
    """
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return True


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
