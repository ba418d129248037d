"""Runs of the tests by hand are counted as pytest counts them, and their page is what would be written."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from recorded.runs import PAGE, Run, append_run, limits_of, page, read_runs

if TYPE_CHECKING:
    from pathlib import Path

KNOWN = {"commit": "0123abc", "date": "2026-11-30", "machine": "some-cpu", "target": "test", "limit": "AVX2"}
FOUR_ENDS = """
import pytest

def test_passes(): pass
def test_fails(): assert False
def test_skips(): pytest.skip("for a reason")
@pytest.fixture
def broken(): raise OSError
def test_has_no_set_up(broken): pass
"""


def test_a_run_is_counted_as_pytest_counts_it(tmp_path: Path):
    (tmp_path / "test_four.py").write_text(FOUR_ENDS)
    report = tmp_path / "junit.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", "."]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stdout
    assert "1 failed, 1 passed, 1 skipped, 1 error" in said
    run = Run.of_junit(report.read_text(), **KNOWN)
    assert (run.passed, run.failed, run.skipped) == (1, 2, 1)
    append_run(run, tmp_path / "runs.jsonl")
    assert read_runs(tmp_path / "runs.jsonl") == [run]


def test_a_cpu_is_asked_for_no_limit_that_it_cannot_obey():
    assert limits_of(["avx2"]) == ["native", "AVX2"]
    assert limits_of(["avx2", "avx512bw"]) == ["native", "AVX2", "AVX512_CORE"]


def test_the_page_is_what_would_be_written():
    assert PAGE.read_text("utf-8") == page(read_runs()), "run `make test-runs`"
