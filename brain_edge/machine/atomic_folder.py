"""Write folders completely or not at all, as `brain_edge.machine.atomic` writes files."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from brain_edge.errors import OutputError, UsageError
from brain_edge.machine.atomic import flush, in_words, partial_name, remove_leftovers, require_no_file

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def atomic_folder(path: Path | str, *, overwrite: bool = False, draft: Path | None = None) -> Iterator[Path]:
    """Yield a temporary folder to fill; rename it to `path` if the block succeeds, remove it otherwise.

    Args:
        path: final folder, whose parent must exist.
        overwrite: replace an existing folder with any content (the caller knows that it may go). The old folder is
            removed after the new one has its name.
        draft: folder to fill instead of a hidden folder beside `path`, on the same disk and used by this caller only;
            files that a killed process has left in it are removed.

    Raises:
        UsageError: `path` is a file, or a folder that may not be replaced.
        OutputError: its parent cannot be written to.
    """
    target = Path(path).resolve()
    with in_words(path, target.parent):
        _refuse_taken(target, overwrite=overwrite)
        if not overwrite or target.exists():  # else the old one, which has stepped aside, is all that there is
            remove_leftovers([target])
        partial = draft or partial_name(target)
        try:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            yield partial
            for file in partial.rglob("*"):
                if file.is_file():
                    flush(file)
            _swap_in(partial, target, overwrite=overwrite)
        except BaseException as error:  # after an interrupt, too, no folder is left
            shutil.rmtree(partial, ignore_errors=True)  # the error under way is the one to report
            if isinstance(error, OutputError):  # of a file in the hidden folder, whose name means nothing to a reader
                raise OutputError(str(error).replace(str(partial), str(path))) from error
            raise


def _swap_in(partial: Path, target: Path, *, overwrite: bool) -> None:
    """Give a finished folder its name; an old folder is renamed first and removed last."""
    if not (overwrite and target.exists()):
        partial.rename(target)
        return
    old = partial_name(target)
    target.rename(old)
    try:
        partial.rename(target)
    except BaseException:
        old.rename(target)
        raise
    shutil.rmtree(old)


def _refuse_taken(target: Path, *, overwrite: bool) -> None:
    require_no_file(target)
    if target.exists() and not overwrite:
        raise UsageError(f"{target}: this folder already exists; remove it, or choose another name")
