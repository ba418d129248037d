"""The journal of a search: what is in it is whole, and an answer to this question and no other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from cohorts import make_case, save_manifest
from tiny_package import make_package

from brain_edge.evaluation.cohort import load_cohort
from brain_edge.evaluation.evidence import Change
from brain_edge_conversion.budget.budget import AccuracyBudget
from brain_edge_conversion.quantize.ladder import LADDER, Setting
from brain_edge_conversion.quantize.space import Int8Space
from brain_edge_conversion.search import run
from brain_edge_conversion.search.journal import TRIALS, Entry, Journal, Question, hashes
from brain_edge_conversion.search.options import SearchOptions

if TYPE_CHECKING:
    from pathlib import Path

GRAPH = "tiny"


def opened(root: Path, **fields) -> Journal:
    known: dict[str, Any] = {"change": Change.QUANTIZED, "package": "p", "cohort": "c", "space": Setting()}
    known |= {"versions": {"nncf": "3"}, "threads": 1, "machine": "m"}
    return Journal(root, Question(**(known | fields)), Entry[tuple[int, ...]])


def add(journal: Journal, choice: tuple[int, ...]) -> None:
    """A trial with a graph of its own."""
    folder = journal.trial_folder(len(journal.entries))
    (folder / "graphs").mkdir(parents=True)
    for suffix in (".xml", ".bin"):
        (folder / f"graphs/{GRAPH}{suffix}").write_text(f"{choice}{suffix}")
    journal.entries.append(Entry(choice=choice, layers={GRAPH: ()}, files=hashes(folder, [GRAPH]), elapsed_s=2.0))


def choices(journal: Journal) -> list[tuple[int, ...]]:
    return [entry.choice for entry in journal.entries]


def test_a_search_that_goes_on_finds_its_trials(tmp_path: Path):
    first = opened(tmp_path)
    add(first, (1,))
    add(first, (2,))
    again = opened(tmp_path)
    assert choices(again) == [(1,), (2,)]
    assert again.entry((2,)) == (list(first.entries)[1], first.trial_folder(1))
    assert again.elapsed_s == 4.0


@pytest.mark.parametrize(
    "fields",
    [
        {"change": Change.TUNED},
        {"package": "q"},
        {"cohort": "d"},
        {"space": LADDER[1]},
        {"versions": {"nncf": "4"}},
        {"threads": 2},
        {"machine": "n"},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_another_question_has_other_trials(tmp_path: Path, fields: dict[str, object]):
    add(opened(tmp_path), (1,))
    assert choices(opened(tmp_path, **fields)) == []
    assert choices(opened(tmp_path)) == [(1,)]


@pytest.mark.parametrize("suffix", [".xml", ".bin"])
def test_a_trial_whose_graph_has_changed_and_what_was_built_on_it_are_forgotten(tmp_path: Path, suffix: str):
    journal = opened(tmp_path)
    for choice in ((1,), (2,), (3,)):
        add(journal, choice)
    (journal.trial_folder(1) / f"graphs/{GRAPH}{suffix}").write_text("damaged")
    assert choices(opened(tmp_path)) == [(1,)]
    assert (journal.folder / TRIALS).read_bytes().count(b"\n") == 1


def test_half_a_line_is_no_trial_and_the_next_one_is_a_line_of_its_own(tmp_path: Path):
    journal = opened(tmp_path)
    add(journal, (1,))
    with (journal.folder / TRIALS).open("ab") as log:
        log.write(b'{"choice": [2')
    again = opened(tmp_path)
    assert choices(again) == [(1,)]
    add(again, (3,))
    assert choices(opened(tmp_path)) == [(1,), (3,)]


def test_cohort_budget_and_machine_are_part_of_the_question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """INT8 gives other masks with other instructions; the budget decides which trials are measured twice."""
    space = Int8Space(make_package(tmp_path / "package"), LADDER)
    cohorts = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        cohorts.append(load_cohort(save_manifest(tmp_path / name, make_case(tmp_path / name, name))))
    asked = [run.question_of(space, each, SearchOptions()) for each in cohorts]
    asked.append(run.question_of(space, cohorts[0], SearchOptions(budget=AccuracyBudget(max_dice_drop=0.002))))
    monkeypatch.setattr(run, "arithmetic_of", lambda _machine: "another")
    asked.append(run.question_of(space, cohorts[0], SearchOptions()))
    assert [question == asked[0] for question in asked] == [True, False, False, False]


@pytest.mark.parametrize("damage", [b"\xff", b"{}", b"[" * 100_000, b"NaN", b""], ids=repr)
def test_a_line_that_a_disk_has_damaged_ends_the_journal(tmp_path: Path, damage: bytes):
    journal = opened(tmp_path)
    for choice in ((1,), (2,), (3,)):
        add(journal, choice)
    path = journal.folder / TRIALS
    first, _, last = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([first, damage, last, b""]))
    assert choices(opened(tmp_path)) == [(1,)]
    assert path.read_bytes() == first + b"\n"
