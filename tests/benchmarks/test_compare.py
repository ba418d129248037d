"""The regression guard: ratios to PyTorch of the same run, never times; what noise explains is called noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cli_program import refused
from msgspec.structs import replace
from test_benchmark_programs import benchmarks
from test_benchmark_report import OTHER, engines, repeated, save

from benchmarks.compare import changes, slower
from brain_edge.bench.starts import Change
from brain_edge.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path


def verdicts(first: list, second: list) -> dict[str, Change]:
    return {change.contender: change.change for change in changes(first, second)}


def test_a_slower_machine_is_no_slower_program():
    """Everything takes twice as long, PyTorch too."""
    before, after = engines(), engines(pytorch_ms=2000.0, int8_ms=400.0)
    assert verdicts([before], [after])["OpenVINO INT8"] is Change.NOISE


def test_what_became_slower_than_pytorch_of_its_run_is_found():
    found = changes([engines()], [engines(int8_ms=300.0)])
    assert [change.change for change in found] == [Change.NOISE, Change.LOWER]
    (worse,) = slower(found)
    assert worse.quotient == pytest.approx(2 / 3)
    assert verdicts([engines(int8_ms=300.0)], [engines()])["OpenVINO INT8"] is Change.HIGHER


def test_what_repetitions_differ_by_is_noise():
    """The same code has shown a third between five repetitions: a change of a fifth says nothing."""
    noisy = repeated(200.0, 266.0, 210.0, 250.0, 230.0)
    assert verdicts(noisy, [engines(int8_ms=280.0)])["OpenVINO INT8"] is Change.NOISE
    assert verdicts([engines(int8_ms=230.0)], [engines(int8_ms=280.0)])["OpenVINO INT8"] is Change.LOWER


def test_of_one_start_nothing_can_be_said():
    old = engines(passes=0)
    assert verdicts([old], [engines(int8_ms=400.0)])["OpenVINO INT8"] is Change.UNKNOWN
    assert verdicts([engines()], [replace(old, repetition=2)])["OpenVINO INT8"] is Change.UNKNOWN


def test_ratios_to_another_contender_or_on_another_image_are_refused():
    without = replace(engines(), entries=engines().entries[2:])
    with pytest.raises(
        InputError, match="the ratios are to PyTorch f32 in the first result and to OpenVINO f32 in the"
    ):
        changes([engines()], [without])
    with pytest.raises(InputError, match="the two results are of different images"):
        changes([engines()], [engines(image=(1, 1, 64, 64, 64))])


def test_different_machines_are_refused():
    with pytest.raises(InputError, match="different machines"):
        changes([engines()], [engines(machine=OTHER)])
    with pytest.raises(InputError, match="of several machines"):
        changes([engines(), engines(machine=OTHER)], [engines()])


def test_without_a_common_cell_there_is_nothing_to_say():
    with pytest.raises(InputError, match="no cell in common"):
        changes([engines()], [engines(group="isa")])


@pytest.mark.full  # two seconds of processes; the comparison is tested in bench
def test_the_command_fails_where_something_became_slower(tmp_path: Path):
    a, b = save([engines()], tmp_path / "a"), save([engines(int8_ms=300.0)], tmp_path / "b")
    assert "noise" in benchmarks("compare", a, a).out
    done = benchmarks("compare", a, b)
    assert done.code == 1
    assert "SLOWER" in done.out
    assert "1 of 2 ratios to the first contender of their cell became lower" in done.err
    (tmp_path / "record.json").write_text("{}", encoding="utf-8")
    done = benchmarks("compare", a, tmp_path / "record.json")
    assert (done.code, done.out) == (3, "")
    assert "expected a cell" in done.err


def test_the_command_of_packages_compares_no_cells_and_names_the_one_that_does(tmp_path: Path):
    folder = save([engines()], tmp_path)
    (cell,) = folder.rglob("*-cell-*.json")
    for matrix in (folder, cell):
        assert "run `python -m benchmarks compare A B`" in refused(3, "bench", "--compare", matrix, matrix)
