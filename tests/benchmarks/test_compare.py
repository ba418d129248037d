"""The regression guard: ratios to PyTorch of the same run, never times; what noise explains is called noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cli_program import refused
from msgspec.structs import replace
from test_benchmark_programs import benchmarks
from test_benchmark_report import OTHER, engines, save

from benchmarks.compare import HIGHER, LOWER, SAME, changes, repetition_noise, slower
from brain_edge.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path


def verdicts(first: list, second: list) -> dict[str, str]:
    return {change.contender: change.verdict for change in changes(first, second)}


def test_a_slower_machine_is_no_slower_program():
    """Everything takes twice as long, PyTorch too."""
    before, after = engines(), engines(pytorch_ms=2000.0, int8_ms=400.0)
    assert verdicts([before], [after])["OpenVINO INT8"] == SAME


def test_what_became_slower_than_pytorch_of_its_run_is_found():
    found = changes([engines()], [engines(int8_ms=300.0)])
    assert {change.contender: change.verdict for change in found} == {"OpenVINO f32": SAME, "OpenVINO INT8": LOWER}
    (worse,) = slower(found)
    assert worse.quotient == pytest.approx(2 / 3)
    assert verdicts([engines(int8_ms=300.0)], [engines()])["OpenVINO INT8"] == HIGHER


def test_what_repetitions_differ_by_is_noise():
    """The same code has shown a third between two repetitions: a change of a fifth says nothing."""
    noisy = [engines(), engines(int8_ms=266.0, repetition=2)]
    assert repetition_noise(noisy) == pytest.approx(0.33, abs=0.01)
    assert repetition_noise([engines()]) == 0
    assert verdicts(noisy, [engines(int8_ms=310.0)])["OpenVINO INT8"] == SAME
    assert verdicts([engines()], [engines(int8_ms=310.0)])["OpenVINO INT8"] == LOWER


def test_other_code_is_no_repetition():
    other = engines(int8_ms=400.0, repetition=2)
    assert repetition_noise([engines(), replace(other, commit=replace(other.commit, id="1" * 40))]) == 0


def test_code_that_differs_from_its_commit_is_no_repetition():
    """A change that halves the speed would be the noise that excuses it."""
    changed = engines(int8_ms=400.0, repetition=2)
    changed = replace(changed, commit=replace(changed.commit, changed=True))
    assert repetition_noise([engines(), changed]) == 0
    assert verdicts([engines()], [engines(), changed])["OpenVINO INT8"] == LOWER


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
        assert "by `python -m benchmarks compare A B`" in refused(3, "bench", "--compare", matrix, matrix)
