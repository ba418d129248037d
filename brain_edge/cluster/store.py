"""Images and results in an object store, such as S3, through fsspec.

Each case has a local folder while it runs: its images are fetched, and its results are sent, the record last. A store
shows an object complete or not at all. The clock of the store alone decides whether a finished case is kept.

A path keeps the address of an object: `Path("s3://bucket/head.nii.gz")` is `s3:/bucket/head.nii.gz`.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import structs

from brain_edge.errors import BrainEdgeError, InputError, OutputError, UsageError, extra_needed
from brain_edge.io.inputs import is_image_name, is_mask_name
from brain_edge.jobs.batch import CaseOutcome, CaseResult, UnplannedCase, run_batch
from brain_edge.jobs.batch.engine import threads_of_this_process
from brain_edge.jobs.batch.summary import USUAL
from brain_edge.jobs.record import CaseRecord, CaseStatus, relative_path, write_case_record
from brain_edge.machine.atomic import make_folder
from brain_edge.machine.json import decode_json
from brain_edge.machine.paths import in_store

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from datetime import datetime

    from brain_edge.jobs.batch import Batch
    from brain_edge.jobs.case import Job, NamedInput
    from brain_edge.machine.options import RuntimeOptions
    from brain_edge.package import ModelPackage

_ADDRESS: Final = re.compile(r"([a-z][a-z0-9+]+):/+(.+)", re.DOTALL)
"""Address as a path; a drive of Windows has one letter."""


def address(path: Path) -> str | None:
    """Return the address of an object that a path keeps, or None for a local path."""
    found = _ADDRESS.fullmatch(path.as_posix())
    return None if found is None else f"{found[1]}://{found[2]}"


class Store:
    """Objects of a store by their addresses.

    Args:
        example: address of any object or folder in the store.

    Raises:
        MissingExtraError: fsspec or the library of the protocol is not installed.
        UsageError: there is no such protocol.
    """

    def __init__(self, example: str) -> None:
        protocol = example.partition("://")[0]
        with extra_needed(f"{protocol}://", "fsspec with the library of this protocol", "store"):
            import fsspec

            try:
                self._files = fsspec.filesystem(protocol, use_listings_cache=False)
            except ValueError as error:
                raise UsageError(f"{example}: expected a protocol such as s3://, got {protocol}; correct it") from error

    def images(self, folder: str) -> list[str]:
        """Return the addresses of the images in a folder, without masks, sorted.

        Raises:
            InputError: the folder cannot be listed.
        """
        try:
            names = self._files.ls(folder, detail=False)
        except Exception as error:
            raise InputError(f"{folder}: the folder cannot be listed ({_reason(error)}); check the address") from error
        found = [str(name) for name in names]
        images = [name for name in found if is_image_name(_last(name)) and not is_mask_name(_last(name))]
        return sorted(self._files.unstrip_protocol(name) for name in images)

    def fetch(self, name: str, place: Path) -> None:
        """Copy an object to a local file.

        Raises:
            InputError: the object cannot be read.
        """
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._files.get_file(name, str(place))
        except Exception as error:
            raise InputError(f"{name}: cannot be read ({_reason(error)}); check the address and the rights") from error

    def send(self, place: Path, name: str) -> None:
        """Copy a local file to an object, which appears complete or not at all.

        Raises:
            OutputError: the object cannot be written.
        """
        try:
            self._files.put_file(str(place), name)
        except Exception as error:
            raise OutputError(
                f"{name}: could not be written ({_reason(error)}); check the address and the rights"
            ) from error

    def stamp(self, name: str) -> tuple[int, datetime] | None:
        """Return size in bytes and time of the last change by the clock of the store; None without the object."""
        try:
            found = self._files.info(name)
            return int(found["size"]), self._files.modified(name)
        except FileNotFoundError:
            return None

    def record(self, name: str) -> CaseRecord | None:
        """Return the record at an address; None if it is missing, damaged or of another format."""
        try:
            return decode_json(self._files.cat_file(name), CaseRecord)
        except (FileNotFoundError, InputError, msgspec.DecodeError):
            return None


def found_in_stores(given: Sequence[NamedInput]) -> list[NamedInput]:
    """Replace each folder of a store by the images in it.

    Raises:
        InputError: a folder has no image, or cannot be listed.
        MissingExtraError: fsspec or the library of the protocol is not installed.
    """
    return [each for name, path in given for each in _found(name, path)]


def _found(name: str | None, path: Path) -> Iterator[NamedInput]:
    where = address(path)
    if where is None or is_image_name(path.name):
        yield name, path
        return
    images = Store(where).images(where)
    if not images:
        raise InputError(f"{where}: expected a folder with images, found none; give another address")
    yield from ((name, Path(image)) for image in images)


def run_with_stores(
    package: ModelPackage, cases: Sequence[Job | UnplannedCase], batch: Batch, options: RuntimeOptions
) -> Generator[CaseResult]:
    """Run a batch whose images or results lie in a store, as `run_batch` runs a local one; see `run_batch`.

    A store has no locks: two runs on one folder of results are not noticed, and do the same work twice.

    Raises:
        UsageError: the batch has an engine of several processes.
        MissingExtraError: fsspec or the library of the protocol is not installed.
    """
    if batch.engine is not None:
        raise UsageError("expected local folders for --engine and --at-once auto, got an address of a store; remove it")
    with tempfile.TemporaryDirectory() as folder:
        out = address(batch.records)
        stage = Staging(package, batch, Path(folder).resolve())
        local = replace(stage.here, engine=partial(threads_of_this_process, wrap=partial(Staged, stage)))
        with closing(run_batch(package, [stage.local(case) for case in cases], local, options)) as results:
            yield from results
        if out is not None:
            for name in (f"summary.{suffix}" for suffix in USUAL):
                Store(out).send(local.records / name, f"{out}/{name}")


@dataclass(frozen=True)
class Staging:
    """Local places of a batch.

    Attributes:
        package: package of the model.
        batch: options of the batch, with its results in the store.
        folder: temporary folder of this machine.
    """

    package: ModelPackage
    batch: Batch
    folder: Path

    @property
    def here(self) -> Batch:
        """The batch with its records on this machine."""
        return replace(self.batch, records=self.folder / "records") if in_store(self.batch.records) else self.batch

    def local(self, case: Job | UnplannedCase) -> Job | UnplannedCase:
        """Return the case with a local place for each object; the addresses follow from the places."""
        if isinstance(case, UnplannedCase):
            return case
        inputs = {name: self._place("in", case.case, path) for name, path in case.inputs.items()}
        named: dict[str, Any] = {
            kind: self._place("out", case.case, path) for kind, path in case.outputs.files().items()
        }
        return replace(case, inputs=inputs, outputs=replace(case.outputs, **named))

    def _place(self, kind: str, case: str, path: Path) -> Path:
        where = address(path)
        return path if where is None else self.folder / kind / case / where.replace("://", "/", 1)

    def remote(self, place: Path) -> str | None:
        """Return the address of the object at a local place; None for a file that has no object."""
        if not {self.folder / "in", self.folder / "out"} & {*place.parents}:
            return None
        _kind, _case, protocol, *rest = place.relative_to(self.folder).parts
        return f"{protocol}://{'/'.join(rest)}"


class Staged:
    """Runner of cases that fetches their images and sends their results."""

    def __init__(self, stage: Staging, runner: Callable[[Job | UnplannedCase], CaseResult]) -> None:
        self._stage, self._runner = stage, runner

    def __call__(self, job: Job | UnplannedCase) -> CaseResult:
        """Keep or run a case; any failure of the case is in the result."""
        if isinstance(job, UnplannedCase):
            return self._sent(job, self._runner(job))
        try:
            kept = self._kept(job)
            if kept is None:
                self._fetch(job)
        except BrainEdgeError as error:
            return self._sent(job, self._runner(UnplannedCase(job.case, job.inputs, error)))
        if kept is not None:
            place = self._stage.here.record(job.case)
            make_folder(place.parent)
            write_case_record(kept.record, place)
            return kept
        result = self._runner(job)
        try:
            if result.error is None:
                self._send(job)
            return self._sent(job, result)
        except BrainEdgeError as error:
            return replace(result, outcome=CaseOutcome.FAILED, error=error)
        finally:
            for kind in ("in", "out"):
                shutil.rmtree(self._stage.folder / kind / job.case, ignore_errors=True)

    def _kept(self, job: Job) -> CaseResult | None:
        """Return the result of an earlier run that is still valid, else None.

        Raises:
            UsageError: an output is newer than its record.
        """
        name = self._record_name(job)
        if name is None or self._stage.batch.overwrite:
            return None
        store = Store(name)
        record, written = store.record(name), store.stamp(name)
        outputs = {kind: self._stage.remote(path) for kind, path in job.outputs.files().items()}
        stamps = {kind: store.stamp(where) for kind, where in outputs.items() if where is not None}
        changed = [kind for kind, stamp in stamps.items() if stamp and (written is None or stamp[1] > written[1])]
        if changed:
            raise UsageError(
                f"{outputs[changed[0]]}: this output is newer than its record (edited, or of another program); move "
                "it away, or give --overwrite"
            )
        if record is None or written is None or not self._asks_the_same(record, job):
            return None
        is_whole = all(stamp and stamp[0] == _size(record, kind) for kind, stamp in stamps.items())
        same = all(self._is_older(path, record, sequence, written[1]) for sequence, path in job.inputs.items())
        return CaseResult(job.case, job.inputs, CaseOutcome.KEPT, record) if is_whole and same else None

    def _asks_the_same(self, record: CaseRecord, job: Job) -> bool:
        return (
            record.status is CaseStatus.DONE
            and record.digest == self._stage.package.digest
            and (record.border_mm, record.strict) == (job.outputs.border_mm, job.outputs.strict)
            and record.inputs.keys() == job.inputs.keys()
        )

    def _is_older(self, path: Path, record: CaseRecord, sequence: str, written: datetime) -> bool:
        """Return True if an image has the size that its record states, and no later date than the record."""
        where = self._stage.remote(path)
        stamp = None if where is None else Store(where).stamp(where)
        return stamp is not None and stamp[0] == record.inputs[sequence].size_bytes and stamp[1] <= written

    def _fetch(self, job: Job) -> None:
        for path in job.inputs.values():
            where = self._stage.remote(path)
            if where is not None:
                Store(where).fetch(where, path)

    def _send(self, job: Job) -> None:
        for path in job.outputs.paths():
            where = self._stage.remote(path)
            if where is not None:
                Store(where).send(path, where)

    def _sent(self, job: Job | UnplannedCase, result: CaseResult) -> CaseResult:
        """Write the record again, with addresses in place of local files, and send it after all outputs."""
        name, record = self._record_name(job), self._addressed(result.record, self._stage.batch.record(job.case))
        place = self._stage.here.record(job.case)
        write_case_record(record, place)
        if name is not None:
            Store(name).send(place, name)
        return replace(result, record=record, stamp=None)  # the stamp was that of the record before

    def _addressed(self, record: CaseRecord, place: Path) -> CaseRecord:
        """Return a record with the addresses of its images, and its outputs relative to its own place in the store."""
        inputs = {name: structs.replace(file, path=self._named(file.path)) for name, file in record.inputs.items()}
        here = self._stage.here.record(record.case).parent
        outputs = {
            kind: structs.replace(file, path=relative_path(self._target(here / file.path), place.parent))
            for kind, file in record.outputs.items()
        }
        run = record.run
        if run is not None:
            named = {name: self._named(path) for name, path in run.inputs.items()}
            run = structs.replace(run, inputs=named, mask=self._named(run.mask))
        return structs.replace(record, inputs=inputs, outputs=outputs, run=run)

    def _named(self, text: str) -> str:
        """Return the address of a local file as text; any other path stays."""
        return self._stage.remote(Path(text)) or text

    def _target(self, place: Path) -> Path:
        where = self._stage.remote(Path(os.path.normpath(place)))
        return place if where is None else Path(where)

    def _record_name(self, job: Job | UnplannedCase) -> str | None:
        return address(self._stage.batch.record(job.case))


def _size(record: CaseRecord, kind: str) -> int | None:
    file = record.outputs.get(kind)
    return None if file is None else file.size_bytes


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _reason(error: Exception) -> Any:
    return str(error) or type(error).__name__
