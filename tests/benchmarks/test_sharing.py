"""The comparison of ways to share the cores of a machine, on the smallest package."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from cli_program import make_package, save_phantom

from benchmarks.sharing import Sides, Times, compared

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.full  # a quarter of a minute, of a benchmark
def test_all_ways_and_both_bounds_come_from_one_run(tmp_path: Path):
    """The processor time of each core, busy beside the others, is measured apart and makes the bound."""
    package, head = make_package(tmp_path / "package"), save_phantom(tmp_path / "head.nii.gz")
    (tmp_path / "masks").mkdir()
    begin = time.perf_counter()
    found = compared(Sides(package, (head,), 2, 4, tmp_path / "masks"), rounds=1)
    taken = time.perf_counter() - begin
    assert len(found["rate_to_single_runs"]) == len(found["batch_s"]) == 4
    busy = found["cpu_s_of_one_thread_of_busy_cores"]
    assert len(busy) == 2
    assert all(0 < each < taken for each in (*busy, found["cpu_s_of_one_thread"]))
    steady = found["single_case_s"][0] * 4
    assert found["bound"] == pytest.approx(steady * 2 / (sum(busy) / 2))
    assert found["bound_of_idle_cores"] == pytest.approx(steady * 2 / found["cpu_s_of_one_thread"])
    assert found["measured_bytes"] > 0 < found["predicted_bytes"]
    assert len([*(tmp_path / "masks").glob("busy-*/*_mask.nii.gz")]) == 2 * 4


def test_the_start_of_a_batch_is_not_in_its_throughput():
    """Two cases at once: the first two end late, and the four others need two seconds a pair."""
    times = Times((5.0, 5.2, 7.0, 7.2, 9.0, 9.2), at_once=2)
    assert times.whole_s == 9.2
    assert times.case_s == pytest.approx(1.0)
