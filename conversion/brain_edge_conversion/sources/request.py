"""What `convert` is asked for and what a source answers: the protocol that every kind of source follows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from brain_edge.errors import UsageError
from brain_edge_conversion.recipe import Variant

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from brain_edge_conversion.recipe import ModelSource, Recipe


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asks to be converted.

    Attributes:
        source: recipe, `module:attribute`, or the path of a file or folder.
        weights: a weights file per graph; the name may be empty where the model has one graph.
        spec_file: JSON of the ModelSpec, where the source does not say its steps.
        variant: of a recipe.
        all_members: of an ensemble, however many there are; `variant` leaves it open then.
        random_weights: do not look for weights; the package is marked.
        trust: the user says that the code may run.
        report: told what is fetched.
    """

    source: str
    weights: Mapping[str, Path] = field(default_factory=dict)
    spec_file: Path | None = None
    variant: Variant = field(default_factory=Variant)
    all_members: bool = False
    random_weights: bool = False
    trust: bool = False
    report: Callable[[str], None] = lambda _line: None

    @property
    def given(self) -> Mapping[str, object]:
        """What the options were given that some kinds of source have no use for; false where they were not."""
        return {
            "--spec": self.spec_file,
            "--members": self.all_members or self.variant.members is not None,
            "--flips": self.variant.flips,
            "--sequences": self.variant.sequences,
            "--weights": self.weights,
            "--random-weights": self.random_weights,
            "--trust": self.trust,
        }


@dataclass(frozen=True)
class Resolved:
    """A model, its weights on disk (None: random), and the recipe that it came from, if any."""

    model: ModelSource
    weights: Mapping[str, Path | None]
    recipe: Recipe | None = None


@dataclass(frozen=True)
class SourceKind:
    """One kind of source.

    Attributes:
        name: what it is, in words, for the list of what there is.
        claims: whether a source is of this kind, by its name, suffix or the names in a folder; runs nothing.
        resolve: from a request to a model with its weights on disk. What is code must go through `require_trust`
            before anything of it is imported or loaded. Raises errors of `brain_edge.errors`.
        idle: options of `convert` that would do nothing for this kind, each with the reason, which follows the source
            in the message ("holds its weights").
    """

    name: str
    claims: Callable[[str], bool]
    resolve: Callable[[Request], Resolved]
    idle: Mapping[str, str] = field(default_factory=dict)


def require_trust(request: Request, what: str) -> None:
    """Refuse to run code that the user has not said to trust; `what` names it with its SHA-256.

    Raises:
        UsageError: no `--trust`.
    """
    if not request.trust:
        raise UsageError(
            f"{what} is code that would run here; say --trust if you know where it comes from "
            "(docs/concepts/trust.md says what each format can do)"
        )
