"""A script for Slurm, and a real Slurm that runs it through every way in which a task can end early."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from cli_program import brain_edge, make_package, refused, save_phantom, succeed
from cluster_batch import HEADS, finished, make_heads, masks_in, require_whole
from slurm_cluster import kill, require_slurm, running_slurm, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cluster_batch import Heads
    from slurm_cluster import Slurm

TASKS = 3


@pytest.fixture(scope="module")
def heads(tmp_path_factory) -> Heads:
    return make_heads(tmp_path_factory.mktemp("heads"))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Slurm]:
    require_slurm()
    with tempfile.TemporaryDirectory(prefix="slurm-", dir="/tmp") as folder, running_slurm(Path(folder)) as running:
        yield running


def make_script(heads: Heads, out: Path, *options: object) -> Path:
    """Write the script of a batch with one CPU per task."""
    arguments = ("--slurm", "--tasks", TASKS, "--cpus", 1, *options)
    text = succeed("batch-script", heads.package, "--cases", heads.table, "-o", out, *arguments).out
    path = out.with_suffix(".sh")
    path.write_text(text, encoding="utf-8")
    return path


def test_a_script_is_shell_that_an_administrator_can_read(heads: Heads, tmp_path: Path):
    script = make_script(heads, tmp_path / "out", "--sbatch", "--partition=long", "--time", 90)
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    text = script.read_text(encoding="utf-8")
    for line in ("--array=1-3", "--cpus-per-task=1", "--requeue", "--partition=long", "--time=90"):
        assert f"#SBATCH {line}\n" in text
    assert f"Segment {HEADS} heads" in text
    assert '--shard "$SLURM_ARRAY_TASK_ID/3"' in text
    table = (tmp_path / "out" / "slurm" / "cases.tsv").read_text(encoding="utf-8").splitlines()
    assert table[0] == "case\tshard\tT1"
    assert {line.split("\t")[1] for line in table[1:]} == {"1/3", "2/3", "3/3"}


def test_the_shards_of_the_list_are_run_once_each(heads: Heads, tmp_path: Path):
    """The column `shard` decides, and not the name; a shard of another division is refused."""
    out = tmp_path / "out"
    make_script(heads, out)
    listed = out / "slurm" / "cases.tsv"
    common = ("run", heads.package, "--cases", listed, "-o", out, "--threads", 1, "--quiet")
    assert "got a list whose column 'shard' has '" in refused(3, *common, "--shard", "1/4")
    for number in range(1, TASKS + 1):
        succeed(*common, "--shard", f"{number}/{TASKS}")
    assert masks_in(out) == heads.masks
    succeed("summarize", out, "--cases", listed)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--tasks", 9999), "expected 1 to .* shards for .* case"),
        (("--sbatch", "partition=long"), "expected an option of sbatch such as --partition=long, got 'partition=long'"),
    ],
)
def test_a_script_that_cannot_run_is_refused(heads: Heads, tmp_path: Path, options, words: str):
    done = brain_edge(
        "batch-script", heads.package, "--cases", heads.table, "-o", tmp_path / "out", "--slurm", *options
    )
    assert (done.code, done.out) == (2, "")
    assert re.search(words, done.err)


def test_a_folder_that_slurm_cannot_name_is_refused(tmp_path: Path):
    package, head = make_package(tmp_path / "package").folder, save_phantom(tmp_path / "head.nii.gz")
    out = tmp_path / "with space"
    assert "for Slurm's log files" in refused(2, "batch-script", package, head, "-o", out, "--slurm", "--tasks", 1)


@pytest.mark.full  # a real cluster, two minutes: make scale
def test_the_array_ends_whole_after_kills_a_cancel_a_lost_scheduler_and_a_drained_node(
    cluster: Slurm, heads: Heads, tmp_path: Path
):
    out, host = tmp_path / "out", os.uname().nodename
    script = make_script(heads, out, "--time", 5)
    array, words = cluster.submit(script), f"run {heads.package} --cases {out}"
    until(lambda: bool(cluster.processes(words)), "a task runs")
    slow = [*map(psutil.Process, cluster.processes(words))]
    for task in slow:  # small heads end before the scheduler saves its state; as slow as large ones, they do not
        task.suspend()
    cluster.save(array)
    slow.pop(0).kill()  # a task is killed
    kill(cluster.daemons["slurmctld"].pid)  # the scheduler is killed, and comes back
    cluster.daemons["slurmctld"].wait()
    cluster.start_scheduler()
    until(lambda: cluster.node() in {"idle", "mixed", "allocated"}, "the scheduler that came back knows its node")
    cluster.run("scontrol", "update", f"NodeName={host}", "State=DRAIN", "Reason=test")
    for task in slow:
        task.resume()
    until(lambda: cluster.node() == "drained", "the drained node is empty")
    assert "PENDING" in cluster.states().values()
    cluster.run("scontrol", "update", f"NodeName={host}", "State=RESUME")
    cluster.run("scancel", f"{array}_{TASKS}", check=False)  # its end may have come first
    assert {*cluster.wait().values()} & {"FAILED", "CANCELLED"}
    require_whole(out, heads)
    before = finished(out)
    log = (out / "slurm" / "summary.log").read_text(encoding="utf-8")
    assert len(before) == HEADS or f"{HEADS - len(before)} of {HEADS} cases have no mask: " in log
    cluster.submit(script)  # again: only what is missing
    cluster.wait()
    assert masks_in(out) == heads.masks
    require_whole(out, heads)
    assert before.items() <= finished(out).items()  # no finished case was run again
    assert f"{HEADS} cases, {HEADS} done, 0 failed" in (out / "slurm" / "summary.log").read_text(encoding="utf-8")
