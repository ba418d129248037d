"""Cases as tasks of Dask: workers, a scheduler and disks that end in the middle of a batch."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from cli_program import refused
from cluster_batch import HEADS, child_environment, finished, make_heads, masks_in, require_whole
from slurm_cluster import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cluster_batch import Heads

pytest.importorskip("distributed", reason="needs Dask: pip install 'brain-edge[dask]'")

pytestmark = pytest.mark.full
"""Real clusters of several processes, minutes each: `make scale`."""


@pytest.fixture(scope="module")
def heads(tmp_path_factory) -> Heads:
    return make_heads(tmp_path_factory.mktemp("heads"))


@contextmanager
def daemon(name: str, *arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    """A scheduler or a worker of Dask; it ends with the block, with all processes below it."""
    command = [sys.executable, "-m", f"distributed.cli.dask_{name}", *map(str, arguments)]
    with subprocess.Popen(command, env=child_environment(), stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            for each in [*below(process), process]:
                each.kill()


@contextmanager
def scheduler(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A scheduler on a free port, and its address."""
    told = folder / "scheduler.json"
    told.unlink(missing_ok=True)
    with daemon("scheduler", "--host", "127.0.0.1", "--port", 0, "--no-dashboard", "--scheduler-file", told) as process:
        # the file is there before it is whole
        until(lambda: told.exists() and told.read_text(encoding="utf-8").endswith("}"), "the scheduler has an address")
        yield process, json.loads(told.read_text(encoding="utf-8"))["address"]


def below(process: subprocess.Popen[Any]) -> list[psutil.Process]:
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def workers_of(nanny: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The processes that run cases, below the one that watches them."""
    return [each for each in below(nanny) if "spawn_main" in " ".join(each.cmdline())]


def begin(heads: Heads, out: Path, *options: object) -> subprocess.Popen[str]:
    command = heads.run(out, "--engine", "dask", *options)
    return subprocess.Popen(command, env=child_environment(), stdout=-1, stderr=-1, text=True)


def test_a_batch_on_two_workers_of_this_machine_is_that_of_a_serial_run(heads: Heads, tmp_path: Path):
    run = begin(heads, tmp_path / "out", "--workers", 2)
    out, err = run.communicate(timeout=300)
    assert run.returncode == 0, err
    assert "dashboard: http://127.0.0.1:" in err
    assert len(out.splitlines()) == HEADS
    assert masks_in(tmp_path / "out") == heads.masks
    require_whole(tmp_path / "out", heads)


def test_killed_workers_and_a_killed_scheduler_cost_no_finished_case(heads: Heads, tmp_path: Path):
    out = tmp_path / "out"
    with scheduler(tmp_path) as (master, address):
        workers = ["--nworkers", 1, "--nthreads", 1, "--no-dashboard"]
        with daemon("worker", address, *workers) as first, daemon("worker", address, *workers) as second:
            until(lambda: bool(workers_of(first)) and bool(workers_of(second)), "both workers are there", 120)
            run = begin(heads, out, "--scheduler", address)
            until(lambda: bool(finished(out)) or run.poll() is not None, "a case has ended", 120)
            workers_of(first)[0].kill()
            until(lambda: len(finished(out)) >= HEADS // 2 or run.poll() is not None, "half has ended", 120)
            master.kill()
            _, err = run.communicate(timeout=120)
            assert run.returncode == 6, err
            assert "the scheduler of Dask was lost" in err
    require_whole(out, heads)
    before = finished(out)
    again = begin(heads, out, "--workers", 2)
    said, err = again.communicate(timeout=300)
    assert again.returncode == 0, err
    assert f"{len(before)} of {HEADS} cases were already finished" in said
    assert masks_in(out) == heads.masks
    assert before.items() <= finished(out).items()


def test_a_process_of_a_killed_batch_ends_with_it(heads: Heads, tmp_path: Path):
    run = begin(heads, tmp_path / "out", "--workers", 2)
    until(lambda: bool(finished(tmp_path / "out")) or run.poll() is not None, "a case has ended", 120)
    children = below(run)
    run.send_signal(signal.SIGKILL)
    run.communicate(timeout=30)
    until(lambda: not any(each.is_running() and each.status() != "zombie" for each in children), "all have ended", 60)
    require_whole(tmp_path / "out", heads)


def test_a_full_disk_ends_the_batch(heads: Heads, small_disk: Path):
    run = begin(heads, small_disk / "out", "--workers", 2)
    _, err = run.communicate(timeout=300)
    assert run.returncode == 6, err
    assert "the disk or quota is full: " in err
    require_whole(small_disk / "out", heads)


def test_an_address_without_a_scheduler_is_refused(heads: Heads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("brain_edge.cluster.dask.PATIENCE_S", 1)
    arguments = [*heads.run(tmp_path / "out", "--engine", "dask", "--scheduler", "tcp://127.0.0.1:9")[3:]]
    assert "expected a scheduler of Dask with a worker, got none" in refused(6, *arguments)
