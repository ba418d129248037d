"""The journal of a search: every trial with its graphs on disk, so that an interrupted search goes on.

A folder beside the package to be, one sub-folder per question (package, cohort, budget, versions, threads): a trial
is never taken for the answer to another question. No image and no name of a patient is in it.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import msgspec

from brain_edge.evaluation.evidence import AccuracyCase, IsaRecord
from brain_edge.machine.atomic import atomic_file
from brain_edge.package import graph_path
from brain_edge.package.digest import sha256_of
from brain_edge.spec import Value
from brain_edge_conversion.budget.budget import AccuracyBudget
from brain_edge_conversion.budget.coverage import LayerCost
from brain_edge_conversion.quantize.ladder import Setting
from brain_edge_conversion.quantize.policy import Group, TrialOutcome

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

TRIALS: Final = "trials.jsonl"
RANKING: Final = "ranking.json"
QUESTION: Final = "question.json"


class Question(Value, frozen=True):
    """What a search is about: another answer in any field may change the outcome of a trial.

    The machine is one of them (`arithmetic_of`): INT8 gives other masks with other instructions, and times are its own.
    """

    package: str
    cohort: str
    budget: AccuracyBudget
    ladder: tuple[Setting, ...]
    versions: dict[str, str]
    threads: int
    machine: str


class Entry(Value, frozen=True):
    """One trial as it was measured.

    Attributes:
        outcome: for the policy.
        records: on the search data.
        isas: under other instruction sets, where the budget was met on this CPU.
        layers: of each graph, what is integer.
        files: of the trial's folder, with their SHA-256.
        elapsed_s: for the estimate of what is left and for a time limit; otherwise never decisive.
    """

    outcome: TrialOutcome
    records: tuple[AccuracyCase, ...]
    isas: tuple[IsaRecord, ...]
    layers: dict[str, tuple[LayerCost, ...]]
    files: dict[str, str]
    elapsed_s: float


class Journal:
    """The trials of one question, in order.

    Args:
        root: the folder of all questions about one package.
        question: which one; trials that are there already are read.
    """

    def __init__(self, root: Path, question: Question) -> None:
        text = msgspec.json.encode(question, order="sorted")
        self.folder = root / hashlib.sha256(text).hexdigest()[:12]
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / QUESTION).write_bytes(text)
        self.entries: list[Entry] = list(self._read())

    def trial_folder(self, number: int) -> Path:
        """Where the graphs of a trial lie, counted from 0."""
        return self.folder / f"trial-{number:02d}"

    def append(self, entry: Entry) -> None:
        """Add the trial whose graphs are in the next folder."""
        with (self.folder / TRIALS).open("ab") as log:
            log.write(msgspec.json.encode(entry) + b"\n")
        self.entries.append(entry)

    @property
    def ranking(self) -> tuple[Group, ...] | None:
        """The ranked groups, where that was done."""
        path = self.folder / RANKING
        return msgspec.json.decode(path.read_bytes(), type=tuple[Group, ...]) if path.is_file() else None

    def save_ranking(self, ranked: tuple[Group, ...]) -> None:
        """Keep the ranking, which is made once."""
        with atomic_file(self.folder / RANKING) as partial:
            partial.write_bytes(msgspec.json.encode(ranked))

    def _read(self) -> Iterable[Entry]:
        """The trials up to the first one that is not whole: a killed process leaves half a line or other files."""
        path = self.folder / TRIALS
        lines = path.read_bytes().split(b"\n")[:-1] if path.is_file() else []
        whole: list[bytes] = []
        for number, line in enumerate(lines):
            entry = msgspec.json.decode(line, type=Entry)
            if hashes(self.trial_folder(number), entry.layers) != entry.files:
                break
            whole.append(line)
            yield entry
        if path.is_file():
            with atomic_file(path) as partial:
                partial.write_bytes(b"".join(line + b"\n" for line in whole))


def hashes(folder: Path, graphs: Iterable[str]) -> dict[str, str]:
    """SHA-256 of the files of each graph; of those that are there."""
    names = [name for graph in graphs for name in (graph_path(graph), graph_path(graph).removesuffix(".xml") + ".bin")]
    return {name: sha256_of(folder / name) for name in names if (folder / name).is_file()}
