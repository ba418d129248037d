"""A run of pytest-benchmark's suite: read as pytest-benchmark writes it, shown without ratios."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from test_benchmark_report import row_of

from benchmarks.report.suite import SuiteRun, read_suites, suite_table
from brain_edge.errors import InputError
from brain_edge.machine.description import this_machine

ROOT = Path(__file__).parents[2]
TIMED = """
import time

def test_cold_network(timing):
    timing.call(lambda: time.sleep(0.01), rounds=4, precision="int8", peak_rss_bytes=2**30)
"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with one record, written by the conftest of the suite."""
    folder = tmp_path_factory.mktemp("suite")
    (folder / "test_timed.py").write_text(TIMED)
    record = folder / "20260101T000000Z-suite.json"
    plugins = ("-p", "no:cacheprovider", "-p", "benchmark", "-p", "benchmarks.conftest")
    options = (*plugins, f"--benchmark-json={record}", "--threads", "2", "--rootdir", ".", "test_timed.py")
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    environment = {**outside, "PYTHONPATH": f"{ROOT}:{ROOT / 'conversion'}"}
    command = [sys.executable, "-m", "pytest", *options]
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return folder


def test_a_record_of_the_suite_is_read_and_shown(recorded: Path):
    (run,) = read_suites(recorded)
    assert run.machine_info == this_machine()
    shown = "\n\n".join(suite_table([run]))
    cells = row_of(shown, "cold network")
    assert cells[1:3] == ["int8", "4"]
    assert cells[3].startswith("0.01")
    assert cells[-1] == "1024 MiB"
    assert "faster" not in shown


def test_only_the_last_run_of_a_machine_is_shown(recorded: Path):
    (run,) = read_suites(recorded)
    renamed = msgspec.structs.replace(run.benchmarks[0], name="test_other")
    later: SuiteRun = msgspec.structs.replace(run, benchmarks=(renamed,))
    shown = "\n\n".join(suite_table([run, later]))
    assert row_of(shown, "other")
    assert "cold network" not in shown
    assert list(suite_table([])) == []


def test_something_else_is_refused_with_its_path(tmp_path: Path):
    (tmp_path / "x-suite.json").write_text(json.dumps({"benchmarks": []}))
    with pytest.raises(InputError, match=r"x-suite\.json: expected a run of the pytest-benchmark suite"):
        read_suites(tmp_path)
