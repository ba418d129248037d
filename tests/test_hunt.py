"""A small part of the hunt, with a fixed seed; that it notices what it hunts; and that the page is what was found."""

from __future__ import annotations

import re
from importlib import import_module
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hunt.campaign import Campaign, Tally, make_seeds
from hunt.commands import COMMANDS
from hunt.faults import keep_fault, kept_faults
from hunt.judge import Kind, read_tree, write_tree
from hunt.kill import kill_once, undisturbed
from hunt.mutate_bytes import ANY
from hunt.mutate_text import JSON, TABLE
from hunt.mutations import make_mutant
from hunt.readers import READERS
from hunt.report import MUTANTS, PAGE, page, read_results
from hunt.starve import SHORTAGES, NotTriedError, starve_once
from hunt.watch import Watch
from hypothesis import example, given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from hunt.kill import Undisturbed

SEED = 22
BROKEN = "hunt.broken"
COUNT = 4
IN_CI = [name for name, reader in READERS.items() if reader.in_ci]
LEAST_MUTANTS = 20_000
"""By hand, over all readers: what issue after issue may rely on."""


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    place = tmp_path_factory.mktemp("hunt")
    made = Campaign(place, SEED, place / "faults")
    make_seeds(made.seeds, IN_CI)
    return made


@pytest.fixture(scope="module")
def watch(campaign: Campaign) -> Iterator[Watch]:
    with campaign.watch() as made:
        yield made


@pytest.mark.parametrize("name", IN_CI)
def test_damaged_files_are_read_or_refused(
    name: str, campaign: Campaign, watch: Watch, record_property: Callable[[str, object], None]
):
    tally = campaign.run(watch, Tally(name), READERS[name].in_ci)
    record_property("hunt", str(tally))
    assert tally.tried == READERS[name].in_ci
    assert [str(fault) for fault in kept_faults(campaign.faults) if fault.reader == name] == []


# --- what is killed, and what is short


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Undisturbed]:
    known: dict[str, Undisturbed] = {}

    def find(name: str) -> Undisturbed:
        if name not in known:
            known[name] = undisturbed(COMMANDS[name], tmp_path_factory.mktemp(name))
        return known[name]

    return find


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if command.in_ci])
def test_a_killed_command_leaves_nothing_and_goes_on(name: str, whole: Any, tmp_path: Path, record_property: Any):
    trials = COMMANDS[name].in_ci
    wrong = [
        each for trial in range(trials) for each in kill_once(name, whole(name), tmp_path / f"{trial}", SEED, trial)
    ]
    record_property("hunt", f"kill {name}: {trials} tried, {len(wrong)} faults")
    assert wrong == []


@pytest.mark.parametrize(
    "name",
    [  # each closed stream alone: tests/cli/test_cli_surface.py
        pytest.param(name, marks=[pytest.mark.full] if name in ("stdin", "stdout", "stderr") else [])
        for name in SHORTAGES
    ],
)
def test_who_is_short_of_something_is_told_in_one_sentence(name: str, whole: Any, tmp_path: Path, record_property: Any):
    try:
        wrong = starve_once(name, whole("run"), tmp_path / "trial", SEED, 0)
    except NotTriedError as error:
        pytest.skip(str(error))
    record_property("hunt", f"starve {name}: 1 tried, {len(wrong)} faults")
    assert wrong == []


# --- that it notices


@pytest.fixture(scope="module")
def broken_seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("broken")
    make_seeds(place, [f"{BROKEN}:{name}" for name in ("raises", "dies", "hangs", "holds", "asks", "right")])
    return place


def hunted(seeds: Path, name: str, **limits: Any) -> list[Any]:
    with Watch(seeds, seeds / "worker.log", BROKEN, **limits) as watch:
        return list(watch.try_mutants(name, SEED, 0, COUNT))


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("raises", "ValueError"),
        ("dies", "died of SIGSEGV"),
        ("hangs", "hangs for more than 0.3 s"),
        ("holds", r"held \d\.\d GiB|holds more than \d\.\d GiB"),
        ("asks", "MemoryError"),
    ],
)
def test_a_reader_that_is_wrong_is_found_and_the_next_mutant_is_tried(broken_seeds: Path, name: str, error: str):
    limits: dict[str, dict[str, Any]] = {"hangs": {"hang_s": 0.3}, "holds": {"most_bytes": 2**27}}
    outcomes = hunted(broken_seeds, name, **limits.get(name, {}))
    assert [outcome.number for outcome in outcomes] == list(range(COUNT))
    faults = [outcome for outcome in outcomes if outcome.kind is Kind.FAULT]
    assert faults
    assert {kind for kind in (outcome.kind for outcome in outcomes) if kind is not Kind.FAULT} <= {Kind.REFUSED}
    assert all(re.search(error, fault.error) for fault in faults), faults


def test_a_fault_is_kept_and_can_be_tried_again(broken_seeds: Path, tmp_path: Path):
    outcomes = [outcome for outcome in hunted(broken_seeds, "raises") if outcome.kind is Kind.FAULT]
    broken = ("raises", import_module(BROKEN).READERS["raises"])
    kept = [keep_fault(tmp_path / "faults", broken_seeds, broken, SEED, outcome) for outcome in outcomes[:1] * 2]
    assert kept[0] == kept[1]
    (fault,) = kept_faults(tmp_path / "faults")
    assert (fault.reader, fault.number, fault.error) == ("raises", outcomes[0].number, "ValueError")
    with Watch(broken_seeds, tmp_path / "worker.log", BROKEN) as watch:
        again = watch.try_again(fault.reader, fault.valid, fault.folder / "mutant")
    assert (again.kind, again.error, again.words) == (Kind.FAULT, "ValueError", "outside of the tree")


def test_a_reader_that_is_right_has_no_fault(broken_seeds: Path):
    assert {outcome.kind for outcome in hunted(broken_seeds, "right")} == {Kind.ACCEPTED, Kind.REFUSED}


# --- the mutants


TREES = {"one": {"a.json": b'{"x": [1, 2.5, "y"]}', "b.bin": bytes(range(64))}, "two": {"a.json": b"[]"}}


def test_the_same_key_gives_the_same_mutant_and_another_key_another():
    made = [make_mutant(TREES, key) for key in ("r-1-0", "r-1-0", "r-1-1", "r-2-0")]
    assert made[0] == made[1]
    assert len({str(each) for each in made}) == 3


@given(st.integers(0, 10**9))
@example(490)  # its last bit was flipped twice
def test_a_mutant_is_not_the_valid_folder(number: int):
    mutant = make_mutant(TREES, str(number))
    assert mutant.tree != TREES[mutant.seed]


@given(st.binary(max_size=200), st.binary(max_size=50), st.integers(0, 10**9))
def test_every_file_can_be_damaged(content: bytes, other: bytes, number: int):
    for mutator in (*ANY, *JSON, *TABLE):
        assert isinstance(mutator(content, Random(number), other), bytes)  # noqa: S311 - no secret


def test_files_that_may_not_be_damaged_stay():
    for number in range(50):
        mutant = make_mutant({"one": TREES["one"]}, str(number), ("*.bin",))
        assert mutant.file == "b.bin"


def test_a_folder_is_written_as_it_was_read(tmp_path: Path):
    write_tree({"a/b.txt": b"x", "c": b""}, tmp_path / "tree")
    assert read_tree(tmp_path / "tree") == {"a/b.txt": b"x", "c": b""}


# --- the page


def test_the_page_is_what_was_found_and_every_reader_was_hunted():
    results = read_results()
    assert PAGE.read_text("utf-8") == page(results), "run `make fuzz KEEP=1`"
    mutants = [each for each in results if each.hunt == MUTANTS]
    assert {each.name for each in mutants} == set(READERS)
    assert {each.name for each in results if each.hunt == "kill"} == set(COMMANDS)
    assert sum(each.tried for each in mutants) >= LEAST_MUTANTS
    assert sum(each.faults for each in results) == 0
