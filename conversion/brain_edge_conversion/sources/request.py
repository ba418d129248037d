"""Protocol of every kind of source: the request to `convert`, and the resolved model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from brain_edge.errors import UsageError
from brain_edge_conversion.recipe import Variant

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import nn

    from brain_edge_conversion.recipe import ModelSource, Recipe


@dataclass(frozen=True, kw_only=True)
class Request:
    """Conversion request of the user.

    Attributes:
        source: recipe name, `module:attribute`, or path of a file or folder.
        weights: weights file of each graph; the graph's name may be empty for a model with one graph.
        spec_file: JSON file of the ModelSpec, for a source that does not state its steps.
        variant: variant of a recipe.
        all_members: True to use all members of an ensemble; `variant` then leaves their number open.
        random_weights: True to use random weights; the package is marked.
        trust: True if the user allows the source's code to run.
        report: function that receives progress lines, such as downloads.
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
        """Option -> its value, for options that some kinds of source cannot use; false if not given."""
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
    """Model, its weights on disk (None: random), and its recipe, if any."""

    model: ModelSource
    weights: Mapping[str, Path | None]
    recipe: Recipe | None = None


@dataclass(frozen=True)
class BareNetwork:
    """Network of a source without its specification.

    Attributes:
        module: network in evaluation mode.
        input_shape: shape (N, C, ...) that the source states, -1 for open sides; empty if it states none.
    """

    module: nn.Module
    input_shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class SourceKind:
    """One kind of source.

    Attributes:
        name: name of the kind, for the list of kinds in messages.
        claims: test of whether a source is of this kind, by its name, suffix or the names in a folder; runs no code.
        resolve: function from a request to a model with its weights on disk. Code must pass `require_trust` before any
            of it is imported or loaded. Raises errors of `brain_edge.errors`.
        idle: options of `convert` without effect for this kind -> reason, which follows the source in the message
            ("holds its weights").
        network: function from a request to the network alone, for a kind that states no steps. It must pass
            `require_trust` as `resolve` does. None for a kind that states its steps.
    """

    name: str
    claims: Callable[[str], bool]
    resolve: Callable[[Request], Resolved]
    idle: Mapping[str, str] = field(default_factory=dict)
    network: Callable[[Request], BareNetwork] | None = None


def require_trust(request: Request, what: str) -> None:
    """Refuse to run code that the user does not trust; `what` names the code with its SHA-256.

    Raises:
        UsageError: `--trust` was not given.
    """
    if not request.trust:
        raise UsageError(
            f"{what} is code that would run here; use --trust if you know where it comes from "
            "(docs/concepts/trust.md explains what each format can do)"
        )
