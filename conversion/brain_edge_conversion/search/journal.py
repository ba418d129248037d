"""The journal of a search: every trial on disk before the next one begins, so that an interrupted search goes on.

A folder beside the package to be, one sub-folder per question: a trial is never taken for the answer to another
question. No name of a patient is in it.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import msgspec

from brain_edge.evaluation.evidence import AccuracyCase, Change, IsaRecord
from brain_edge.machine.atomic import atomic_file
from brain_edge.machine.json import decode_json
from brain_edge.package import graph_path
from brain_edge.package.digest import sha256_of
from brain_edge.spec import Value
from brain_edge_conversion.budget.coverage import LayerCost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

QUESTION: Final = "question.json"
TRIALS: Final = "trials.jsonl"

Choice = TypeVar("Choice")
Line = TypeVar("Line")


class Question(Value, frozen=True, kw_only=True):
    """What a search is about: another answer in any field may change what a trial shows.

    The machine is one of them (`arithmetic_of`): INT8 gives other masks with other instructions, and times are its own.

    Attributes:
        change: what kind of search.
        package: digest of the baseline.
        cohort: SHA-256 of its manifest.
        space: what is tried, and what else the figures of a trial depend on.
        versions: of what measures.
        threads: of all measurements.
        machine: whose arithmetic.
    """

    change: Change
    package: str
    cohort: str
    space: Value
    versions: dict[str, str]
    threads: int
    machine: str


class Entry(Value, Generic[Choice], frozen=True, kw_only=True):
    """One trial as it was measured.

    Attributes:
        choice: what was tried.
        records: on the search data, per case and label; empty where it could not be run.
        operations: of the networks over all cases, in multiply-adds of f32; None where they are not counted.
        int8_share: of the multiply-adds, on this CPU or with other instructions, whichever is less.
        isas: under other instruction sets, where the budget was met on this CPU.
        layers: of each graph, what is integer.
        files: of the trial's folder, with their SHA-256.
        problem: why it could not be run.
        elapsed_s: for the estimate of what is left and for a time limit; otherwise never decisive.
    """

    choice: Choice
    records: tuple[AccuracyCase, ...] = ()
    operations: float | None = None
    int8_share: float = 0.0
    isas: tuple[IsaRecord, ...] = ()
    layers: dict[str, tuple[LayerCost, ...]] = msgspec.field(default_factory=dict)
    files: dict[str, str] = msgspec.field(default_factory=dict)
    problem: str = ""
    elapsed_s: float = 0.0

    @property
    def ran(self) -> bool:
        """Whether it could be run."""
        return bool(self.records)


class Log(Generic[Line]):
    """Records in a file, one JSON line each; every line is on disk before it counts.

    Args:
        path: of the file; what is there is read.
        kind: of the records.
        is_whole: told the number and the record of each line; the first line that is not whole ends the log.
    """

    def __init__(
        self, path: Path, kind: type[Line], is_whole: Callable[[int, Line], bool] = lambda _number, _line: True
    ) -> None:
        self._path = path
        self._lines: list[Line] = []
        # behind the last line end there is nothing, or what a killed process has begun
        texts = path.read_bytes().split(b"\n")[:-1] if path.is_file() else []
        for number, text in enumerate(texts):
            line = _line(text, kind)
            if line is None or not is_whole(number, line):
                break
            self._lines.append(line)
        if path.is_file():
            with atomic_file(path) as partial:
                partial.write_bytes(b"".join(text + b"\n" for text in texts[: len(self._lines)]))

    def __iter__(self) -> Iterator[Line]:
        return iter(self._lines)

    def __len__(self) -> int:
        return len(self._lines)

    def append(self, line: Line) -> None:
        """Add a record."""
        with self._path.open("ab") as log:
            log.write(msgspec.json.encode(line) + b"\n")
        self._lines.append(line)


def _line(text: bytes, kind: type[Line]) -> Line | None:
    """A record, None where a disk has damaged it: it is measured again, with all that came after it."""
    try:
        return decode_json(text, kind)
    except msgspec.DecodeError:
        return None


class Journal(Generic[Choice]):
    """The trials of one question, in order.

    Args:
        root: the folder of all questions about one package.
        question: which one; trials that are there already are read.
        kind: of the entries.
    """

    def __init__(self, root: Path, question: Question, kind: type[Entry[Choice]]) -> None:
        text = msgspec.json.encode(question, order="sorted")
        self.folder = root / hashlib.sha256(text).hexdigest()[:12]
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / QUESTION).write_bytes(text)
        self.entries = Log(self.folder / TRIALS, kind, self._has_its_files)

    def trial_folder(self, number: int) -> Path:
        """Where the graphs of a trial lie, counted from 0."""
        return self.folder / f"trial-{number:02d}"

    def entry(self, choice: Choice) -> tuple[Entry[Choice], Path]:
        """The trial of a choice and its folder."""
        (found,) = (number for number, entry in enumerate(self.entries) if entry.choice == choice)
        return list(self.entries)[found], self.trial_folder(found)

    @property
    def elapsed_s(self) -> float:
        """What the trials have taken, over all interruptions."""
        return sum(entry.elapsed_s for entry in self.entries)

    def _has_its_files(self, number: int, entry: Entry[Choice]) -> bool:
        return hashes(self.trial_folder(number), entry.layers) == entry.files


def hashes(folder: Path, graphs: Iterable[str]) -> dict[str, str]:
    """SHA-256 of the files of each graph; of those that are there."""
    names = [name for graph in graphs for name in (graph_path(graph), graph_path(graph).removesuffix(".xml") + ".bin")]
    return {name: sha256_of(folder / name) for name in names if (folder / name).is_file()}
