"""Cache folder for files that brain_edge can fetch again, and the folders of a user on each platform."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from brain_edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

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


def user_folder(platform: str, environment: Mapping[str, str], places: Mapping[str, tuple[str, str]], own: str) -> Path:
    """Return a folder of this user.

    Linux follows the XDG Base Directory Specification, which ignores a relative path in its variables. LOCALAPPDATA
    follows the same rule.

    Args:
        platform: value of `sys.platform`.
        environment: environment variables.
        places: table like `CACHE_PLACES`.
        own: variable of brain_edge that names a folder instead, for the error.

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
        raise UsageError(f"expected a home folder for this account, found none; set {own} to a folder") from error
