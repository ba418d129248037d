"""The table of the README: of each model the newest comparison alone, with its commit."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from benchmarks.harness.record import RESULTS
from benchmarks.report.whole_programs import newest_comparisons, programs_table, programs_words

if TYPE_CHECKING:
    from pathlib import Path


def test_the_newest_comparison_counts_on_whatever_machine(tmp_path: Path):
    everything = sorted(RESULTS.glob("*/*-interleaved-deepbet.json"), key=lambda path: path.name)
    for number, path in enumerate((everything[-1], everything[0])):
        (tmp_path / f"machine-{number}").mkdir()
        shutil.copy(path, tmp_path / f"machine-{number}")
    (newest,) = newest_comparisons(tmp_path)
    assert f"{newest.started:%Y%m%dT%H%M%SZ}" == everything[-1].name.partition("-")[0]


def test_each_program_is_one_row_with_the_commit_of_its_measurement():
    runs = newest_comparisons(RESULTS)
    rows = programs_table(runs).splitlines()[2:]
    assert len(rows) == sum(len(run.entries) for run in runs)
    assert [row.split("|")[-2].strip(" `") for row in rows] == [run.commit.id[:12] for run in runs for _ in run.entries]
    assert all(run.machine.cpu in programs_words(runs) for run in runs)
