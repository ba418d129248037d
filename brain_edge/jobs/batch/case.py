"""One case of a batch: keep it, run it or record its failure; its record is written last."""

from __future__ import annotations

import errno
import platform
import traceback
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from brain_edge import __version__
from brain_edge.errors import BrainEdgeError, UsageError
from brain_edge.jobs.batch.planning import UnplannedCase
from brain_edge.jobs.batch.resume import Standing, is_as_recorded, standing
from brain_edge.jobs.case import run_case
from brain_edge.jobs.outliers import measure
from brain_edge.jobs.record import (
    CaseRecord,
    CaseStatus,
    ErrorRecord,
    input_record,
    output_record,
    printable,
    read_case_record,
    record_path,
    write_case_record,
)
from brain_edge.machine.atomic import make_folder
from brain_edge.machine.process import rss_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from brain_edge.engine.segmenter import WarmSegmenter
    from brain_edge.image.volume import Mask
    from brain_edge.jobs.batch.first_pass import FirstAlone
    from brain_edge.jobs.batch.resume import MadeBy
    from brain_edge.jobs.case import Job
    from brain_edge.jobs.outliers import LabelMeasure
    from brain_edge.jobs.outputs import Outputs
    from brain_edge.jobs.record import FileRecord, RunRecord
    from brain_edge.package import ModelPackage


class CaseOutcome(StrEnum):
    """Outcome of a case in this run."""

    NEW = "new"
    KEPT = "kept"
    """Finished by an earlier run."""
    FAILED = "failed"


@dataclass(frozen=True)
class CaseResult:
    """Case after its run.

    Attributes:
        case: name of the case.
        inputs: file per sequence, as the user named it.
        outcome: outcome of the run.
        record: record on disk.
        error: error of a failed case.
    """

    case: str
    inputs: Mapping[str, Path]
    outcome: CaseOutcome
    record: CaseRecord
    error: Exception | None = None


class Stopped(Exception):  # noqa: N818 - not an error: the batch is to end
    """Sign that the batch ends before this case."""


@dataclass(frozen=True)
class CaseRunner:
    """Runner of cases, with all that they share.

    Attributes:
        package: package of the model.
        warm: function that returns the package ready to run, called for the first case to run.
        folder: folder of the records.
        overwrite: run finished cases again.
        require_going: function that raises `Stopped` when the batch is to end.
        first: gate of the first pass, shared by all runners.
        made_by: package and what its preparation takes.
    """

    package: ModelPackage
    warm: Callable[[], WarmSegmenter]
    folder: Path
    overwrite: bool
    require_going: Callable[[], None]
    first: FirstAlone
    made_by: MadeBy

    def __call__(self, job: Job | UnplannedCase) -> CaseResult:
        """Keep or run a case; any failure of the case is in the result.

        Raises:
            Stopped: the batch is to end.
        """
        attempt = _Attempt(self, job)
        try:
            return attempt.keep() or attempt.run()
        except Stopped:
            raise
        except Exception as error:  # noqa: BLE001 - a bug that one case meets must not cost a night of others
            return attempt.fail(error)


class _Attempt:
    """One case in progress."""

    def __init__(self, runner: CaseRunner, job: Job | UnplannedCase) -> None:
        self._runner = runner
        self._job = job
        self._path = record_path(runner.folder, job.case)
        self._started = datetime.now(UTC)
        self._inputs = {name: input_record(path) for name, path in job.inputs.items()}
        self._earlier = read_case_record(self._path)
        self._written: dict[str, FileRecord] = {}

    def keep(self) -> CaseResult | None:
        """Return the result of an earlier run if it is still valid, else None.

        Raises:
            UsageError: an output has changed since that run.
        """
        if isinstance(self._job, UnplannedCase) or self._runner.overwrite:
            return None
        place = standing(self._earlier, self._job, self._inputs, self._runner.made_by, self._runner.folder)
        if place is Standing.CHANGED:
            raise UsageError(
                f"{self._job.outputs.mask}: an output of this case does not match its record (edited, damaged or "
                "from another run); move the outputs away, or give --overwrite"
            )
        if place is Standing.OPEN or self._earlier is None:
            return None
        return CaseResult(self._job.case, self._job.inputs, CaseOutcome.KEPT, self._earlier)

    def run(self) -> CaseResult:
        """Segment the case and write its outputs, the record last.

        Raises:
            Exception: the case has failed.
        """
        job = self._job
        if isinstance(job, UnplannedCase):
            raise job.error
        for path in job.outputs.paths():
            make_folder(path.parent)
        measures: dict[str, LabelMeasure] = {}

        def complete(run: RunRecord, mask: Mask, files: Outputs) -> None:
            self._runner.require_going()
            for label, measured in measure(mask, self._runner.package.spec.label_names()).items():
                measures[label] = replace(measured, agreement=run.member_agreement.get(label))
            for kind, name in job.outputs.files().items():
                self._written[kind] = output_record(files.files()[kind], name, self._runner.folder)
            # until the final record replaces this one, the case is open and its new outputs count as ours
            write_case_record(self._record(CaseStatus.WRITING, self._written), self._path)

        with self._runner.first.turn() as passed:

            def tick() -> None:
                passed()
                self._runner.require_going()

            self._runner.require_going()
            run = run_case(self._runner.warm(), job, tick, complete)
        record = self._record(CaseStatus.DONE, self._written, run=run, measures=measures)
        write_case_record(record, self._path)
        return CaseResult(job.case, job.inputs, CaseOutcome.NEW, record)

    def fail(self, error: Exception) -> CaseResult:
        """Record the failure; the next run tries the case again."""
        _let_go(error)
        record = self._record(CaseStatus.FAILED, self._in_place(), error=error)
        try:
            write_case_record(record, self._path)
        except BrainEdgeError as second:
            error.add_note(f"the record also failed: {second}")
            if is_disk_full(second):
                error = second
        return CaseResult(self._job.case, self._job.inputs, CaseOutcome.FAILED, record, error)

    def _in_place(self) -> dict[str, FileRecord]:
        """Return the existing outputs: those of an earlier run, or a mix where new outputs had begun to appear."""
        earlier = {} if self._earlier is None else self._earlier.outputs
        if not self._written:
            return earlier
        found = [*earlier.items(), *self._written.items()]
        return {kind: file for kind, file in found if is_as_recorded(file, self._runner.folder / file.path)}

    def _record(
        self,
        status: CaseStatus,
        outputs: Mapping[str, FileRecord],
        *,
        run: RunRecord | None = None,
        measures: Mapping[str, LabelMeasure] | None = None,
        error: Exception | None = None,
    ) -> CaseRecord:
        job = None if isinstance(self._job, UnplannedCase) else self._job
        return CaseRecord(
            case=printable(self._job.case),
            status=status,
            inputs=self._inputs,
            series=dict(job.series) if job else {},
            digest=self._runner.package.digest,
            border_mm=job.outputs.border_mm if job else 0.0,
            strict=job.outputs.strict if job else False,
            outputs=dict(outputs),
            run=run,
            measures=dict(measures or {}),
            error=_error_record(error) if error is not None else None,
            started=self._started,
            finished=datetime.now(UTC),
            rss_bytes=rss_bytes(),
            versions=_versions(),
            on=job.outputs.on if job else None,
            prepared_by=dict(self._runner.made_by.prepared_by),
        )


def is_disk_full(error: BaseException | None) -> bool:
    """Return True if an error comes from a full disk or quota, which every other case would meet too."""
    full = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
    while error is not None:
        if isinstance(error, OSError) and error.errno in full:
            return True
        error = error.__cause__
    return False


def _let_go(error: BaseException | None) -> None:
    """Clear the frames of an error, which would keep the images of its case in memory."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _error_record(error: Exception) -> ErrorRecord:
    is_ours = isinstance(error, BrainEdgeError)
    message = str(error) if is_ours else f"{type(error).__name__}: {error}"
    return ErrorRecord(
        message=printable(message),
        kind=type(error).__name__,
        exit_code=error.exit_code if isinstance(error, BrainEdgeError) else 1,
    )


def _versions() -> dict[str, str]:
    from brain_edge.runtime.session import runtime_version

    return {"brain_edge": __version__, "openvino": runtime_version(), "python": platform.python_version()}
