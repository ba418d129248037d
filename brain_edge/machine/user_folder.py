"""Folders of a user on each platform."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from brain_edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping


def user_folder(platform: str, environment: Mapping[str, str], places: Mapping[str, tuple[str, str]], own: str) -> Path:
    """Return a folder of this user.

    Linux follows the XDG Base Directory Specification, which ignores a relative path in its variables. LOCALAPPDATA
    follows the same rule.

    Args:
        platform: value of `sys.platform`.
        environment: environment variables.
        places: platform ("" for any other) -> variable that names the folder, and its default in the home folder.
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
