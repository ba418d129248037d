"""A quantisation that is killed outright, as the system does it: nothing runs on, and the next one ends the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import msgspec
import psutil
import pytest
from cli_program import child_command, refused
from outlier_package import phantom_cohort
from tiny_package import make_package

from brain_edge.bench.child import INTERRUPTED
from brain_edge.evaluation.cohort import Split
from brain_edge.machine.isa import newest_is_avx2
from brain_edge.machine.options import RuntimeOptions
from brain_edge.package import open_package
from brain_edge_conversion.budget import isa
from brain_edge_conversion.budget.work_folder import draft_folder, scratch_folder, work_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SPLITS = (Split.CALIBRATION, Split.VALIDATION, Split.TEST)
SOON_S = 60


def until(holds: Callable[[], bool]) -> None:
    """Wait for something that another process does."""
    end = time.monotonic() + SOON_S
    while not holds():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def test_a_measurement_ends_when_its_parent_is_gone(tmp_path: Path):
    """The end of its stdin is all that a child sees of that."""
    package = make_package(tmp_path / "fp32")
    cohort = phantom_cohort(tmp_path, SPLITS)
    job = isa.make_job(package, cohort.cases(), tmp_path, {}, RuntimeOptions(threads=1))
    command = [sys.executable, "-m", isa.MODULE]
    done = subprocess.run(command, input=msgspec.json.encode(job) + b"\n", capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (INTERRUPTED, b"")


def test_what_a_killed_process_has_left_is_removed_by_the_next_one(tmp_path: Path):
    target = tmp_path / "int8"
    for left in (work_folder(target) / "scratch", draft_folder(target)):
        left.mkdir(parents=True)
        (left / "voxels.npy").write_bytes(b"of a patient")
    with scratch_folder(target) as scratch:
        assert list(scratch.iterdir()) == []
        assert not draft_folder(target).exists()
    assert list(tmp_path.iterdir()) == []


def test_two_processes_do_not_work_on_one_package(tmp_path: Path):
    package = make_package(tmp_path / "fp32").folder
    cohort = phantom_cohort(tmp_path, SPLITS).path
    arguments = ("quantize", package, "--calibration", cohort, "-o", tmp_path / "int8", "--max-dice-drop", "0.1")
    with scratch_folder(tmp_path / "int8"):
        said = refused(1, *arguments)
    assert "another process is working on this folder; wait for it, or name another folder with -o" in said
    assert not (tmp_path / "int8").exists()


# --- a real network, killed at real points

KILLED_AT = {"in the first trial": "trial 1", "while the child measures": "measuring again with AVX2"}
MEASURED_ONCE = pytest.mark.skipif(
    newest_is_avx2(), reason="the newest instructions are AVX2: nothing is measured again"
)


def quantise(folder: Path) -> tuple[str, ...]:
    target = ("-o", str(folder / "int8"), "--threads", "2")
    return ("quantize", str(folder.parent / "fp32"), "--max-dice-drop", "0.01", "--calibration", "mni152", *target)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("killed")
    (folder / "whole").mkdir()
    fetch = ("cohort", "fetch", "mni152")
    for arguments in (fetch, ("convert", "deepbet", "-o", str(folder / "fp32")), quantise(folder / "whole")):
        subprocess.run(child_command(*arguments), check=True, stdout=subprocess.DEVNULL)
    return folder


@pytest.mark.full
@pytest.mark.network
@pytest.mark.parametrize(
    "point", [pytest.param(point, marks=[MEASURED_ONCE] if "child" in point else []) for point in KILLED_AT]
)
def test_deepbet_killed_and_started_again_is_the_same_package(point: str, uninterrupted: Path):
    folder = uninterrupted / point.replace(" ", "-")
    folder.mkdir()
    children = _kill(quantise(folder), KILLED_AT[point])
    until(lambda: not any(map(psutil.pid_exists, children)))
    assert (len(children) == 1) is ("child" in point)
    assert not (folder / "int8").exists()
    subprocess.run(child_command(*quantise(folder)), check=True, stdout=subprocess.DEVNULL)
    assert [path.name for path in folder.iterdir() if path.is_dir()] == ["int8"]
    assert _contents(folder / "int8") == _contents(uninterrupted / "whole/int8")
    assert open_package(folder / "int8").digest == open_package(uninterrupted / "whole/int8").digest


def _kill(arguments: tuple[str, ...], line: str) -> list[int]:
    """Start, wait for a line on stderr, give it time to be at work, and kill; the children that it had."""
    with subprocess.Popen(child_command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert any(said.decode(errors="replace").startswith(line) for said in process.stderr)
        killed = psutil.Process(process.pid)
        if "measuring" in line:
            until(lambda: bool(killed.children()))
        time.sleep(2)
        children = [child.pid for child in killed.children()]
        os.kill(process.pid, signal.SIGKILL)
    return children


def _contents(package: Path) -> dict[str, bytes]:
    return {path.relative_to(package).as_posix(): path.read_bytes() for path in package.rglob("*") if path.is_file()}
