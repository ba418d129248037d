"""Place of a package: its folder appears complete or not at all, and an older package goes only where that is asked."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from brain_edge.errors import UsageError
from brain_edge.machine.atomic_folder import atomic_folder
from brain_edge.package.find import is_package

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def package_folder(target: Path, *, overwrite: bool, draft: Path | None = None) -> Iterator[Path]:
    """Yield the folder in which a package is made; it gets its name if the block succeeds.

    Args:
        target: folder of the package.
        overwrite: True to replace a package of this name; no other folder is replaced.
        draft: folder to fill, as in `atomic_folder`.

    Raises:
        UsageError: the folder exists and may not be replaced.
        OutputError: its parent cannot be written to.
    """
    if target.is_dir() and not overwrite:
        raise UsageError(f"{target.resolve()}: this folder already exists; give --overwrite, or choose another name")
    if target.is_dir() and not is_package(target):
        raise UsageError(
            f"{target.resolve()}: expected a package to overwrite, got another folder; choose another name"
        )
    with atomic_folder(target, overwrite=overwrite, draft=draft) as folder:
        yield folder


def require_other(target: Path, package: Path) -> None:
    """Refuse to replace the package from which another one is made.

    Raises:
        UsageError: both are the same folder.
    """
    if target.resolve() == package.resolve():
        raise UsageError(f"{target}: expected another folder than the input package; choose another name with -o")
