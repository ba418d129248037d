"""The comparison of ways to share the cores of a machine, on the smallest package."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from cli_program import make_package, save_phantom

from benchmarks.sharing import Sides, compared

if TYPE_CHECKING:
    from pathlib import Path


def test_all_ways_and_both_bounds_come_from_one_run(tmp_path: Path):
    """The processor time of each core, busy beside the others, is measured apart and makes the bound."""
    package, head = make_package(tmp_path / "package"), save_phantom(tmp_path / "head.nii.gz")
    (tmp_path / "masks").mkdir()
    begin = time.perf_counter()
    found = compared(Sides(package, (head,), 2, 3, tmp_path / "masks"), rounds=1)
    taken = time.perf_counter() - begin
    assert len(found["rate_to_single_runs"]) == len(found["batch_s"]) == 4
    busy = found["cpu_s_of_one_thread_of_busy_cores"]
    assert len(busy) == 2
    assert all(0 < each < taken for each in (*busy, found["cpu_s_of_one_thread"]))
    assert found["bound"] == found["single_s"][0] * 2 / (sum(busy) / 2)
    assert found["bound_of_idle_cores"] == found["single_s"][0] * 2 / found["cpu_s_of_one_thread"]
    assert found["measured_bytes"] > 0 < found["predicted_bytes"]
    assert len([*(tmp_path / "masks").glob("busy-*/*_mask.nii.gz")]) == 2 * 3
