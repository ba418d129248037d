"""Faults on disk: the damaged files, what they came to, and how to try them again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hunt.judge import read_tree, write_tree
from hunt.mutations import make_mutant

if TYPE_CHECKING:
    from hunt.judge import Outcome
    from hunt.reader import Reader

ABOUT: Final = "fault.json"
MUTANT: Final = "mutant"
KEPT_ALIKE: Final = 3
"""Faults of one kind that are kept: the first ones are enough to mend it."""


@dataclass(frozen=True)
class Fault:
    """A fault that was kept.

    Attributes:
        folder: where.
        reader, seed, number: which mutant it is.
        valid: the folder that it was made of.
        error, at, words: what it came to.
    """

    folder: Path
    reader: str
    seed: int
    number: int
    valid: str
    error: str
    at: str
    words: str

    @property
    def kind(self) -> tuple[str, str, str]:
        """What faults of one cause share."""
        return self.reader, self.error, self.at


def keep_fault(root: Path, seeds: Path, reader: tuple[str, Reader], seed: int, outcome: Outcome) -> Fault | None:
    """Write a fault into a folder of its own; None where enough of its kind are there.

    Args:
        root: the folder of all faults.
        seeds: the valid folders.
        reader: its name, and what it is.
        seed: of the mutants.
        outcome: what was found.
    """
    name, how = reader
    valid = ""
    folder = root / f"{name}-{seed}-{outcome.number}"
    alike = [each for each in kept_faults(root) if each.kind == (name, outcome.error, outcome.at)]
    if len(alike) >= KEPT_ALIKE and folder not in [each.folder for each in alike]:
        return None
    if outcome.number >= 0:
        trees = {path.name: read_tree(path) for path in sorted((seeds / name).iterdir())}
        mutant = make_mutant(trees, f"{name}-{seed}-{outcome.number}", how.patterns)
        write_tree(how.mend(mutant.tree), folder / MUTANT)
        valid = mutant.seed
    folder.mkdir(parents=True, exist_ok=True)
    fault = Fault(folder, name, seed, outcome.number, valid, outcome.error, outcome.at, outcome.words)
    about = {**{name: value for name, value in vars(fault).items() if name != "folder"}, "trace": outcome.trace}
    (folder / ABOUT).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    return fault


def kept_faults(root: Path) -> list[Fault]:
    """Every fault in a folder, by name."""
    return [kept_fault(path.parent) for path in sorted(root.glob(f"*/{ABOUT}"))]


def kept_fault(folder: Path) -> Fault:
    """One fault."""
    about = json.loads((folder / ABOUT).read_text("utf-8"))
    about.pop("trace")
    return Fault(Path(folder), **about)
