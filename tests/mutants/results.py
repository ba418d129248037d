"""What became of each mutant: one line of JSON each, in the repository, so that a run goes on where one stopped."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

RESULTS: Final = Path(__file__).resolve().parent / "results.jsonl"


class Outcome(StrEnum):
    """What the tests made of a mutant."""

    KILLED = "killed"
    """A test failed, which passes without the mutant."""
    TIMEOUT = "timeout"
    """The tests did not end within several times the CPU time that they take without it; counts as killed."""
    SURVIVED = "survived"
    """No test noticed."""


@dataclass(frozen=True)
class Result:
    """One mutant, tried once. `mutant` is its change; `digest` the changed file and the tests; `by` the test."""

    id: str
    outcome: Outcome
    by: str
    mutant: str
    digest: str
    commit: str
    date: str
    machine: str


def read_results() -> dict[str, Result]:
    """The latest result of each mutant, by its name."""
    if not RESULTS.exists():
        return {}
    found = [json.loads(line) for line in RESULTS.read_text("utf-8").splitlines()]
    return {each["id"]: Result(**{**each, "outcome": Outcome(each["outcome"])}) for each in found}


def append_result(result: Result) -> None:
    """Add a line: a run that is stopped has lost nothing."""
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(result)) + "\n")


def tidy_results(ids: Iterable[str]) -> None:
    """Keep the latest line of each mutant that there is, in the order of the tables."""
    results = read_results()
    kept = [json.dumps(asdict(results[name])) + "\n" for name in ids if name in results]
    RESULTS.write_text("".join(kept), "utf-8")
