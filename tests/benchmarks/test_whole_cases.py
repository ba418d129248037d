"""Whole processes in turn outside the matrix: read as they were recorded, tabulated with what their rounds allow."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from test_benchmark_report import MACHINE, row_of

from benchmarks.harness.cell_record import Commit, RunSample
from benchmarks.report.recipe_age import Ages
from benchmarks.report.whole_cases import WholeCaseEntry, WholeCaseRun, read_whole_cases, whole_case_tables
from brain_edge.errors import InputError

RECORDED = Path(__file__).parents[2] / "benchmarks/results"


def entry(name: str, *latencies_ms: float) -> WholeCaseEntry:
    samples = tuple(RunSample(latency_ms=each, peak_rss_bytes=2**20 * round(each)) for each in latencies_ms)
    return WholeCaseEntry(name=name, samples=samples)


def run(*entries: WholeCaseEntry, recipe: str = "vox2vox", hours: float = 0.0) -> WholeCaseRun:
    return WholeCaseRun(
        benchmark="whole cases",
        recipe=recipe,
        started=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=hours),
        commit=Commit("0" * 40, changed=False),
        machine=MACHINE,
        entries=entries,
    )


def page(*runs: WholeCaseRun) -> str:
    return "\n\n".join(whole_case_tables(runs, Ages({})))


def test_every_recorded_run_is_read_and_has_a_subject():
    found = read_whole_cases(RECORDED)
    assert {"brainmage", "hd-bet-v1", "vox2vox"} <= {each.subject for each in found}
    assert [each.started for each in found] == sorted(each.started for each in found)


def test_ratios_are_to_the_first_contender_and_have_an_interval():
    shown = page(run(entry("PyTorch", *[1000] * 5), entry("INT8", *[250] * 5)))
    assert row_of(shown, "vox2vox", "PyTorch")[2:] == ["5", "1.000 s", "", "", "1000 MiB"]
    assert row_of(shown, "vox2vox", "INT8")[2:] == ["5", "0.250 s", "4.00 (4.00 to 4.00)x", "4.00 to 4.00", "250 MiB"]


def test_a_package_in_bf16_is_shown_as_one():
    first = entry("PyTorch", 1000)
    shown = page(run(first, msgspec.structs.replace(entry("INT8", 250), precision="int8, rest in bf16")))
    assert "INT8, rest in bf16" in shown
    plain = page(run(first, msgspec.structs.replace(entry("INT8", 250), precision="int8, rest in f32")))
    assert "rest in" not in plain


def test_a_ratio_of_fewer_than_five_starts_has_no_interval_but_their_number():
    shown = page(run(entry("default mode", 9000), entry("INT8", 90, 10, 10)))
    assert row_of(shown, "vox2vox", "INT8")[4] == "100.00 (1 start)x"


def test_rounds_beside_other_work_do_not_count():
    busy = RunSample(latency_ms=100.0, others_cpu_ms=140.0)  # 70 % of two processors
    quiet = RunSample(latency_ms=100.0, others_cpu_ms=2.0)
    first, second = (
        WholeCaseEntry(name="PyTorch", samples=(quiet, busy)),
        WholeCaseEntry(name="INT8", samples=(busy, busy)),
    )
    shown = page(run(first, second))
    assert row_of(shown, "vox2vox", "PyTorch")[2:] == ["1", "0.100 s", "", "", "-"]
    assert row_of(shown, "vox2vox", "INT8")[2:] == ["0", "not quiet", "", "", "-"]


def test_the_last_run_of_a_model_is_shown():
    shown = page(run(entry("of yesterday", 1)), run(entry("of today", 1), hours=1))
    assert "of today" in shown
    assert "of yesterday" not in shown


def test_without_runs_there_is_no_section():
    assert page() == ""


@pytest.mark.parametrize("broken", ["{", "{}", msgspec.json.encode(run()).decode()], ids=["cut", "empty", "no entries"])
def test_a_file_that_is_no_such_run_is_refused(tmp_path: Path, broken: str):
    path = tmp_path / "20260101T000000Z-case-vox2vox.json"
    path.write_text(broken, encoding="utf-8")
    with pytest.raises(InputError, match=rf"{path.name}: expected whole processes in turn"):
        read_whole_cases(tmp_path)
