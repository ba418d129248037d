"""convert: from a model source to a package that reproduces PyTorch, or to a refusal."""

from __future__ import annotations

import copy
import hashlib
import importlib.metadata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from brain_edge.digest import sha256_of
from brain_edge.io.atomic import atomic_folder
from brain_edge.package import (
    Manifest,
    ModelPackage,
    NumberFormat,
    Precision,
    WeightsStatus,
    graph_path,
    seal,
)
from brain_edge.package.manifest import Parity, WeightsRecord
from brain_edge.runtime.session import open_sessions
from brain_edge.spec import canonical_json, spec_from_json
from brain_edge_conversion.parity import ParityLimits, Side, TorchSession, require_parity
from brain_edge_conversion.rewrites.binary_head import can_merge, merge_binary_head, with_binary_heads
from brain_edge_conversion.rewrites.norm_statistics import trapped_norms, use_instance_statistics
from brain_edge_conversion.selftest import SELF_TEST, write_self_test
from brain_edge_conversion.trace import save_graph, trace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import nn

    from brain_edge.spec import ModelSpec
    from brain_edge.volume import Study, Volume
    from brain_edge_conversion.recipe import GraphSource, ModelSource

TOOLS: Final = ("openvino", "torch", "nncf", "brain-edge")


@dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """How to convert.

    Attributes:
        precision: in which the package will be run.
        rewrites: apply the exact rewrites; without them the plain conversion is compared and usually refused.
        limits: of the parity check.
        report: told what is being done, one line at a time.
    """

    precision: Precision = Precision.F32
    rewrites: bool = True
    limits: ParityLimits = field(default_factory=ParityLimits)
    report: Callable[[str], None] = lambda _line: None


def convert(
    source: ModelSource,
    weights: Mapping[str, Path | None],
    study: Study,
    target: Path,
    options: ConvertOptions,
) -> ModelPackage:
    """Convert every graph, compare it with PyTorch on a real study, and write the package.

    Args:
        source: the model.
        weights: a weights file per graph; None for random weights (then for all graphs).
        study: a real head for the parity check.
        target: the folder of the package; it appears whole or not at all.
        options: how.

    Raises:
        ParityError: OpenVINO does not reproduce PyTorch; nothing is written.
        WeightsError: a weights file is refused.
    """
    with atomic_folder(target) as draft:
        published = {graph.graph: graph.build(weights[graph.graph]) for graph in source.graphs}
        spec, rewrites = _export(source, published, weights, draft, options)
        package = ModelPackage(draft, _manifest(source, spec, weights, rewrites, options))
        options.report("comparing with PyTorch on a real volume")
        parity = _compare(package, source.spec, published, study, options.limits)
        write_self_test(package)
        sealed = seal(draft, msgspec.structs.replace(package.manifest, parity=parity))
    return ModelPackage(target, sealed.manifest)


def _export(
    source: ModelSource,
    published: Mapping[str, nn.Module],
    weights: Mapping[str, Path | None],
    draft: Path,
    options: ConvertOptions,
) -> tuple[ModelSpec, tuple[str, ...]]:
    """Rewrite, trace and save every graph; the spec that goes with them, and what was rewritten."""
    spec = spec_from_json(canonical_json(source.spec), source.spec.name)
    merged = mergeable_graphs(source) if options.rewrites else frozenset()
    if merged:
        spec = with_binary_heads(spec, merged)
    applied: list[str] = []
    for graph in source.graphs:
        options.report(f"converting {graph.graph}")
        module = published[graph.graph]
        if options.rewrites:
            module, lines = _rewritten(graph, module, weights[graph.graph], merge=graph.graph in merged)
            applied.extend(lines)
        network = next(stage.network for stage in spec.stages if graph.graph in stage.network.graphs)
        save_graph(trace(module, network, graph.example_shape), draft / graph_path(graph.graph), spec)
    return spec, tuple(applied)


def mergeable_graphs(source: ModelSource) -> frozenset[str]:
    """Graphs whose two classes become one channel: every member of their stage must, or their mean means nothing."""
    heads = {graph.graph for graph in source.graphs if graph.binary_head is not None}
    stages = [stage for stage in source.spec.stages if can_merge(stage) and heads.issuperset(stage.network.graphs)]
    return frozenset(graph for stage in stages for graph in stage.network.graphs)


def _rewritten(
    graph: GraphSource, published: nn.Module, weights: Path | None, *, merge: bool
) -> tuple[nn.Module, list[str]]:
    """A rewritten copy of a network (the published one is what parity is measured against), and what was done."""
    module = copy.deepcopy(published) if graph.rewritable is None else graph.rewritable(weights)
    applied = []
    if trapped := trapped_norms(module):
        use_instance_statistics(module, trapped)
        applied.append(f"{graph.graph}: unused running statistics removed from {len(trapped)} norm layers")
    if merge and graph.binary_head is not None:
        merge_binary_head(module, graph.binary_head)
        applied.append(f"{graph.graph}: softmax over two classes merged into {graph.binary_head.linear}")
    return module, applied


def _manifest(
    source: ModelSource,
    spec: ModelSpec,
    weights: Mapping[str, Path | None],
    rewrites: tuple[str, ...],
    options: ConvertOptions,
) -> Manifest:
    random = any(path is None for path in weights.values())
    return Manifest(
        spec=spec,
        weights_status=WeightsStatus.RANDOM if random else WeightsStatus.TRAINED,
        number_format=NumberFormat.FP32,
        precision=options.precision,
        weights=tuple(_weights_record(graph, weights[graph.graph]) for graph in source.graphs),
        rewrites=rewrites,
        made_with=tool_versions(),
        licence=source.licence,
        card=source.card,
        self_test=SELF_TEST,
    )


def _weights_record(graph: GraphSource, path: Path | None) -> WeightsRecord:
    if path is None:
        return WeightsRecord(graph=graph.graph, source="random", sha256="0" * 64)
    # never the path: a folder name may hold a user's or a patient's name
    described = graph.weights.source if graph.weights is not None else "a file of the user"
    return WeightsRecord(graph=graph.graph, source=described, sha256=sha256_of(path))


def tool_versions() -> dict[str, str]:
    """The versions of what made a package."""
    return {tool: importlib.metadata.version(tool) for tool in TOOLS}


def _compare(
    package: ModelPackage,
    published_spec: ModelSpec,
    published: Mapping[str, nn.Module],
    study: Study,
    limits: ParityLimits,
) -> Parity:
    """Parity in f32 whatever precision is deployed: this is about the conversion, not about rounding."""
    reference = {graph: TorchSession(module) for graph, module in published.items()}
    in_f32 = msgspec.structs.replace(package.manifest, precision=Precision.F32)
    converted = open_sessions(ModelPackage(package.folder, in_f32))
    suspects = {graph: trapped_norms(module) for graph, module in published.items()}
    sides = Side(published_spec, reference), Side(package.spec, converted)
    graphs, mask_dice = require_parity(*sides, study, limits, suspects)
    hashes = tuple(voxel_sha256(volume) for volume in study.volumes.values())
    return Parity(input_sha256=hashes, graphs=graphs, mask_dice=mask_dice)


def voxel_sha256(volume: Volume) -> str:
    """SHA-256 of the intensities, float32 in C order: names an image without naming a file."""
    return hashlib.sha256(np.ascontiguousarray(volume.voxels, dtype=np.float32).data).hexdigest()
