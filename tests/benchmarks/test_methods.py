"""The comparison of methods runs as it is called: on a network that plain INT8 breaks and moved scales repair."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner, Result
from outlier_package import make_outlier_package, phantom_cohort
from tiny_package import make_package

from benchmarks import methods
from benchmarks.harness.method_record import Method, read_methods, record_file
from brain_edge.errors import UsageError
from brain_edge.evaluation.cohort import Split
from brain_edge.machine.options import RuntimeOptions
from brain_edge_conversion.budget.isa import VARIABLE
from brain_edge_conversion.budget.work_folder import QUESTION
from brain_edge_conversion.quantize import graphs
from brain_edge_conversion.quantize.ladder import LADDER
from brain_edge_conversion.quantize.policy import Trial
from brain_edge_conversion.quantize.quantize import QuantizeOptions, ladder_of
from brain_edge_conversion.quantize.space import Int8Space
from brain_edge_conversion.search.journal import Entry, Journal
from brain_edge_conversion.search.run import question_of

if TYPE_CHECKING:
    from pathlib import Path

# nncf reads its configuration with a deprecated corner of a library of its own
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

SPLITS = (Split.CALIBRATION, Split.VALIDATION, Split.TEST)


@pytest.fixture(autouse=True)
def under_avx2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "AVX2")


def called(folder: Path, package: Path, *only: Method, more: tuple[str, ...] = ()) -> Result:
    (folder / "data").mkdir(exist_ok=True)
    cohort = phantom_cohort(folder / "data", SPLITS, references=False)
    chosen = [word for method in only for word in ("--only", method.value)]
    arguments = [str(package), str(cohort.path), "--work", str(folder / "work"), "--records", str(folder / "records")]
    return CliRunner().invoke(methods.main, [*arguments, "--threads", "1", *chosen, *more], catch_exceptions=False)


def test_each_method_is_judged_on_the_test_heads_and_a_finished_one_is_not_run_again(tmp_path: Path):
    package = make_outlier_package(tmp_path / "fp32")
    asked = (Method.PRESETS, Method.CONTROL, Method.FITTED)
    assert called(tmp_path, package.folder, *asked).exit_code == 0
    found = {record.method: record for record in read_methods(tmp_path / "records")}
    assert list(found) == list(asked)
    plain, control, fitted = (figures for method in asked if (figures := found[method].test) is not None)
    assert [each.met for each in (plain, control, fitted)] == [False, True, True]
    # NNCF meets the limit by layers in float
    assert control.int8_share < plain.int8_share
    assert control.int8_share < fitted.int8_share <= plain.int8_share
    assert not any(each.by_reference for each in (plain, control, fitted))
    for record in found.values():
        best = min(record.tried, key=lambda each: each.validation.excess if each.validation else 1e9)
        assert record.chosen == best.title
        assert record.heads == {"calibration": 1, "validation": 1, "test": 1}
        assert all(each.cpu_s > 0 for each in record.tried)
    assert record.minutes == sum(each.cpu_s for each in record.tried) / 60
    before = record_file("tiny", Method.FITTED, tmp_path / "records").stat().st_mtime_ns
    again = called(tmp_path, package.folder, *asked)
    assert again.stdout == ""
    assert record_file("tiny", Method.FITTED, tmp_path / "records").stat().st_mtime_ns == before


def test_a_finished_candidate_is_taken_from_the_work_folder(tmp_path: Path):
    package = make_package(tmp_path / "fp32")
    assert "judging" in called(tmp_path, package.folder, Method.PRESETS).stderr
    record_file("tiny", Method.PRESETS, tmp_path / "records").unlink()
    again = called(tmp_path, package.folder, Method.PRESETS)
    assert "tiny: judging performance preset" in again.stderr
    assert "tiny: performance preset" not in again.stderr


def test_a_method_that_the_network_does_not_allow_leaves_a_record_with_the_reason(tmp_path: Path):
    package = make_package(tmp_path / "fp32")
    assert "no scale can move" in called(tmp_path, package.folder, Method.SCALES).stdout
    (record,) = read_methods(tmp_path / "records")
    assert (record.tried, record.test, record.chosen) == ((), None, "")
    assert record.note.startswith("no scale can move")


@pytest.mark.full  # a fit and a training
def test_a_distillation_counts_the_time_of_the_fit_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from brain_edge_conversion.distilling.lesson import Schedule

    monkeypatch.setattr(graphs, "SCHEDULE", Schedule(steps=2))
    package = make_outlier_package(tmp_path / "fp32")
    assert called(tmp_path, package.folder, Method.DISTILLED, Method.FITTED).exit_code == 0
    fitted, distilled = read_methods(tmp_path / "records")
    assert (fitted.method, distilled.method) == (Method.FITTED, Method.DISTILLED)
    assert distilled.tried[0].cpu_s > fitted.tried[-1].cpu_s
    assert "distillation" in distilled.chosen


def test_a_candidate_that_needs_too_much_memory_leaves_a_record_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def quantise(*arguments: Any) -> Any:
        if LADDER[0] in arguments:
            np.ones(2**45, dtype=np.uint8)  # 32 TiB, which no machine grants
        return quantised(*arguments)

    quantised = graphs.quantise
    monkeypatch.setattr(graphs, "quantise", quantise)
    package = make_package(tmp_path / "fp32")
    assert called(tmp_path, package.folder, Method.PRESETS, more=("--memory", "8G")).exit_code == 0
    (record,) = read_methods(tmp_path / "records")
    assert record.tried[0].problem == "the memory of the process did not suffice"
    assert record.chosen == LADDER[1].title
    assert record.memory_bytes == 8 * 2**30


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit the data of a process")
def test_beyond_its_bound_an_allocation_fails_and_later_it_does_not():
    with methods.data_bound(2**30), pytest.raises(MemoryError):
        np.ones(2**30, dtype=np.uint8)
    assert np.ones(2**30, dtype=np.uint8)[-1] == 1


def test_a_process_without_the_limit_of_instructions_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(UsageError, match="expected ONEDNN_MAX_CPU_ISA=AVX2 in the environment"):
        called(tmp_path, tmp_path, Method.PRESETS)


def test_a_record_of_another_schema_is_refused(tmp_path: Path):
    (tmp_path / "tiny-presets.json").write_text('{"schema": 2}', encoding="utf-8")
    with pytest.raises(msgspec.ValidationError):
        read_methods(tmp_path)


def test_trials_of_a_search_are_taken_and_those_of_other_heads_are_refused(tmp_path: Path):
    package = make_outlier_package(tmp_path / "fp32")
    (tmp_path / "data").mkdir()
    cohort = phantom_cohort(tmp_path / "data", SPLITS, references=False)
    options = QuantizeOptions(runtime=RuntimeOptions(threads=1))
    space = Int8Space(package, ladder_of(package, options))
    folder = tmp_path / "search"
    journal = Journal(folder, question_of(space, cohort, options), Entry[Trial])
    journal.entries.append(Entry(choice=Trial(LADDER[0]), problem="not today", cpu_s=7.0))
    taken = called(tmp_path, package.folder, Method.PRESETS, more=("--trials", str(journal.folder)))
    assert taken.exit_code == 0
    (record,) = read_methods(tmp_path / "records")
    assert (record.tried[0].problem, record.tried[0].cpu_s) == ("not today", 7.0)
    assert record.chosen == LADDER[1].title
    (journal.folder / QUESTION).write_bytes(b"{}")
    with pytest.raises(UsageError, match="expected a search of this package, cohort, machine, threads and tools"):
        called(tmp_path, package.folder, Method.FITTED, more=("--trials", str(journal.folder)))
