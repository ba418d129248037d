"""What a hunt came to: a line each in `results.jsonl`, and the page that is written from them."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from brain_edge.evaluation.markdown import markdown_table
from brain_edge.machine.description import this_machine
from hunt.judge import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from hunt.campaign import Tally

RESULTS: Final = Path(__file__).resolve().parent / "results.jsonl"
PAGE: Final = ROOT / "docs" / "reference" / "hunt.md"
MUTANTS: Final = "mutants"
INTRODUCTION: Final = """# Hunt

The hunt looks for what nobody thought of: files that are damaged, processes that are killed, machines that are short
of something. `make fuzz` hunts for hours, with a seed of its own; `make test` does a small part of the same with a
fixed seed.

- **Mutants.** Small valid files of every kind that the program reads are made by the libraries of their formats, and
  are damaged: bits, runs, ends, two files spliced, numbers at the edge of their type, fields of headers, values and
  keys of JSON, brackets within brackets, other encodings, members of archives exchanged, missing, twice or larger than
  said. Each is read as the program reads it, in a process that is watched from outside. A fault is an exception outside
  of the error tree, a death, more than 20 s, more than 2 GiB beyond what a warm process holds (what the file declares
  is not added), and damage that is taken for content where a hash promises otherwise.
- **Kill.** Commands are killed outright at any moment and started again: no visible file may be half-written, the next
  run must end as an undisturbed one does, with the same masks and graphs, and no hidden file may be left.
- **Starve.** `run` gets little of something: the right mask, or one sentence and an exit code, and nothing
  half-written.

| command | what it does |
|---|---|
| `make fuzz MINUTES=60 SEED=7` | all readers for so long, then kills and shortages; goes on where it stopped |
| `make fuzz READER=images,dicom` | these readers alone |
| `python -m hunt kill --command batch --trials 20` | kills alone (in `tests/`) |
| `python -m hunt starve --shortage disk` | shortages alone |
| `python -m hunt replay ../.hunt/faults/NAME` | one fault again, from the files that were kept |"""


@dataclass(frozen=True)
class Result:
    """What was tried at one commit.

    Attributes:
        hunt: mutants, kill or starve.
        name: of the reader, command or shortage.
        tried, refused, accepted, faults: how many; of kills and shortages nothing is refused.
        seed, commit, date, machine: where it comes from.
    """

    hunt: str
    name: str
    tried: int
    refused: int
    accepted: int
    faults: int
    seed: int
    commit: str
    date: str
    machine: str


def results_of(hunt: str, tallies: Iterable[Tally], seed: int) -> list[Result]:
    """Tallies as results of this checkout, here and today."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()
    made = (seed, commit, dt.datetime.now(dt.UTC).date().isoformat(), this_machine().cpu)
    return [
        Result(hunt, tally.reader, tally.tried, tally.refused, tally.accepted, tally.faults, *made)
        for tally in tallies
        if tally.tried
    ]


def read_results(path: Path = RESULTS) -> list[Result]:
    """The results that are kept, in order."""
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    return [Result(**json.loads(line)) for line in lines]


def keep_results(new: Sequence[Result], path: Path = RESULTS) -> None:
    """Put results in the place of those of the same names, and write the page."""
    known = {(each.hunt, each.name): each for each in [*read_results(path), *new]}
    kept = [known[key] for key in sorted(known)]
    path.write_text("".join(json.dumps(asdict(each)) + "\n" for each in kept), encoding="utf-8")
    PAGE.write_text(page(kept), encoding="utf-8")


def page(results: Sequence[Result]) -> str:
    """The whole page."""
    return "\n".join([INTRODUCTION, "", *_sections(results)]) + "\n"


def _sections(results: Sequence[Result]) -> Iterator[str]:
    for hunt in sorted({each.hunt for each in results}, key=lambda name: (name != MUTANTS, name)):
        chosen = [each for each in results if each.hunt == hunt]
        yield from (f"## {hunt.capitalize()}", "", _table(chosen, hunt), "")
    commits = ", ".join(dict.fromkeys(each.commit for each in results))
    dates, machines, seeds = (sorted({str(getattr(each, name)) for each in results}) for name in _ORIGIN)
    yield f"Tried {', '.join(dates)} at {commits} with seed {', '.join(seeds)} on {', '.join(machines)}."


_ORIGIN: Final = ("date", "machine", "seed")


def _table(results: Sequence[Result], hunt: str) -> str:
    columns = ("name", "tried", "refused", "accepted", "faults") if hunt == MUTANTS else ("name", "tried", "faults")
    rows = [tuple(str(getattr(each, column)) for column in columns) for each in results]
    sums = [f"{sum(getattr(each, column) for each in results)}" for column in columns[1:]]
    return markdown_table(columns, [*rows, ("**all**", *sums)], aligned=False)
