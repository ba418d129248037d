"""Memory that a batch on a cluster asks for: that of a first case, judged by the processes of a real batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cli_program import child, make_package, save_phantom
from present import present

from brain_edge.bench.child import ChildOptions
from brain_edge.cluster.probe import probe
from brain_edge.jobs.record import read_case_record
from brain_edge.machine.options import RuntimeOptions
from brain_edge.package import open_package

if TYPE_CHECKING:
    from pathlib import Path

LIMIT_BYTES = 2**30
SHARE = 0.15
"""Difference that the memory of a process may have from what was predicted."""


def test_a_process_of_a_batch_takes_what_a_first_case_took(tmp_path: Path):
    package = make_package(tmp_path / "package").folder
    (tmp_path / "heads").mkdir()
    heads = [save_phantom(tmp_path / "heads" / f"{name}.nii.gz", shape=(120, 130, 110)) for name in "ab"]
    options = RuntimeOptions(threads=1, max_memory_bytes=LIMIT_BYTES)
    predicted = probe(open_package(package), [{"T1": heads[0]}], options)
    run = ("run", package, tmp_path / "heads", "-o", tmp_path / "out", "--threads", 1, "--max-memory", "1G", "--quiet")
    done = child(*run, "--engine", "processes", "--workers", 1)
    assert done.code == 0, done.err
    records = [read_case_record(path) for path in (tmp_path / "out").glob("*_record.json")]
    peaks = [record.run.peak_rss_bytes for record in records if record is not None and record.run is not None]
    assert len(peaks) == 2
    assert max(peaks) == pytest.approx(predicted.needed_bytes(1), rel=SHARE)  # type: ignore[type-var]
    assert predicted.needed_bytes(2) == 2 * predicted.peak_bytes - present(predicted.idle_bytes)


def test_a_child_has_the_memory_limit_of_its_parent():
    options = RuntimeOptions(threads=1, max_memory_bytes=LIMIT_BYTES)
    assert ChildOptions.of(options).options().max_memory_bytes == LIMIT_BYTES
