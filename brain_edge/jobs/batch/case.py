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
from brain_edge.errors import BrainEdgeError, InputError, UsageError
from brain_edge.jobs.batch.planning import UnplannedCase
from brain_edge.jobs.batch.resume import Standing, find, unchanged
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
    write_case_record,
)
from brain_edge.machine.atomic import make_folder
from brain_edge.machine.process import rss_bytes
from brain_edge.machine.stamp import stamp_or_none

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from brain_edge.engine.segmenter import WarmSegmenter
    from brain_edge.image.volume import Mask
    from brain_edge.jobs.batch.first_pass import FirstAlone
    from brain_edge.jobs.batch.options import Batch
    from brain_edge.jobs.batch.resume import Found, MadeBy
    from brain_edge.jobs.case import Job
    from brain_edge.jobs.outliers import LabelMeasure
    from brain_edge.jobs.outputs import Outputs
    from brain_edge.jobs.record import FileRecord, RunRecord
    from brain_edge.machine.stamp import Stamp
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
        record: record of this case.
        error: error of a failed case.
        stamp: stamp of the record on disk; None if the record is not there.
    """

    case: str
    inputs: Mapping[str, Path]
    outcome: CaseOutcome
    record: CaseRecord
    error: Exception | None = None
    stamp: Stamp | None = None


class Stopped(Exception):  # noqa: N818 - not an error: the batch is to end
    """Sign that the batch ends before this case."""


@dataclass(frozen=True)
class CaseRunner:
    """Runner of cases, with all that they share.

    Attributes:
        package: package of the model.
        warm: function that returns the package ready to run, called for the first case to run.
        batch: options of the batch.
        staging: folder of the files that are not finished.
        require_going: function that raises `Stopped` when the batch is to end.
        first: gate of the first pass, shared by all runners.
        made_by: package and what its preparation takes.
    """

    package: ModelPackage
    warm: Callable[[], WarmSegmenter]
    batch: Batch
    staging: Path
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
            attempt.look()
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
        self._path = runner.batch.record(job.case)
        self._started = datetime.now(UTC)
        self._inputs: dict[str, FileRecord] | None = None
        self._earlier: CaseRecord | None = None
        self._may_write = False
        self._written: dict[str, FileRecord] = {}
        self._stamp: Stamp | None = None

    def look(self) -> None:
        """Read the record of an earlier run.

        Raises:
            InputError: the record cannot be read.
        """
        self._earlier = read_case_record(self._path)
        self._may_write = True

    def keep(self) -> CaseResult | None:
        """Return the result of an earlier run if it is still valid, else None.

        Raises:
            UsageError: an output has changed since that run.
            InputError: an output cannot be read.
        """
        if isinstance(self._job, UnplannedCase) or self._runner.batch.overwrite:
            return None
        found = self._found(self._job)
        if found.standing is Standing.CHANGED:
            raise UsageError(
                f"{self._job.outputs.mask}: an output of this case does not match its record (edited, damaged or "
                "from another run); move the outputs away, or give --overwrite"
            )
        if found.record is None:
            return None
        if found.record is not self._earlier:  # the same content with new stamps, so that the next run need not read it
            self._write(found.record)
        else:
            self._stamp = self._stamp_now()
        return self._result(CaseOutcome.KEPT, found.record)

    def _found(self, job: Job) -> Found:
        """Return the state of a case; where a file cannot be read, its record stays as it is.

        Raises:
            InputError: an output cannot be read.
        """
        made_by, check = self._runner.made_by, self._runner.batch.check
        try:
            return find(self._earlier, job, made_by, self._path.parent, check=check)
        except (OSError, InputError) as error:
            self._may_write = False
            raise InputError(f"{job.outputs.mask}: an output cannot be read ({error}); check the share") from error

    def run(self) -> CaseResult:
        """Segment the case and write its outputs, the record last.

        Raises:
            Exception: the case has failed.
        """
        job = self._job
        if isinstance(job, UnplannedCase):
            raise job.error
        for folder in {self._path.parent, *(path.parent for path in job.outputs.paths())}:
            make_folder(folder)
        measures: dict[str, LabelMeasure] = {}
        self._inputs = _inputs_of(job)

        def complete(run: RunRecord, mask: Mask, files: Outputs) -> None:
            self._runner.require_going()
            for label, measured in measure(mask, self._runner.package.spec.label_names()).items():
                measures[label] = replace(measured, agreement=run.member_agreement.get(label))
            for kind, name in job.outputs.files().items():
                self._written[kind] = output_record(files.files()[kind], name, self._path.parent)
            # until the final record replaces this one, the case is open and its new outputs count as ours
            self._write(self._record(CaseStatus.WRITING, self._written))

        def segment(passed: Callable[[], None]) -> RunRecord:
            def tick() -> None:
                passed()
                self._runner.require_going()

            self._runner.require_going()
            return run_case(self._runner.warm(), self._staged(job), tick, complete)

        run = self._runner.first.run(segment)
        record = self._record(CaseStatus.DONE, self._written, run=run, measures=measures)
        self._write(record)
        return self._result(CaseOutcome.NEW, record)

    def fail(self, error: Exception) -> CaseResult:
        """Record the failure; the next run tries the case again.

        A record stays as it is if it, or an output of it, could not be read: the case may be finished.
        """
        _let_go(error)
        record = self._record(CaseStatus.FAILED, self._in_place(), error=error)
        self._stamp = None
        try:
            if self._may_write:
                make_folder(self._path.parent)
                self._write(record)
        except BrainEdgeError as second:
            error.add_note(f"the record also failed: {second}")
            if is_disk_full(second):
                error = second
        return self._result(CaseOutcome.FAILED, record, error)

    def _result(self, outcome: CaseOutcome, record: CaseRecord, error: Exception | None = None) -> CaseResult:
        return CaseResult(self._job.case, self._job.inputs, outcome, record, error, self._stamp)

    def _write(self, record: CaseRecord) -> None:
        write_case_record(record, self._path, self._runner.staging)
        self._stamp = self._stamp_now()

    def _stamp_now(self) -> Stamp | None:
        try:
            return stamp_or_none(self._path)
        except OSError:  # the summary then reads the record
            return None

    def _staged(self, job: Job) -> Job:
        return replace(job, outputs=replace(job.outputs, staging=self._runner.staging))

    def _in_place(self) -> dict[str, FileRecord]:
        """Return the existing outputs: those of an earlier run, or a mix where new outputs had begun to appear."""
        earlier = {} if self._earlier is None else self._earlier.outputs
        if not self._written:
            return earlier
        found = [*earlier.items(), *self._written.items()]
        return {kind: file for kind, file in found if self._is_in_place(file)}

    def _is_in_place(self, file: FileRecord) -> bool:
        """Return True if an output is as recorded, or cannot be read now: the next run looks again."""
        try:
            return unchanged(file, self._path.parent / file.path) is not None
        except (OSError, BrainEdgeError):
            return True

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
            inputs=_inputs_of(self._job) if self._inputs is None else self._inputs,
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


def _inputs_of(job: Job | UnplannedCase) -> dict[str, FileRecord]:
    return {name: input_record(path) for name, path in job.inputs.items()}


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
