"""The ways to share the cores of a machine, and what is remembered of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cli_program import make_package, refused, save_phantom, succeed
from tiny_package import tiny_manifest

from brain_edge.cluster.auto import Measured, Sharing, keep, machine_of, measured, remembered, sharings
from brain_edge.errors import InputError
from brain_edge.jobs.batch import UnplannedCase
from brain_edge.machine.options import RuntimeOptions
from brain_edge.package import ModelPackage

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAIN_EDGE_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("cores", "processes"), [(1, [1, 1, 1]), (2, [1, 1, 1, 2]), (6, [1, 1, 1, 2, 3, 6]), (7, [1, 1, 1, 7])]
)
def test_processes_divide_the_cores_evenly(cores: int, processes: list[int]):
    ways = sharings(cores)
    assert [way.processes for way in ways] == processes
    assert {way.processes * way.threads for way in ways} == {cores}


def test_the_fastest_way_is_remembered_for_this_package_and_number_of_cores(tmp_path: Path):
    package, options = make_package(tmp_path / "package"), RuntimeOptions(threads=2)
    assert remembered(package, options) is None
    ways = [Sharing(1, 2, 3), Sharing(2, 1, 1)]
    known = Measured(machine=machine_of(2), digest=package.digest, sharings=ways, cases_per_s=[1.0, 1.5])
    keep(known)
    assert remembered(package, options) == known
    assert known.best == Sharing(2, 1, 1)
    assert remembered(package, RuntimeOptions(threads=1)) is None


@pytest.mark.parametrize(
    ("ways", "rates"),
    [
        ([], []),
        ([Sharing(1, 2, 3)], [1.0, 2.0]),
        ([Sharing(1, 2, 3), Sharing(2, 1, 1)], [1.0]),
        ([Sharing(2, 1, 1), Sharing(64, 2, 1)], [1.0, 2.0]),
        ([Sharing(1, -2, 3)], [1.0]),
    ],
)
def test_a_damaged_measurement_is_none(tmp_path: Path, ways: list[Sharing], rates: list[float]):
    package = ModelPackage(tmp_path, tiny_manifest())
    keep(Measured(machine=machine_of(2), digest=package.digest, sharings=ways, cases_per_s=rates))
    assert remembered(package, RuntimeOptions(threads=2)) is None


def test_auto_runs_the_remembered_way(tmp_path: Path):
    """Two processes with one thread each, whose mask is that of a run with one thread."""
    package, head = make_package(tmp_path / "package"), save_phantom(tmp_path / "head.nii.gz")
    keep(Measured(machine=machine_of(2), digest=package.digest, sharings=[Sharing(2, 1, 1)], cases_per_s=[1.0]))
    arguments = ("run", package.folder, head, "-o")
    done = succeed(*arguments, tmp_path / "out", "--threads", 2, "--at-once", "auto")
    assert "at once: 2 process(es) x 1 thread(s), 1 case(s) at once in each" in done.err
    succeed(*arguments, tmp_path / "alone.nii.gz", "--threads", 1)
    assert (tmp_path / "out" / "head_mask.nii.gz").read_bytes() == (tmp_path / "alone.nii.gz").read_bytes()


def test_a_small_batch_measures_nothing(tmp_path: Path):
    package, head = make_package(tmp_path / "package"), save_phantom(tmp_path / "head.nii.gz")
    done = succeed("run", package.folder, head, "-o", tmp_path / "out", "--threads", 1, "--at-once", "auto")
    assert "1 case(s) are too few to measure the fastest way" in done.err
    assert not (tmp_path / "cache").exists()


def test_cases_that_cannot_run_measure_nothing(tmp_path: Path):
    with pytest.raises(InputError, match="expected a case that can run, got none"):
        measured(make_package(tmp_path / "package"), [UnplannedCase("a")], RuntimeOptions(threads=1))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--at-once", "auto", "--engine", "dask"), "--engine has no effect with --at-once auto"),
        (("--scheduler", "tcp://head:8786"), "--scheduler has no effect with the engine threads"),
        (("--engine", "processes", "--scheduler", "tcp://head:8786"), "--scheduler has no effect with the engine"),
        (("--workers", 2), "--workers has no effect with the engine threads"),
        (("--engine", "dask", "--scheduler", "tcp://h:1", "--workers", 2), "--workers has no effect with --scheduler"),
    ],
)
def test_an_option_of_another_engine_is_refused(tmp_path: Path, options: tuple[object, ...], words: str):
    package, head = make_package(tmp_path / "package"), save_phantom(tmp_path / "head.nii.gz")
    assert words in refused(2, "run", package.folder, head, "-o", tmp_path / "out", *options)
