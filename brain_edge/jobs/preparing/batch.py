"""Prepare many studies, one after another; a study that fails does not stop the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brain_edge.errors import BatchError, BrainEdgeError
from brain_edge.jobs.batch.case import is_disk_full
from brain_edge.jobs.preparing.one import Outcome, PreparedCase, prepare_case

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from brain_edge.jobs.preparing.cases import RawCase
    from brain_edge.jobs.preparing.one import PrepareOptions
    from brain_edge.preparation.preparer import Preparer


def prepare_all(
    cases: Sequence[RawCase], preparer: Preparer, out: Path, options: PrepareOptions
) -> Iterator[PreparedCase]:
    """Prepare each study and yield its result when it ends.

    Raises:
        BatchError: the disk is full; the remaining studies were not tried.
    """
    for number, case in enumerate(cases, start=1):
        result = _tried(case, preparer, out, options)
        yield result
        if is_disk_full(result.error) and number < len(cases):
            raise BatchError(
                f"the disk or quota is full: {len(cases) - number} of {len(cases)} studies were not tried; free space "
                "and run the command again, finished studies stay"
            )


def _tried(case: RawCase, preparer: Preparer, out: Path, options: PrepareOptions) -> PreparedCase:
    try:
        return prepare_case(case, preparer, out, options)
    except BrainEdgeError as error:
        return PreparedCase(case.names.case, Outcome.FAILED, out / case.names.folder, error=error)
