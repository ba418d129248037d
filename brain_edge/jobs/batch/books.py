"""Bookkeeping of a batch, in one hidden folder of its output folder and apart from the results.

::

    .brain-edge/layout                     layout of the results, which stays the same
    .brain-edge/locks/3-of-8.lock          lock of a running shard
    .brain-edge/partial/3-of-8/            files that a running shard has not finished
    .brain-edge/parts/3-of-8.jsonl         part of the summary: the cases of one shard

A shard lists only these folders, which hold one entry per shard, whatever the number of cases.
"""

from __future__ import annotations

import shutil
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from brain_edge.errors import UsageError
from brain_edge.jobs.batch.shard import in_file_name, shard_of_file
from brain_edge.jobs.layout import Layout
from brain_edge.machine.atomic import atomic_file, make_folder
from brain_edge.machine.paths import read_small

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from brain_edge.jobs.batch.shard import Shard

BOOKS: Final = ".brain-edge"


@dataclass(frozen=True)
class Books:
    """Bookkeeping of the output folder `folder`."""

    folder: Path

    @property
    def locks(self) -> Path:
        """Folder of the locks."""
        return self.folder / BOOKS / "locks"

    @property
    def partial(self) -> Path:
        """Folder of the files that are not finished."""
        return self.folder / BOOKS / "partial"

    @property
    def parts(self) -> Path:
        """Folder of the parts of the summary."""
        return self.folder / BOOKS / "parts"

    def staging(self, shard: Shard) -> Path:
        """Return the folder of the unfinished files of one shard."""
        return self.partial / in_file_name(shard)

    def part(self, shard: Shard) -> Path:
        """Return the file with the part of one shard."""
        return self.parts / f"{in_file_name(shard)}.jsonl"

    def open(self) -> None:
        """Make the folders.

        Raises:
            OutputError: the output folder cannot be written to.
        """
        make_folder(self.folder)
        for folder in (self.locks, self.partial, self.parts):
            make_folder(folder)

    @contextmanager
    def staged(self, shard: Shard) -> Iterator[Path]:
        """Yield the empty folder for the unfinished files of a shard, whose lock this process holds.

        Shards of other divisions cannot run now, so their unfinished files are those of killed processes.
        """
        for folder in self.partial.iterdir():
            other = shard_of_file(folder.name)
            if other is not None and (other == shard or other.count != shard.count):
                shutil.rmtree(folder, ignore_errors=True)
        make_folder(self.staging(shard))
        try:
            yield self.staging(shard)
        finally:
            with suppress(OSError):  # on Windows, a scanner may hold a file; the next run removes the folder
                self.staging(shard).rmdir()

    def keep_layout(self, layout: Layout) -> None:
        """Keep the layout of the first run, because results of two layouts would be computed twice.

        Raises:
            UsageError: the results of earlier runs have another layout, or the file of the layout is damaged.
            OutputError: the layout cannot be written.
        """
        path = self.folder / BOOKS / "layout"
        try:
            found = read_small(path).decode("utf-8", "backslashreplace")
        except FileNotFoundError:
            # earlier versions had one layout, and each of their runs has left this summary
            found = Layout.FLAT if (self.folder / "summary.json").exists() else layout
            with atomic_file(path) as partial:
                partial.write_text(found, encoding="utf-8")
        if found not in list(Layout):
            raise UsageError(
                f"{path}: expected the layout of the results in this folder, {' or '.join(Layout)}, got "
                f"{found[:60]!r}; write the right word into this file"
            )
        if found != layout:
            raise UsageError(
                f"{self.folder}: the results in this folder have the layout {found}, and this run has {layout}; give "
                f"--layout {found}, or choose another folder"
            )
