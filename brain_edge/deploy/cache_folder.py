"""Where brain_edge keeps what it can fetch again, and the folders of a user on each platform."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from brain_edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

CACHE_VARIABLE = "BRAIN_EDGE_CACHE"
"""Environment variable that moves the cache, for machines whose home folder is small or read-only."""

CACHE_PLACES: Final = {
    "win32": ("LOCALAPPDATA", "AppData/Local"),
    "darwin": ("", "Library/Caches"),
    "": ("XDG_CACHE_HOME", ".cache"),
}
"""Platform, as `sys.platform` names it, or any other -> the variable that names the folder, and where it is without."""


def cache_folder(kind: str) -> Path:
    """The folder for one kind of cached files (`downloads`, for one); it need not exist yet.

    Raises:
        UsageError: neither the variable is set nor does this account have a home folder.
    """
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser().absolute() / kind
    return user_folder(sys.platform, os.environ, CACHE_PLACES, CACHE_VARIABLE) / "brain-edge" / kind


def user_folder(platform: str, environment: Mapping[str, str], places: Mapping[str, tuple[str, str]], own: str) -> Path:
    """A folder of this user.

    Linux follows the XDG Base Directory Specification, which says that a relative path in its variables is to be
    ignored; the same rule is applied to LOCALAPPDATA.

    Args:
        platform: as `sys.platform` names it.
        environment: its variables.
        places: like `CACHE_PLACES`.
        own: variable of ours that helps where there is no home folder.

    Raises:
        UsageError: this account has no home folder.
    """
    variable, default = places.get(platform, places[""])
    chosen = Path(environment.get(variable, ""))
    if chosen.is_absolute():
        return chosen
    try:
        return Path.home() / default
    except RuntimeError as error:
        raise UsageError(f"this account has no home folder to keep files in: set {own} to a folder") from error
