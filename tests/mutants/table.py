"""The mutants as data: which text of which file becomes which other text, and the tests that should notice."""

from __future__ import annotations

import ast
import hashlib
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent.parent
TABLES: Final = Path(__file__).resolve().parent / "tables"


class StaleError(Exception):
    """The code that a mutant changes is no longer there, or there more than once."""


@dataclass(frozen=True)
class Mutant:
    """One change of one file that makes the program wrong, or, where `equivalent` says why, does not."""

    id: str
    area: str
    file: str
    what: str
    old: str
    new: str
    tests: tuple[str, ...]
    equivalent: str = ""

    @property
    def digest(self) -> str:
        """Which change it is, whatever else stands in the file."""
        return _digest(self.file, self.old, self.new)

    def digest_in(self, root: Path) -> str:
        """The changed file and the tests as they are under `root`: what a result is of."""
        files = sorted({test.partition("::")[0] for test in self.tests})
        texts = [(root / name).read_text("utf-8") for name in files]
        return _digest(self.apply((root / self.file).read_text("utf-8")), *self.tests, *texts)

    def apply(self, text: str) -> str:
        """The text of the file with the fault in it.

        Raises:
            StaleError: `old` stands in `text` not exactly once, or what comes out is no other Python.
        """
        if (count := text.count(self.old)) != 1:
            raise StaleError(
                f"{self.id}: {self.file} should hold the text of the mutant once, and holds it {count} times"
            )
        changed = text.replace(self.old, self.new)
        try:
            same = ast.dump(ast.parse(changed)) == _tree(text)
        except SyntaxError as error:
            raise StaleError(f"{self.id}: {self.file} with the mutant is no Python: {error}") from error
        if same:
            raise StaleError(f"{self.id}: {self.file} with the mutant is the same program")
        return changed


def areas() -> list[str]:
    """Names of the tables."""
    return sorted(path.stem for path in TABLES.glob("*.toml"))


def mutants_of(area: str) -> list[Mutant]:
    """The mutants of one table, in its order; `tests` of a file hold for those of its mutants that name none."""
    files = tomllib.loads((TABLES / f"{area}.toml").read_text("utf-8"))["file"]
    return [
        Mutant(**{"tests": file["tests"], **mutant, "area": area, "file": file["path"]})
        for file in files
        for mutant in file["mutant"]
    ]


def all_mutants() -> list[Mutant]:
    """Every mutant, table by table."""
    return [mutant for area in areas() for mutant in mutants_of(area)]


@cache
def _tree(text: str) -> str:
    return ast.dump(ast.parse(text))


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
