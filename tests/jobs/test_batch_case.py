"""One case of a batch: what an earlier run has left of it, and what is written down where it fails."""

from __future__ import annotations

import errno
import os
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np
import pytest
from cohorts import save
from tiny_package import SPEC, make_package

from brain_edge.errors import InputError, UsageError
from brain_edge.jobs.batch.case import CaseOutcome, CaseRunner
from brain_edge.jobs.batch.first_pass import FirstAlone
from brain_edge.jobs.batch.options import Batch
from brain_edge.jobs.batch.planning import plan_batch, require_distinct
from brain_edge.jobs.batch.resume import MadeBy, Standing, find
from brain_edge.jobs.batch.row import row_of
from brain_edge.jobs.batch.summary import summarize
from brain_edge.jobs.case import Job
from brain_edge.jobs.outputs import Outputs
from brain_edge.jobs.record import CaseRecord, CaseStatus, input_record, output_record, read_case_record, record_path

DIGEST = "ab" * 32


def job_in(folder: Path, **outputs: Any) -> Job:
    """A case whose image, mask and brain are there."""
    for name in ("head", "mask", "brain"):
        (folder / f"{name}.nii").write_text(f"{name} of the patient")
    files: dict[str, Any] = {name: folder / f"{name}.nii" for name in ("mask", "brain")}
    return Job({"T1": folder / "head.nii"}, Outputs(**(files | outputs)), case="head")


def record_of(job: Job, folder: Path, **fields: Any) -> CaseRecord:
    """What a run that has finished has left."""
    known: dict[str, Any] = {
        "case": "head",
        "status": CaseStatus.DONE,
        "inputs": {name: input_record(path) for name, path in job.inputs.items()},
        "series": {},
        "digest": DIGEST,
        "border_mm": 0.0,
        "strict": False,
        "outputs": {kind: output_record(path, path, folder) for kind, path in job.outputs.files().items()},
        "run": None,
        "measures": {},
        "error": None,
        "started": datetime.now(UTC),
        "finished": datetime.now(UTC),
        "rss_bytes": None,
        "versions": {},
    }
    return CaseRecord(**(known | fields))


def found(record: CaseRecord | None, job: Job, folder: Path, digest: str = DIGEST, *, check: bool = False) -> Standing:
    return find(record, job, MadeBy(digest), folder, check=check).standing


def test_a_case_with_all_that_its_record_says_is_finished(tmp_path: Path):
    job = job_in(tmp_path)
    assert found(record_of(job, tmp_path), job, tmp_path) is Standing.FINISHED


@pytest.mark.parametrize(
    "fields",
    [{"status": CaseStatus.FAILED}, {"digest": "cd" * 32}, {"border_mm": 1.0}, {"strict": True}, {"inputs": {}}],
)
def test_a_case_that_failed_or_was_asked_for_in_another_way_is_run(tmp_path: Path, fields: dict[str, object]):
    job = job_in(tmp_path)
    assert found(record_of(job, tmp_path, **fields), job, tmp_path) is Standing.OPEN


def test_a_case_with_another_image_a_missing_one_or_a_missing_output_is_run(tmp_path: Path):
    job = job_in(tmp_path)
    record = record_of(job, tmp_path)
    (tmp_path / "brain.nii").unlink()
    assert found(record, job, tmp_path) is Standing.OPEN
    record = record_of(job_in(tmp_path), tmp_path)
    (tmp_path / "head.nii").write_text("head of the patienT")
    assert found(record, job, tmp_path) is Standing.OPEN
    (tmp_path / "head.nii").unlink()
    unread = record_of(job, tmp_path)
    assert unread.inputs["T1"].sha256 is None
    assert found(unread, job, tmp_path) is Standing.OPEN, "two images that cannot be read are not one image"


def test_a_case_whose_image_cannot_be_read_any_more_is_run(tmp_path: Path):
    """A folder in its place, of the recorded size: a user of all rights cannot read a folder either."""
    job, image = job_in(tmp_path), tmp_path / "head.nii"
    record = record_of(job, tmp_path)
    image.unlink()
    image.mkdir()
    of_its_size = msgspec.structs.replace(record.inputs["T1"], size_bytes=image.stat().st_size)
    record = msgspec.structs.replace(record, inputs={"T1": of_its_size})
    assert found(record, job, tmp_path) is Standing.OPEN


def test_an_output_that_is_not_what_was_written_is_somebodys(tmp_path: Path):
    """Of the same length, so that the length does not tell; and one that no record knows."""
    job = job_in(tmp_path)
    record = record_of(job, tmp_path)
    (tmp_path / "mask.nii").write_text("mask of the patienT")
    assert found(record, job, tmp_path) is Standing.CHANGED
    assert found(None, job, tmp_path) is Standing.CHANGED


def settled(job: Job) -> Job:
    """The case with files that nobody has written just now, so that their stamps are kept."""
    for path in (*job.inputs.values(), *job.outputs.paths()):
        os.utime(path, ns=(10**18, 10**18 + 7))
    return job


def test_files_with_their_stamps_are_not_read(tmp_path: Path):
    """Their content is another than the record says, which only `--check` finds."""
    job = settled(job_in(tmp_path))
    whole = record_of(job, tmp_path)
    assert whole.inputs["T1"].inode == (tmp_path / "head.nii").stat().st_ino
    for kind, standing in (("inputs", Standing.OPEN), ("outputs", Standing.CHANGED)):
        files = {name: msgspec.structs.replace(file, sha256=DIGEST) for name, file in getattr(whole, kind).items()}
        record = msgspec.structs.replace(whole, **{kind: files})
        assert found(record, job, tmp_path) is Standing.FINISHED
        assert found(record, job, tmp_path, check=True) is standing
    assert found(whole, job, tmp_path, check=True) is Standing.FINISHED


def test_a_file_with_another_inode_or_time_is_read_again(tmp_path: Path):
    """Of the same size and, where another file has taken its place, even of the same time."""
    job = settled(job_in(tmp_path))
    record, head = record_of(job, tmp_path), tmp_path / "head.nii"
    (tmp_path / "new.nii").write_text("head of the patienT")
    shutil.copystat(head, tmp_path / "new.nii")
    (tmp_path / "new.nii").replace(head)
    assert head.stat().st_mtime_ns == record.inputs["T1"].mtime_ns
    assert found(record, job, tmp_path) is Standing.OPEN
    head.write_text("head of the patient")
    os.utime(head, ns=(0, 0))
    assert found(record, job, tmp_path) is Standing.FINISHED


@pytest.mark.parametrize("mtime_ns", [0, 10**9, 4 * 10**18 + 1])
def test_a_clock_that_jumps_makes_no_case_finished_or_open(tmp_path: Path, mtime_ns: int):
    """The files seem to be of 1970 or of 2096: only that the times differ counts, and then the content decides."""
    job = settled(job_in(tmp_path))
    record = record_of(job, tmp_path)
    for path in (*job.inputs.values(), *job.outputs.paths()):
        os.utime(path, ns=(mtime_ns, mtime_ns))
    now = find(record, job, MadeBy(DIGEST), tmp_path)
    assert now.standing is Standing.FINISHED
    assert now.record is not None
    assert {file.mtime_ns for file in (*now.record.inputs.values(), *now.record.outputs.values())} == {mtime_ns}
    (tmp_path / "head.nii").write_text("head of the patienT")
    os.utime(tmp_path / "head.nii", ns=(mtime_ns, mtime_ns))
    assert found(record, job, tmp_path) is Standing.OPEN


def test_a_file_that_was_changed_just_now_has_no_stamp(tmp_path: Path):
    """It may change again within the same tick, which is long where times are whole seconds."""
    path, now = tmp_path / "head.nii", time.time_ns()
    path.write_text("head of the patient")
    for mtime_ns, is_stamped in ((now, False), (now // 10**9 * 10**9, False), (now - 10 * 10**9, True)):
        os.utime(path, ns=(mtime_ns, mtime_ns))
        assert (input_record(path).mtime_ns == mtime_ns) is is_stamped


def test_a_record_that_cannot_be_read_fails_its_case_and_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A share that has lost the file for a moment: the finished case is not forgotten."""
    package, job = make_package(tmp_path / "package"), job_in(tmp_path)
    path = record_path(tmp_path, "head")
    path.write_bytes(msgspec.json.encode(record_of(job, tmp_path, digest=package.digest)))
    content, stale = path.read_bytes(), [errno.ESTALE] * 2

    def open_stale(self: Path, *arguments: Any, **options: Any) -> IO[Any]:
        if self == path and stale:
            raise OSError(stale.pop(), "Stale file handle")
        return open(self, *arguments, **options)  # noqa: PTH123 - this is what replaces `Path.open`

    def warm():
        raise AssertionError("nothing is to run")

    monkeypatch.setattr(Path, "open", open_stale)
    runner = CaseRunner(
        package, warm, Batch(records=tmp_path), tmp_path, lambda: None, FirstAlone(), MadeBy(package.digest)
    )
    result = runner(job)
    assert (result.outcome, result.stamp) == (CaseOutcome.FAILED, None)
    assert "head_record.json: the record cannot be read (Stale file handle); check the share" in str(result.error)
    assert path.read_bytes() == content
    stale.append(errno.ESTALE)
    assert runner(job).outcome is CaseOutcome.KEPT, "a file that was replaced on the server is read by its name again"


def test_an_output_that_cannot_be_examined_fails_its_case_and_its_record_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    package, job = make_package(tmp_path / "package"), job_in(tmp_path)
    path = record_path(tmp_path, "head")
    path.write_bytes(msgspec.json.encode(record_of(job, tmp_path, digest=package.digest)))
    content, examine = path.read_bytes(), os.stat

    def stale(examined: Any, *arguments: Any, **options: Any) -> os.stat_result:
        if str(examined).endswith("brain.nii"):
            raise OSError(errno.ESTALE, "Stale file handle")
        return examine(examined, *arguments, **options)

    def warm():
        raise AssertionError("nothing is to run")

    made_by = MadeBy(package.digest)
    runner = CaseRunner(package, warm, Batch(records=tmp_path), tmp_path, lambda: None, FirstAlone(), made_by)
    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", stale)
        result = runner(job)
    assert result.outcome is CaseOutcome.FAILED
    assert "mask.nii: an output cannot be read ([Errno 116] Stale file handle); check the share" in str(result.error)
    assert path.read_bytes() == content
    assert runner(job).outcome is CaseOutcome.KEPT


@pytest.mark.parametrize(
    ("error", "kind", "exit_code"), [(InputError("no image"), "InputError", 3), (ValueError("a bug"), "ValueError", 1)]
)
def test_whatever_is_wrong_with_a_case_is_in_its_record_and_ends_nothing(
    tmp_path: Path, error: Exception, kind: str, exit_code: int
):
    def broken():
        raise error

    folder = tmp_path / "out"
    folder.mkdir()
    job = Job({"T1": save(tmp_path / "head.nii.gz", np.ones((4, 5, 6)))}, Outputs(mask=folder / "m.nii"), case="head")
    package = make_package(tmp_path / "package")
    made_by = MadeBy(package.digest)
    result = CaseRunner(package, broken, Batch(records=folder), folder, lambda: None, FirstAlone(), made_by)(job)
    assert (result.outcome, result.error) == (CaseOutcome.FAILED, error)
    record = read_case_record(record_path(folder, "head"))
    assert record is not None
    assert record.error is not None
    assert (record.status, record.error.kind, record.error.exit_code) == (CaseStatus.FAILED, kind, exit_code)


def test_a_finished_case_is_kept_unless_it_is_to_be_run_again(tmp_path: Path):
    package, job = make_package(tmp_path / "package"), job_in(tmp_path)
    record = record_of(job, tmp_path, digest=package.digest)
    record_path(tmp_path, "head").write_bytes(msgspec.json.encode(record))

    def outcome(*, overwrite: bool) -> CaseOutcome:
        def warm():
            raise InputError("was asked for")

        batch = Batch(records=tmp_path, overwrite=overwrite)
        runner = CaseRunner(package, warm, batch, tmp_path, lambda: None, FirstAlone(), MadeBy(package.digest))
        return runner(job).outcome

    assert outcome(overwrite=False) is CaseOutcome.KEPT
    assert outcome(overwrite=True) is CaseOutcome.FAILED


def test_a_case_that_fails_now_shows_no_mask_of_an_earlier_run_in_the_table(tmp_path: Path):
    job = job_in(tmp_path)
    failed = record_of(job, tmp_path, status=CaseStatus.FAILED)
    made = summarize(
        [row_of(each) for each in (failed, msgspec.structs.replace(failed, case="other", digest="cd" * 32))]
    )
    assert [row.mask for row in made.rows] == [None, None]
    assert (made.cases, made.done, made.failed, made.digest) == (2, 0, 2, None)


@pytest.mark.parametrize("names", [("Head", "head"), ("caf\u00e9", "cafe\u0301")])
def test_masks_whose_names_are_one_on_other_systems_are_refused(tmp_path: Path, names: tuple[str, str]):
    images = [save(tmp_path / str(place) / f"{name}.nii.gz", np.ones((4, 5, 6))) for place, name in enumerate(names)]
    batch = Batch(records=tmp_path / "out")
    cases = plan_batch([(None, image) for image in images], SPEC, Outputs(mask=tmp_path / "out"), batch)
    with pytest.raises(UsageError, match=r"would both write .*; use two output folders"):
        require_distinct(cases, batch)
