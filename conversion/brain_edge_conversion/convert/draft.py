"""What a conversion has decided so far: one frozen draft after another, which every stage takes and none changes."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeVar

from brain_edge.package import Precision
from brain_edge_conversion.convert.parity import ParityLimits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from torch import nn

    from brain_edge.image.volume import Study
    from brain_edge.package import Manifest, ModelPackage
    from brain_edge.package.manifest import StageZero
    from brain_edge.spec import ModelSpec, Stage
    from brain_edge_conversion.convert.parity import Findings
    from brain_edge_conversion.recipe import ModelSource


@dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """How to convert.

    Attributes:
        precision: in which the package will be run.
        rewrites: apply the exact rewrites; without them the plain conversion is compared and usually refused.
        limits: of the parity check.
        report: told what is being done, one line at a time.
        account: folder, .json or .html file for the report of the conversion, also of one that is refused.
        stage_zero: the package that runs before this one, if any.
    """

    precision: Precision = Precision.F32
    rewrites: bool = True
    limits: ParityLimits = field(default_factory=ParityLimits)
    report: Callable[[str], None] = lambda _line: None
    account: Path | None = None
    stage_zero: StageZero | None = None


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be converted, and how.

    Attributes:
        source: the model.
        weights: a weights file per graph; None for random weights.
        study: a real head for the parity check.
        folder: where the package is made.
        options: how.
    """

    source: ModelSource
    weights: Mapping[str, Path | None]
    study: Study
    folder: Path
    options: ConvertOptions


@dataclass(frozen=True, kw_only=True)
class Built(Order):
    """With the PyTorch module of each graph, in the state in which its program runs it."""

    published: Mapping[str, nn.Module]


@dataclass(frozen=True, kw_only=True)
class Probed(Built):
    """With networks that are functions of their input, and per graph the layers that are known to go wrong silently."""

    suspects: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Rewrite:
    """A network as it will be traced, a module of its own where anything was changed, and what was, in words."""

    network: nn.Module
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Rewritten(Probed):
    """With what is traced of each graph, and the steps around that."""

    spec: ModelSpec
    rewritten: Mapping[str, Rewrite]


@dataclass(frozen=True, kw_only=True)
class Traced(Rewritten):
    """With an `openvino.Model` of each graph, the steps around those, and all that was rewritten, in words."""

    models: Mapping[str, Any]
    rewrites: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Saved(Probed):
    """With a package that can be run; what it was made of is let go, since an ensemble has its weights there again."""

    package: ModelPackage


@dataclass(frozen=True, kw_only=True)
class Compared(Saved):
    """With how far the package is from PyTorch, and whether that is too far."""

    findings: Findings


@dataclass(frozen=True, kw_only=True)
class Tested(Compared):
    """With the mask of the phantom in the folder, and a manifest that lacks but the hashes of the files."""

    manifest: Manifest


Next = TypeVar("Next", bound=Order)


def onward(draft: Order, kind: type[Next], **decided: Any) -> Next:
    """The next draft: what one stage has decided, beside all that stands and that the next draft still has."""
    stands = vars(draft)
    return kind(**{each.name: stands[each.name] for each in fields(kind) if each.name in stands} | decided)


def stage_of(spec: ModelSpec, graph: str) -> Stage:
    """The stage that runs a graph."""
    return next(stage for stage in spec.stages if graph in stage.network.graphs)
