"""The journal of a tuning: every trial and every round of times on disk, so that an interrupted one goes on.

A folder beside the package to be, one sub-folder per question (packages, cohort, threads, versions). The budget is no
part of the question: what was measured holds for every budget. The masks of the package as it is are kept there too,
because they may be an hour's work; they show heads, and go when the package is written.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from brain_edge.evaluation.evidence import AccuracyCase
from brain_edge.machine.atomic import atomic_file
from brain_edge.spec import Value
from brain_edge_conversion.tune.timed import ProcessSample

if TYPE_CHECKING:
    from pathlib import Path

QUESTION: Final = "question.json"
TRIALS: Final = "trials.jsonl"
ROUNDS: Final = "rounds.jsonl"
BASELINE: Final = "baseline.jsonl"
MASKS: Final = "masks"

Line = TypeVar("Line", bound=Value)


class Question(Value, frozen=True):
    """What a tuning is about: another answer in any field may change what a trial shows.

    The machine is one of them (`arithmetic_of`): INT8 gives other masks with other instructions, and times are its own.
    """

    package: str
    int8: str | None
    cohort: str
    dials: tuple[tuple[str, ...], ...]
    threads: int
    machine: str
    versions: dict[str, str]


class Entry(Value, frozen=True):
    """One trial as it was measured.

    Attributes:
        setting: the level of each dial.
        operations: of the networks over all cases, in multiply-adds of f32; None where it could not be run.
        records: per case and label; empty where it could not be run.
        problem: why it could not be run.
        elapsed_s: for the estimate of what is left; never decisive.
    """

    setting: tuple[int, ...]
    operations: float | None
    records: tuple[AccuracyCase, ...]
    problem: str = ""
    elapsed_s: float = 0.0


class Full(Value, frozen=True):
    """A case whose mask by the package as it is has been kept, and what that took, in multiply-adds of f32."""

    case: int
    operations: float


class Round(Value, frozen=True):
    """One cold run of each setting, one after the other; only a whole round is kept."""

    settings: tuple[tuple[int, ...], ...]
    samples: tuple[ProcessSample, ...]


class Journal:
    """The trials and rounds of one question, in order.

    Args:
        root: the folder of all questions about one package.
        question: which one; what is there already is read.
    """

    def __init__(self, root: Path, question: Question) -> None:
        text = msgspec.json.encode(question, order="sorted")
        self.folder = root / hashlib.sha256(text).hexdigest()[:12]
        self.masks = self.folder / MASKS
        self.masks.mkdir(parents=True, exist_ok=True)
        (self.folder / QUESTION).write_bytes(text)
        self.entries = _read(self.folder / TRIALS, Entry)
        self.rounds = _read(self.folder / ROUNDS, Round)
        self.full = {full.case: full.operations for full in _read(self.folder / BASELINE, Full)}

    def append(self, entry: Entry) -> None:
        """Add a trial."""
        _append(self.folder / TRIALS, entry)
        self.entries.append(entry)

    def append_full(self, full: Full) -> None:
        """Add a case of the package as it is."""
        _append(self.folder / BASELINE, full)
        self.full[full.case] = full.operations

    def append_round(self, timed: Round) -> None:
        """Add a round."""
        _append(self.folder / ROUNDS, timed)
        self.rounds.append(timed)


def _append(path: Path, line: Value) -> None:
    with path.open("ab") as log:
        log.write(msgspec.json.encode(line) + b"\n")


def _read(path: Path, kind: type[Line]) -> list[Line]:
    """The whole lines; what a killed process has begun is cut off, so that the next line starts a line."""
    if not path.is_file():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]
    with atomic_file(path) as partial:
        partial.write_bytes(b"".join(line + b"\n" for line in lines))
    return [msgspec.json.decode(line, type=kind) for line in lines]
