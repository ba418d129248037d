"""One case in another process: its lock, its attempts, and its answer on the way back."""

from __future__ import annotations

import errno
import pickle
from dataclasses import replace
from threading import Thread
from typing import TYPE_CHECKING

import pytest
from cli_program import make_package, save_phantom

from brain_edge.cluster.task import Answer, PassingError, Setup, absolute, run_task
from brain_edge.errors import InputError, OutputError, PackageError, UsageError
from brain_edge.jobs.batch import Batch, CaseOutcome, Shard, UnplannedCase
from brain_edge.jobs.batch.books import Books
from brain_edge.jobs.batch.case import is_disk_full
from brain_edge.jobs.batch.lock import claimed
from brain_edge.jobs.case import Job
from brain_edge.jobs.outputs import Outputs
from brain_edge.machine.options import RuntimeOptions

if TYPE_CHECKING:
    from pathlib import Path

    from brain_edge.package import ModelPackage


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> ModelPackage:
    return make_package(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def setup(package: ModelPackage, tmp_path: Path) -> Setup:
    books = Books(tmp_path / "out")
    books.open()
    return Setup.of(package, Batch(records=books.folder), RuntimeOptions(threads=1), books.staging(Shard()))


@pytest.fixture
def job(setup: Setup, tmp_path: Path) -> Job:
    head = save_phantom(tmp_path / "head.nii.gz")
    return Job({"T1": head}, Outputs(mask=setup.batch.records / "head_mask.nii.gz"), case="head")


def test_a_finished_case_is_kept_by_the_next_worker_that_is_given_it(setup: Setup, job: Job):
    """As after a scheduler that has given the case of a lost worker to another one, while the first goes on."""
    outcomes = [run_task(setup, job).unpacked().outcome for _ in range(2)]
    assert outcomes == [CaseOutcome.NEW, CaseOutcome.KEPT]


def test_a_case_that_another_worker_runs_is_waited_for(setup: Setup, job: Job):
    done: list[CaseOutcome] = []
    thread = Thread(target=lambda: done.append(run_task(setup, job).result.outcome))
    with claimed(Books(setup.batch.records), job.case):
        thread.start()
        thread.join(0.5)
        assert thread.is_alive()
    thread.join(60)
    assert done == [CaseOutcome.NEW]


def test_what_a_killed_worker_left_of_a_case_is_removed(setup: Setup, job: Job):
    setup.staging.mkdir(parents=True)
    left = setup.staging / ".partial-00000100-head_mask.nii.gz"
    other = setup.staging / ".partial-00000100-other_mask.nii.gz"
    left.touch()
    other.touch()
    run_task(setup, job)
    assert (left.exists(), other.exists()) == (False, True)


def test_an_error_of_a_shared_disk_is_tried_again(setup: Setup, tmp_path: Path):
    """ESTALE, as a network disk answers after its server has moved."""
    error = InputError("head.nii: cannot be read")
    error.__cause__ = OSError(errno.ESTALE, "stale file handle")
    with pytest.raises(PassingError) as raised:
        run_task(setup, UnplannedCase("head", {"T1": tmp_path / "head.nii"}, error))
    answer = pickle.loads(pickle.dumps(raised.value)).args[0].unpacked()  # noqa: S301 - our own bytes
    assert (answer.outcome, str(answer.error)) == (CaseOutcome.FAILED, "head.nii: cannot be read")


@pytest.mark.parametrize("error", [InputError("no head"), OutputError("no place"), ValueError("a bug")])
def test_an_error_has_its_class_and_words_on_the_other_side(setup: Setup, error: Exception):
    case = UnplannedCase("head", {}, error)  # type: ignore[arg-type]
    answer = pickle.loads(pickle.dumps(run_task(setup, case)))  # noqa: S301
    found = answer.unpacked().error
    if isinstance(error, ValueError):
        assert (type(found), str(found)) == (RuntimeError, "ValueError: a bug")
    else:
        assert (type(found), str(found)) == (type(error), str(error))


def test_a_full_disk_is_known_on_the_other_side(setup: Setup):
    result = run_task(setup, UnplannedCase("head", {}, OutputError("no place"))).result
    assert is_disk_full(Answer(result, disk_is_full=True).unpacked().error)
    assert not is_disk_full(Answer(result).unpacked().error)


def test_a_worker_with_another_program_or_package_is_refused(setup: Setup, job: Job):
    with pytest.raises(UsageError, match=r"expected brain-edge 9\.9 on each worker"):
        run_task(replace(setup, version="9.9"), job)
    with pytest.raises(PackageError, match="digest"):
        run_task(replace(setup, digest="0" * 64), job)


def test_paths_mean_the_same_in_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from pathlib import Path

    monkeypatch.chdir(tmp_path)
    case = absolute(Job({"T1": Path("head.nii")}, Outputs(mask=Path("out/mask.nii")), case="head"))
    assert isinstance(case, Job)
    assert (case.inputs["T1"], case.outputs.mask) == (tmp_path / "head.nii", tmp_path / "out" / "mask.nii")
