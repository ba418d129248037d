"""The lanes of a batch: what ends it, and what does not."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
from tiny_package import make_package

from brain_edge.errors import BatchError, InputError, OutputError, UsageError
from brain_edge.jobs.batch.case import CaseOutcome, CaseResult, is_disk_full
from brain_edge.jobs.batch.engine import _Lanes, _until_full, run_batch
from brain_edge.jobs.batch.options import Batch
from brain_edge.jobs.batch.planning import UnplannedCase
from brain_edge.jobs.batch.shard import Shard
from brain_edge.jobs.case import Job
from brain_edge.jobs.outputs import Outputs


def ended(case: str, error: Exception | None = None) -> CaseResult:
    """What became of a case; its record is of no interest here."""
    record: Any = None
    return CaseResult(case, {}, CaseOutcome.FAILED if error else CaseOutcome.NEW, record, error)


FULL = OSError(errno.ENOSPC, "no space left on device")


def test_a_full_disk_ends_a_batch_that_is_not_over():
    results = _until_full(iter([ended("a"), ended("b", FULL), ended("c")]), 3)
    assert [next(results).case, next(results).case] == ["a", "b"]
    with pytest.raises(BatchError, match="disk or quota is full: 1 of 3 cases were not tried"):
        next(results)


def test_a_disk_that_is_full_with_the_last_case_is_told_too():
    results = _until_full(iter([ended("a"), ended("b", FULL)]), 2)
    assert [next(results).case, next(results).case] == ["a", "b"]
    with pytest.raises(BatchError, match="disk or quota is full: 0 of 2 cases were not tried"):
        next(results)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), MemoryError()])
def test_what_is_not_an_error_of_a_case_ends_the_batch(error: BaseException):
    def broken(_job):
        raise error

    runner: Any = broken
    lanes = _Lanes(lambda _require_going: runner, [UnplannedCase("a")])
    lanes.work()
    with pytest.raises(type(error)):
        next(lanes.results())


def test_two_cases_whose_names_differ_by_case_alone_are_refused_before_anything_is_written(tmp_path: Path):
    """On Windows and macOS they would have one record and one mask."""
    cases = [UnplannedCase(name, error=InputError("missing")) for name in ("head", "Head")]
    with pytest.raises(UsageError, match=r"would both write .*Head_record\.json; use two output folders"):
        next(run_batch(make_package(tmp_path / "package"), cases, Batch(records=tmp_path / "out")))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["", "../head", "a/b", "a\\b", ".head"])
def test_a_case_is_called_what_can_be_part_of_a_file_name(tmp_path: Path, name: str):
    with pytest.raises(UsageError, match="expected a case name that can be part of a file name"):
        next(run_batch(make_package(tmp_path / "package"), [UnplannedCase(name)], Batch(records=tmp_path / "out")))


def test_two_cases_that_would_write_one_file_are_refused(tmp_path: Path):
    jobs = [Job({"T1": tmp_path / f"{name}.nii"}, Outputs(mask=tmp_path / "mask.nii"), case=name) for name in "ab"]
    with pytest.raises(UsageError, match=r"would both write .*mask\.nii; use two output folders"):
        next(run_batch(make_package(tmp_path / "package"), jobs, Batch(records=tmp_path / "out")))


def test_the_parts_of_a_batch_share_its_cases(tmp_path: Path):
    cases = [UnplannedCase(f"case{number}") for number in range(20)]
    parts = [Batch(records=tmp_path, shard=Shard(number, 3)).share(cases) for number in (1, 2, 3)]
    assert sorted(case.case for part in parts for case in part) == sorted(case.case for case in cases)
    assert all(parts)


def test_at_least_one_case_is_on_its_way():
    with pytest.raises(UsageError, match="expected at least 1 case at once, got 0"):
        Batch(records=Path("out"), at_once=0)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_or_quota_is_found_among_the_causes_of_an_error(number: int):
    error = OutputError("the mask could not be written")
    error.__cause__ = OSError(number, "full")
    assert is_disk_full(error)
    error.__cause__ = OSError(errno.EACCES, "denied")
    assert not is_disk_full(error)
    assert not is_disk_full(None)
