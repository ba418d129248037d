"""Journal of a search: every trial is on disk before the next one begins, so an interrupted search can continue.

The journal is a folder beside the future package, with one sub-folder per question: a trial is never taken for the
answer to another question. It contains no patient's name.
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
from brain_edge_conversion.budget.work_folder import QUESTION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

TRIALS: Final = "trials.jsonl"

Choice = TypeVar("Choice")
Line = TypeVar("Line")


class Question(Value, frozen=True, kw_only=True):
    """Question that a search answers: everything on which the result of a trial may depend.

    The machine is part of it (`arithmetic_of`): INT8 gives other masks on another ISA, and times are those of a
    machine.

    Attributes:
        change: kind of search.
        package: digest of the baseline.
        cohort: SHA-256 of the cohort's manifest.
        space: candidates to try, and everything else that the figures of a trial depend on.
        versions: versions of the measuring tools.
        threads: number of threads in all measurements.
        machine: arithmetic of the machine.
    """

    change: Change
    package: str
    cohort: str
    space: Value
    versions: dict[str, str]
    threads: int
    machine: str


class Entry(Value, Generic[Choice], frozen=True, kw_only=True):
    """One trial as measured.

    Attributes:
        choice: candidate that was tried.
        records: measurements on the search data, per case and label; empty if the trial could not run.
        operations: cost of the networks over all cases, in f32 multiply-accumulates; None if not counted.
        int8_share: INT8 fraction of the multiply-accumulates, the smaller of this CPU's and the older ISA's.
        isas: measurements under other ISAs, made if the budget was met on this CPU.
        layers: cost of the layers of each graph, with what runs in INT8.
        files: file of the trial's folder -> SHA-256.
        problem: reason why the trial could not run.
        elapsed_s: duration in s, for the estimate of the remaining time and for a time limit; it decides nothing else.
        cpu_s: processor time of all threads and child processes in s, which other programs hardly change; it decides
            nothing.
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
    cpu_s: float = 0.0

    @property
    def ran(self) -> bool:
        """True if the trial could run."""
        return bool(self.records)


class Log(Generic[Line]):
    """Records in a file, one JSON line each; every line is on disk before it counts.

    Args:
        path: path of the file; existing lines are read.
        kind: type of the records.
        is_whole: function of a line's number and record; the first line that it rejects ends the log.
    """

    def __init__(
        self, path: Path, kind: type[Line], is_whole: Callable[[int, Line], bool] = lambda _number, _line: True
    ) -> None:
        self._path = path
        self._lines: list[Line] = []
        # after the last line end there is nothing, or a line that a killed process began
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
    """Trials of one question, in order.

    Args:
        root: folder of all questions about one package.
        question: question of this journal; existing trials are read.
        kind: type of the entries.
    """

    def __init__(self, root: Path, question: Question, kind: type[Entry[Choice]]) -> None:
        text = msgspec.json.encode(question, order="sorted")
        self.folder = root / hashlib.sha256(text).hexdigest()[:12]
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / QUESTION).write_bytes(text)
        self.entries = Log(self.folder / TRIALS, kind, self._has_its_files)

    def trial_folder(self, number: int) -> Path:
        """Return the folder of a trial's graphs; trials are counted from 0."""
        return self.folder / f"trial-{number:02d}"

    def entry(self, choice: Choice) -> tuple[Entry[Choice], Path]:
        """Return the trial of a choice and its folder."""
        (found,) = (number for number, entry in enumerate(self.entries) if entry.choice == choice)
        return list(self.entries)[found], self.trial_folder(found)

    @property
    def elapsed_s(self) -> float:
        """Total duration of the trials over all interruptions, s."""
        return sum(entry.elapsed_s for entry in self.entries)

    def _has_its_files(self, number: int, entry: Entry[Choice]) -> bool:
        return hashes(self.trial_folder(number), entry.layers) == entry.files


def hashes(folder: Path, graphs: Iterable[str]) -> dict[str, str]:
    """File of a graph -> SHA-256, for the files that exist."""
    names = [name for graph in graphs for name in (graph_path(graph), graph_path(graph).removesuffix(".xml") + ".bin")]
    return {name: sha256_of(folder / name) for name in names if (folder / name).is_file()}
