"""convert: from a model source to a package that reproduces PyTorch, or to a refusal."""

from __future__ import annotations

import copy
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET

from brain_edge.errors import ParityError
from brain_edge.image.identity import image_sha256
from brain_edge.machine.atomic_folder import atomic_folder
from brain_edge.package import Manifest, ModelPackage, NumberFormat, Precision, WeightsStatus, graph_path
from brain_edge.package.digest import sha256_of
from brain_edge.package.manifest import Parity, WeightsRecord
from brain_edge.runtime.session import open_sessions
from brain_edge.spec import canonical_json
from brain_edge.spec.plan import cost_in_words, known_inputs
from brain_edge_conversion.convert.graph_input import fit_input
from brain_edge_conversion.convert.parity import (
    Findings,
    ParityLimits,
    RecallingSession,
    Side,
    TorchSession,
    require_parity,
)
from brain_edge_conversion.convert.probe import require_usable
from brain_edge_conversion.convert.rewrites.binary_head import can_merge, merge_binary_head, with_binary_heads
from brain_edge_conversion.convert.rewrites.dropout import idle_dropouts
from brain_edge_conversion.convert.rewrites.final_activation import drop_final_activation, final_activation, with_logits
from brain_edge_conversion.convert.rewrites.graph import rewrite_graph
from brain_edge_conversion.convert.rewrites.input_affine import fold_input_affine, last_affine, why_not
from brain_edge_conversion.convert.rewrites.norm_statistics import trapped_norms, use_instance_statistics
from brain_edge_conversion.convert.rewrites.outputs import with_one_output
from brain_edge_conversion.convert.rewrites.window_attention import attend_in_parts, window_attentions
from brain_edge_conversion.convert.self_test import SELF_TEST, write_self_test
from brain_edge_conversion.convert.trace import trace
from brain_edge_conversion.convert.versions import tool_versions
from brain_edge_conversion.sealing.graph import save_graph
from brain_edge_conversion.sealing.writer import seal
from brain_edge_conversion.specification import spec_from_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from torch import nn

    from brain_edge.image.volume import Study
    from brain_edge.package.manifest import StageZero
    from brain_edge.spec import ModelSpec, Stage
    from brain_edge_conversion.recipe import GraphSource, ModelSource


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
    if cost := cost_in_words(source.spec):
        options.report(cost)
    with atomic_folder(target) as draft:
        published = {graph.graph: graph.build(weights[graph.graph]) for graph in source.graphs}
        for module in published.values():
            idle_dropouts(module)  # refuses those that run
        _require_usable(source, published)
        spec, rewrites = _export(source, published, weights, draft, options)
        package = ModelPackage(draft, _manifest(source, spec, weights, rewrites, options))
        options.report("comparing with PyTorch on a real volume")
        with _accounted(package, source, published, options) as findings:
            parity = _compare(package, source, published, study, (options.limits, findings))
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
    models: dict[str, Any] = {}
    applied: list[str] = []
    for graph in source.graphs:
        options.report(f"converting {graph.graph}")
        module = published[graph.graph]
        lines: list[str] = []
        if options.rewrites and graph.read is None:
            module, lines = _rewritten(graph, module, weights[graph.graph], merge=graph.graph in merged)
        stage = next(stage for stage in spec.stages if graph.graph in stage.network.graphs)
        network = stage.network
        if graph.read is None:
            single = with_one_output(module, graph.output)
            model = trace(single, network, graph.example_shape, has_fixed_sides=graph.has_fixed_sides)
        else:
            model = graph.read(weights[graph.graph])
        if graph.read is not None or graph.has_fixed_sides:
            fit_input(model, network, dict(known_inputs(spec)).get(graph.graph))
        if options.rewrites:
            lines += rewrite_graph(model, network.execution.example_input(network.channels_in, graph.example_shape))
            spec, dropped = _with_logits(spec, stage, model)
            lines += dropped
        for line in lines:
            options.report(f"rewritten: {line}")
        applied += [f"{graph.graph}: {line}" for line in lines]
        models[graph.graph] = model
    if options.rewrites:
        spec, lines = _with_folded_inputs(spec, models, options)
        applied += lines
    # every graph carries the spec, which is known when the last of them is traced
    for name, model in models.items():
        save_graph(model, draft / graph_path(name), spec)
    return spec, tuple(applied)


@contextmanager
def _accounted(
    package: ModelPackage, source: ModelSource, published: Mapping[str, nn.Module], options: ConvertOptions
) -> Iterator[Findings]:
    """Write the report of a conversion, where one is wanted, whether its parity check passes or refuses."""
    from brain_edge_conversion.convert.attempt import account_for
    from brain_edge_conversion.convert.report import write_conversion_report

    findings, failure = Findings(), ""
    try:
        yield findings
    except ParityError as error:
        failure = str(error)
        raise
    finally:
        if options.account is not None and findings.graphs:
            made = account_for(package, source, published, findings, options.limits, failure)
            for path in write_conversion_report(made, options.account):
                options.report(f"report: {path}")


def _require_usable(source: ModelSource, published: Mapping[str, nn.Module]) -> None:
    """Try every network once on noise; see `brain_edge_conversion.convert.probe`."""
    networks = {graph: stage.network for stage in source.spec.stages for graph in stage.network.graphs}
    for graph in source.graphs:
        module = with_one_output(published[graph.graph], graph.output)
        require_usable(graph.graph, module, networks[graph.graph], graph.example_shape)


def _with_logits(spec: ModelSpec, stage: Stage, model: Any) -> tuple[ModelSpec, list[str]]:
    """Drop the last activation of a graph where its stage does not need it; the spec of that, and what was done."""
    activation = final_activation(model)
    on_logits = with_logits(stage, activation)
    if on_logits is stage:
        return spec, []
    drop_final_activation(model)
    stages = tuple(on_logits if each is stage else each for each in spec.stages)
    return msgspec.structs.replace(spec, stages=stages), [f"last {activation} left to the runtime"]


def _with_folded_inputs(
    spec: ModelSpec, models: Mapping[str, Any], options: ConvertOptions
) -> tuple[ModelSpec, list[str]]:
    """Fold constant changes of intensity into the graphs of their stage; the spec of that, and what was done."""
    stages, lines = [], []
    for stage in spec.stages:
        of_stage = [models[graph] for graph in stage.network.graphs]
        if (step := last_affine(stage)) is None:
            stages.append(stage)
            continue
        what = f"{stage.name}: last change of intensity, x * {step.multiply:g} + {step.add:g},"
        if reason := why_not(spec, stage, of_stage):
            options.report(f"not rewritten: {what} stays a step: {reason}")
            stages.append(stage)
            continue
        stages.append(fold_input_affine(stage, of_stage))
        options.report(f"rewritten: {what} folded into the first convolution")
        lines.append(f"{what} folded into the first convolution")
    return msgspec.structs.replace(spec, stages=tuple(stages)), lines


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
        applied.append(f"unused running statistics removed from {len(trapped)} norm layers")
    # the tracer sees how many windows there are, and so they have to be as many in every image
    if graph.has_fixed_sides and (attentions := window_attentions(module)):
        attend_in_parts(module, attentions)
        applied.append(f"windows of {len(attentions)} attention layers in parts")
    if merge and graph.binary_head is not None:
        merge_binary_head(module, graph.binary_head)
        applied.append(f"softmax over two classes merged into {graph.binary_head.linear}")
    if graph.output is not None:
        applied.append(f"all outputs but {graph.output!r} left out")
    if dropouts := idle_dropouts(module):
        applied.append(f"{len(dropouts)} dropout layer{'s' if len(dropouts) > 1 else ''} left out")
    return module, applied


def _manifest(
    source: ModelSource,
    spec: ModelSpec,
    weights: Mapping[str, Path | None],
    rewrites: tuple[str, ...],
    options: ConvertOptions,
) -> Manifest:
    status = _weights_status(source, weights)
    fitted_on = source.fitted_on if status is WeightsStatus.FIT_FOR_TESTING else None
    return Manifest(
        spec=spec,
        weights_status=status,
        fitted_on=UNSET if fitted_on is None else fitted_on,
        number_format=NumberFormat.FP32,
        precision=options.precision,
        weights=tuple(_weights_record(graph, weights[graph.graph]) for graph in source.graphs),
        rewrites=rewrites,
        made_with=tool_versions(),
        licence=source.licence,
        card=source.card,
        self_test=SELF_TEST,
        stage_zero=options.stage_zero or UNSET,
    )


def _weights_status(source: ModelSource, weights: Mapping[str, Path | None]) -> WeightsStatus:
    if any(path is None for path in weights.values()):
        return WeightsStatus.RANDOM
    return WeightsStatus.TRAINED if source.fitted_on is None else WeightsStatus.FIT_FOR_TESTING


def _weights_record(graph: GraphSource, path: Path | None) -> WeightsRecord:
    if path is None:
        return WeightsRecord(graph=graph.graph, source="random", sha256="0" * 64)
    # never the path: a folder name may hold a user's or a patient's name
    described = graph.weights.source if graph.weights is not None else "a file of the user"
    return WeightsRecord(graph=graph.graph, source=described, sha256=sha256_of(path))


def _compare(
    package: ModelPackage,
    source: ModelSource,
    published: Mapping[str, nn.Module],
    study: Study,
    judged: tuple[ParityLimits, Findings],
) -> Parity:
    """Parity in f32 whatever precision is deployed: this is about the conversion, not about rounding."""
    reference = {
        graph.graph: TorchSession(with_one_output(published[graph.graph], graph.output)) for graph in source.graphs
    }
    in_f32 = msgspec.structs.replace(package.manifest, precision=Precision.F32)
    converted = open_sessions(ModelPackage(package.folder, in_f32))
    suspects = {graph: trapped_norms(module) for graph, module in published.items()}
    limits, findings = judged
    hashes = findings.input_sha256 = tuple(image_sha256(volume) for volume in study.volumes.values())
    # beside the graphs: on the disk that the package needs anyway, and gone with a draft that is given up
    with tempfile.TemporaryDirectory(dir=package.folder) as answers:
        recalling = {graph: RecallingSession(graph, session, Path(answers)) for graph, session in converted.items()}
        sides = Side(source.spec, reference), Side(package.spec, recalling)
        graphs, mask_dice = require_parity(*sides, study, limits, suspects, findings)
    return Parity(input_sha256=hashes, graphs=graphs, mask_dice=mask_dice)
