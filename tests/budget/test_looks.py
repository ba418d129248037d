"""The log of looks at test images: who looked, under which limits, and what came of it, wherever packages lie."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from present import present
from tiny_package import make_package, tiny_manifest

from brain_edge.errors import InputError, OutputError
from brain_edge.evaluation.evidence import Look
from brain_edge.machine.user_folder import user_folder
from brain_edge.package import ModelPackage
from brain_edge.package.manifest import WeightsRecord
from brain_edge_conversion.budget.budget import AccuracyBudget
from brain_edge_conversion.budget.looks import (
    LOG,
    STATE_PLACES,
    STATE_VARIABLE,
    LoggedLook,
    candidate_of,
    log_look,
    require_log,
    state_folder,
    weights_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

MODEL, OTHER_MODEL = ("aa" * 32, "bb" * 32), ("cc" * 32,)
HEADS = ("01" * 32, "02" * 32)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "state"
    monkeypatch.setenv(STATE_VARIABLE, str(folder))
    return folder


def line(
    candidate: str = "c1", *, model: tuple[str, ...] = MODEL, images: tuple[str, ...] = HEADS, **limits: Any
) -> LoggedLook:
    look = Look(candidate=candidate * 32, limits=AccuracyBudget(**limits).limits, met=False)
    return LoggedLook(weights=model, images=images, look=look)


def look_at(candidate: str = "c1", *, met: bool = True, **how) -> list[tuple[str, float, bool]]:
    """Log a look: candidate, budget and outcome of each that came before."""
    before = log_look(line(candidate, **how), lambda _before: met)
    return [(look.candidate[:2], look.limits.max_dice_drop, look.met) for look in before]


def test_another_candidate_or_another_budget_is_another_look():
    assert look_at(max_dice_drop=0.01, met=False) == []
    assert look_at(max_dice_drop=0.02) == [("c1", 0.01, False)]
    assert look_at("c2", max_dice_drop=0.02) == [("c1", 0.01, False), ("c1", 0.02, True)]


@pytest.mark.parametrize(
    "limit",
    [
        {"max_case_drop": 0.5},
        {"max_disagreement": 0.2},
        {"max_hd95_increase_mm": 9.0},
        {"min_int8_share": 0.1},
        {"confidence": 0.9},
        {"unbound": (2,)},
    ],
)
def test_every_limit_makes_another_budget(limit: dict):
    assert look_at() == []
    assert look_at(**limit) == [("c1", 0.01, True)]


def test_the_same_look_tells_nothing_new_whenever_it_is_repeated(state: Path):
    """An interrupted search judges again; it is to end with the same bytes."""
    assert look_at("c1") == []
    assert len(look_at("c2")) == 1
    written = (state / LOG).read_bytes()
    assert look_at("c1") == []
    assert len(look_at("c2")) == 1
    assert (state / LOG).read_bytes() == written


def test_the_same_look_with_another_outcome_is_a_new_one():
    """On another CPU, say, until it is met."""
    assert look_at(met=False) == []
    assert look_at(met=True) == [("c1", 0.01, False)]


def test_another_model_is_not_counted():
    assert look_at("c1", model=OTHER_MODEL) == []
    assert look_at("c2") == []


def test_what_was_kept_of_an_ensemble_is_the_same_model():
    """Tuned to one of its members, and quantised afterwards."""
    look_at("c1")
    assert look_at("c2", model=MODEL[:1]) == [("c1", 0.01, True)]


def test_a_split_with_one_head_more_or_less_is_not_a_new_one():
    look_at("c1")
    assert look_at("c2", images=(*HEADS, "03" * 32)) == [("c1", 0.01, True)]
    assert look_at("c3", images=HEADS[:1]) == [("c1", 0.01, True), ("c2", 0.01, True)]
    assert look_at("c4", images=("04" * 32,)) == []


def test_the_outcome_may_depend_on_who_looked_before():
    look_at("c1")
    assert log_look(line("c2"), lambda before: not before)[0].met
    assert look_at("c3")[-1] == ("c2", 0.01, False)


TWELVE_LOOKS = """
import sys
from brain_edge.evaluation.evidence import Look
from brain_edge_conversion.budget.budget import AccuracyBudget
from brain_edge_conversion.budget.looks import LoggedLook, log_look

print("ready", flush=True)
sys.stdin.readline()
for number in range(10, 22):
    look = Look(candidate=f"{sys.argv[1]}{number}0" * 16, limits=AccuracyBudget().limits, met=False)
    print(len(log_look(LoggedLook(weights=("aa" * 32,), images=("01" * 32,), look=look), lambda _before: True)))
"""


def test_processes_at_once_know_of_each_other():
    """They begin together. Whoever comes later has seen all before: the counts are 0 to 35, each once."""
    command = [sys.executable, "-c", TWELVE_LOOKS]
    children = [
        subprocess.Popen([*command, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for name in "abc"
    ]
    assert [present(child.stdout).readline() for child in children] == ["ready\n"] * 3
    for child in children:
        to_child = present(child.stdin)
        to_child.write("go\n")
        to_child.flush()
    counts = [int(count) for child in children for count in child.communicate()[0].split()]
    assert sorted(counts) == list(range(36))


def test_a_model_is_its_weights(tmp_path: Path):
    """Converted by another version, quantised, or with other steps after the network it is the same one."""
    first = tiny_manifest()
    again = msgspec.structs.replace(
        first, made_with={"brain-edge": "9"}, spec=msgspec.structs.replace(first.spec, name="x")
    )
    other = tuple(WeightsRecord(graph=each.graph, source=each.source, sha256="1" * 64) for each in first.weights)
    packages = [ModelPackage(tmp_path, each) for each in (first, again, msgspec.structs.replace(first, weights=other))]
    assert [weights_of(each) == weights_of(packages[0]) for each in packages] == [True, True, False]


def test_a_candidate_is_its_graphs(tmp_path: Path):
    package = make_package(tmp_path / "first")
    assert candidate_of(make_package(tmp_path / "second")) == candidate_of(package)
    weights = package.graph_file("tiny").with_suffix(".bin")
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert candidate_of(package) != candidate_of(make_package(tmp_path / "third"))


# --- the file


def test_no_bit_of_the_log_can_change_unseen(state: Path):
    """Nor can a line be taken out, but for the last ones."""
    for candidate in ("c1", "c2", "c3"):
        look_at(candidate)
    log = state / LOG
    whole = log.read_bytes()
    for position in range(len(whole)):
        log.write_bytes(whole[:position] + bytes([whole[position] ^ 1 << position % 8]) + whole[position + 1 :])
        with pytest.raises(InputError, match=r"test-looks\.jsonl: the log .* line \d has changed, .* move the"):
            require_log()
    lines = whole.splitlines(keepends=True)
    for left in ([lines[0], lines[2]], lines[1:], [lines[1], lines[0], lines[2]], [whole[:-1]], [whole, b"{"]):
        log.write_bytes(b"".join(left))
        with pytest.raises(InputError, match="has changed"):
            look_at("c4")
    log.write_bytes(whole)
    assert len(look_at("c4")) == 3


def test_a_folder_that_cannot_be_written_to_is_refused_in_one_sentence(read_only_disk: Path, monkeypatch):
    monkeypatch.setenv(STATE_VARIABLE, str(read_only_disk))
    with pytest.raises(OutputError, match=r"the log of looks at test images cannot be .*; set BRAIN_EDGE_STATE"):
        require_log()


def test_a_home_without_rights_is_refused_too(
    tmp_path: Path, monkeypatch, without_rights: Callable[..., AbstractContextManager[None]]
):
    home = tmp_path / "home"
    home.mkdir(mode=0o555)
    monkeypatch.setenv(STATE_VARIABLE, str(home / "brain-edge"))
    with without_rights(), pytest.raises(OutputError, match="cannot be written here"):
        require_log()


def test_no_name_and_no_path_is_in_the_log(state: Path, tmp_path: Path):
    look_at()
    assert str(tmp_path) not in (state / LOG).read_text(encoding="ascii")


@pytest.mark.parametrize(
    ("platform", "below_home"),
    [("linux", ".local/state"), ("darwin", "Library/Application Support"), ("win32", "AppData/Local")],
)
def test_the_log_is_the_users(platform: str, below_home: str, monkeypatch: pytest.MonkeyPatch):
    assert user_folder(platform, {}, STATE_PLACES, STATE_VARIABLE) == Path.home() / below_home
    if platform == sys.platform:
        for variable in (STATE_VARIABLE, "XDG_STATE_HOME", "LOCALAPPDATA"):
            monkeypatch.delenv(variable, raising=False)
        assert state_folder() == Path.home() / below_home / "brain-edge"


@pytest.mark.parametrize("text", [b"\xff", b"{}", b"[" * 100_000], ids=["no text", "no look", "deep"])
def test_a_line_with_the_right_hash_that_is_no_look_is_refused(state: Path, text: bytes):
    state.mkdir()
    digest = hashlib.sha256(b"0" * 64 + text).hexdigest()
    (state / LOG).write_bytes(digest.encode() + b" " + text + b"\n")
    with pytest.raises(InputError, match=r"test-looks\.jsonl: .*line 1 has changed"):
        require_log()


def test_what_a_killed_process_was_writing_into_the_log_is_removed(state: Path):
    state.mkdir()
    (state / ".partial-0123abcd-test-looks.jsonl").write_bytes(b"half")
    look_at()
    assert [path.name for path in state.iterdir()] == [LOG]
