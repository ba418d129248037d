"""Options of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from brain_edge.errors import UsageError
from brain_edge.jobs.batch.shard import Shard
from brain_edge.jobs.layout import Layout
from brain_edge.jobs.record import record_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path
    from typing import TypeAlias

    from brain_edge.jobs.batch.case import CaseResult
    from brain_edge.jobs.batch.planning import UnplannedCase
    from brain_edge.jobs.case import Job
    from brain_edge.machine.options import RuntimeOptions
    from brain_edge.package import ModelPackage

    Engine: TypeAlias = Callable[
        [ModelPackage, Sequence[Job | UnplannedCase], "Batch", RuntimeOptions, Path],
        AbstractContextManager[Iterator[CaseResult]],
    ]
    """What runs cases: it gives their results as they end, and has ended itself when its block is left."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Options of a batch.

    Attributes:
        records: folder of the records and of the summary, created if missing.
        shard: part of the cases to run.
        overwrite: run finished cases again, and replace changed outputs.
        wait: wait instead of refusing while another process works in the folder.
        at_once: number of cases in progress at once; by default `AT_ONCE`, or 1 with a single thread.
        layout: layout of the records below their folder.
        is_divided: the cases are those of this shard alone, because their list names the shard of each.
        engine: function that runs the cases; None for threads of this process.
        check: compare the content of the files of finished cases, also where their stamps are equal.

    Raises:
        UsageError: fewer than one case at once.
    """

    records: Path
    shard: Shard = Shard()  # noqa: RUF009 - frozen
    overwrite: bool = False
    wait: bool = False
    at_once: int | None = None
    layout: Layout = Layout.FLAT
    is_divided: bool = False
    engine: Engine | None = None
    check: bool = False

    def __post_init__(self) -> None:
        if self.at_once is not None and self.at_once < 1:
            raise UsageError(f"expected at least 1 case at once, got {self.at_once}")

    @property
    def is_whole(self) -> bool:
        """True if this batch is not one of several shards."""
        return self.shard == Shard()

    def share(self, cases: Sequence[Job | UnplannedCase]) -> tuple[Job | UnplannedCase, ...]:
        """Return the cases of this part."""
        return tuple(case for case in cases if self.is_divided or self.shard.holds(case.case))

    def record(self, case: str) -> Path:
        """Return the path of the record of a case."""
        return record_path(self.layout.place(self.records, case), case)
