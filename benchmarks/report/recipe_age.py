"""Since when a recipe computes what it computes now: a record that is older is of another model, and is marked stale.

`benchmarks/recipes.toml` says it by hand, because only a person knows what a change means; a test compares the digests
in it with the recipes, so that none can change unseen.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec

from benchmarks import BENCHMARKS
from benchmarks.harness.cell_record import read_as
from brain_edge.spec import canonical_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from brain_edge.spec import ModelSpec

RECIPES: Final = BENCHMARKS / "recipes.toml"


class RecipeAge(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a recipe computes, and since when.

    Attributes:
        stages: see `stages_sha256`, of the recipe's first variant.
        since: the commit that made it so.
        change: what that commit changed, in words.
    """

    stages: str
    since: datetime
    change: str


def stages_sha256(spec: ModelSpec) -> str:
    """The SHA-256 of what computes: steps, networks and executions, without names and descriptions of the model."""
    return hashlib.sha256(canonical_json(spec.stages)).hexdigest()


def read_recipe_ages(path: Path = RECIPES) -> dict[str, RecipeAge]:
    """By the name of the recipe.

    Raises:
        InputError: the file cannot be read, or says something else.
    """
    return read_as(dict[str, RecipeAge], path, "ages of recipes")


class Ages:
    """Marks what is older than its recipe, and remembers what was marked."""

    def __init__(self, recipes: Mapping[str, RecipeAge]) -> None:
        self._recipes = recipes
        self._marked: dict[str, RecipeAge] = {}

    def marked(self, subject: str, started: datetime) -> str:
        """The name of a model as a table shows it, `(stale)` behind it where its record is older than its recipe.

        Args:
            subject: recipe, or a network that is no recipe and is never stale.
            started: when its record was begun.
        """
        found = self._recipes.get(subject)
        if found is None or started >= found.since:
            return subject
        self._marked[subject] = found
        return f"{subject} (stale)"

    def words(self) -> Iterator[str]:
        """One sentence on all that was marked so far; nothing without."""
        if self._marked:
            yield f"Stale: measured before the recipe changed. {' '.join(_sentences(self._marked.items()))}"


def _sentences(marked: Iterable[tuple[str, RecipeAge]]) -> Iterator[str]:
    return (f"{name}, {age.since:%Y-%m-%d %H:%M} UTC: {age.change}." for name, age in sorted(marked))
