"""Find a package by its name: in the current folder, in `BRAIN_EDGE_PACKAGES`, and in a folder of the user."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from brain_edge.errors import PackageError, UsageError
from brain_edge.machine.user_folder import user_folder
from brain_edge.package.reader import MANIFEST

PACKAGES_VARIABLE: Final = "BRAIN_EDGE_PACKAGES"
"""Environment variable with the folders that hold packages, separated as in PATH."""

PACKAGES_PLACES: Final = {
    "win32": ("LOCALAPPDATA", "AppData/Local"),
    "darwin": ("", "Library/Application Support"),
    "": ("XDG_DATA_HOME", ".local/share"),
}
"""Places of `user_folder`."""


def package_folders() -> tuple[Path, ...]:
    """Return the folders that are searched for a package, in this order; they may not exist.

    Raises:
        UsageError: the variable is not set, and this account has no home folder.
    """
    if chosen := os.environ.get(PACKAGES_VARIABLE):
        return (Path(), *(Path(each).expanduser() for each in chosen.split(os.pathsep) if each))
    return Path(), user_folder(sys.platform, os.environ, PACKAGES_PLACES, PACKAGES_VARIABLE) / "brain-edge" / "packages"


def find_package(given: str | Path | None) -> Path:
    """Return the folder of a package.

    Args:
        given: path of the package, or its name alone; None for the default, which is the current folder or the only
            package in the first folder that holds one.

    Raises:
        UsageError: no package was named, and there is no default.
        PackageError: no folder that is searched holds a package of this name.
    """
    if given is None:
        return _default()
    path = Path(given)
    if path.exists() or path.name != str(given):
        return path
    folders = package_folders()
    found = next((folder / path for folder in folders if is_package(folder / path)), None)
    if found is None:
        places = " or ".join(map(str, folders[1:]))
        raise PackageError(
            f"{given}: expected a package, a folder with a {MANIFEST}, found none here or in {places}; check the name"
        )
    return found


def packages_in(folder: Path) -> list[Path]:
    """Return the packages that lie directly in a folder, by name; none where the folder is missing or closed."""
    return sorted(path.parent for path in folder.glob(f"*/{MANIFEST}"))


def is_package(folder: Path) -> bool:
    """Return True if a folder has the manifest of a package, which may be damaged."""
    return os.path.isfile(folder / MANIFEST)  # noqa: PTH113 - False also for a name that is too long to exist


def _default() -> Path:
    if is_package(Path.cwd()):
        return Path.cwd()
    inside = next(filter(None, map(packages_in, package_folders())), [])
    if len(inside) != 1:
        found = ", ".join(path.name for path in inside) or "none"
        raise UsageError(f"expected one package in the current folder or in {PACKAGES_VARIABLE}, got {found}; name it")
    return inside[0]
