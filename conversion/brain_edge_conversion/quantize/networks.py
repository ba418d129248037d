"""Quantisation of OpenVINO graphs. The only module that calls NNCF."""

from __future__ import annotations

import contextlib
import logging
import math
import re
import sys
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from brain_edge.bench.child import CrashError
from brain_edge.bench.operations import WEIGHTED
from brain_edge.runtime.library import forbid_telemetry, operations
from brain_edge_conversion.budget.capture import load_inputs, middle
from brain_edge_conversion.budget.coverage import TRANSPARENT
from brain_edge_conversion.quantize.ladder import BiasCorrection, FloatEnds, Ranges, Setting
from brain_edge_conversion.quantize.loops import loops_of, quantise_around_loops
from brain_edge_conversion.quantize.policy import Group
from brain_edge_conversion.quantize.statistics_order import statistics_while_computing

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from brain_edge.image.volume import FloatArray

LARGEST_ACTIVATION_BYTES: Final = {Ranges.EXTREMES: 512 * 2**20, Ranges.QUANTILES: 256 * 2**20}
"""Largest activation of one layer while ranges are taken, bytes. NNCF holds several layers at once; quantiles sort
copies."""
FLOAT_BYTES: Final = 4
MULTIPLE: Final = 32
"""Divisor of the sides of a cut input; networks halve sides up to five times."""


def import_nncf() -> Any:
    """Import the module nncf; called early, before hours are spent on work that needs it at the end.

    Raises:
        ModuleNotFoundError: nncf is not installed.
    """
    forbid_telemetry()
    import nncf
    import nncf.openvino.engine

    return nncf


def quantise(model: Any, inputs: Sequence[Path], setting: Setting, keep_float: Collection[str] = ()) -> Any:
    """Return a copy of an OpenVINO model with FakeQuantize nodes. Loops stay in floating point.

    Args:
        model: floating-point model; it is not changed.
        inputs: `.npy` files of (1, C, I, J, K) that set the ranges of activations; the middle of an input is used if
            its activations would not fit into memory.
        setting: quantisation setting.
        keep_float: names of layers that stay in floating point.

    Raises:
        CrashError: NNCF cannot quantise the model.
    """
    nncf = import_nncf()
    nncf.set_log_level(logging.ERROR)
    most = LARGEST_ACTIVATION_BYTES[setting.ranges]

    def load(path: Path) -> FloatArray:
        return as_much_as_fits(next(load_inputs([path])), model, most)

    ignored = sorted({*keep_float, *_ends(model, setting.float_ends)})

    def by_nncf(graph: Any, dataset: Any) -> Any:
        # NNCF draws its progress on stdout, which belongs to the results of the command
        with contextlib.redirect_stdout(sys.stderr), statistics_while_computing(nncf.openvino.engine, graph):
            try:
                return nncf.quantize(
                    graph,
                    dataset,
                    preset=nncf.QuantizationPreset(setting.preset.value),
                    subset_size=len(inputs),
                    ignored_scope=nncf.IgnoredScope(names=ignored) if ignored else None,
                    advanced_parameters=_advanced(setting),
                )
            except Exception as error:  # of NNCF, of OpenVINO within it, and whatever a graph does to either
                reason = " ".join(str(error).split())[:300] or "no reason given"
                raise CrashError(f"NNCF cannot quantise this graph ({type(error).__name__}: {reason})") from error

    if loops_of(model):
        batches = (load(path) for path in inputs)
        quantised = quantise_around_loops(model, batches, lambda graph, values: by_nncf(graph, nncf.Dataset(values)))
    else:
        # a list of paths: NNCF needs its length and iterates more than once; a volume is loaded on use
        quantised = by_nncf(model, nncf.Dataset(list(inputs), load))
    _name_by_place(quantised, {node.get_friendly_name() for node in model.get_ops()})
    return quantised


def as_much_as_fits(batch: FloatArray, model: Any, most_bytes: int) -> FloatArray:
    """Return an input, or its middle if its activations are too large; the whole input if the model has fixed sides."""
    bytes_there = _largest_activation_bytes(model, batch.shape) if model.inputs[0].partial_shape.is_dynamic else 0
    if bytes_there <= most_bytes:
        return batch
    scale = (most_bytes / bytes_there) ** (1 / 3)
    return middle(batch, [max(MULTIPLE, int(side * scale) // MULTIPLE * MULTIPLE) for side in batch.shape[2:]])


def _largest_activation_bytes(model: Any, shape: Sequence[int]) -> int:
    sized = model.clone()
    sized.reshape(list(shape))
    layers = (node for node in sized.get_ordered_ops() if node.get_type_name() in WEIGHTED)
    return max((FLOAT_BYTES * math.prod(layer.output(0).shape) for layer in layers), default=0)


def _name_by_place(quantised: Any, published: Collection[str]) -> None:
    """Name new nodes by their place, so that files are reproducible: OpenVINO numbers nodes over a whole process."""
    for place, node in enumerate(quantised.get_ordered_ops()):
        name, kind = node.get_friendly_name(), node.get_type_name()
        if name not in published and re.fullmatch(rf"{kind}_\d+", name):
            node.set_friendly_name(f"{kind}_int8_{place}")


def _advanced(setting: Setting) -> Any:
    import nncf
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    ranges = {
        Ranges.EXTREMES: RangeEstimatorParametersSet.MEAN_MINMAX,
        Ranges.QUANTILES: RangeEstimatorParametersSet.MEAN_QUANTILE,
    }
    return nncf.AdvancedQuantizationParameters(
        overflow_fix=nncf.OverflowFix(setting.overflow.value),
        disable_bias_correction=setting.bias_correction is BiasCorrection.NONE,
        activations_range_estimator_params=ranges[setting.ranges],
    )


def _ends(model: Any, ends: FloatEnds) -> set[str]:
    """Return the names of weighted layers with no weighted layer before them (stem) or after them (head)."""
    if ends is FloatEnds.NONE:
        return set()
    layers = weighted_layers(model)
    before = {layer.get_friendly_name(): _weighted_ancestors(layer) for layer in layers}
    followed = set().union(*before.values()) if before else set()
    heads = set(before) - followed
    stems = {name for name, ancestors in before.items() if not ancestors}
    return heads | stems if ends is FloatEnds.STEM_AND_HEAD else heads


def weighted_layers(model: Any) -> list[Any]:
    """Return the convolutions and matrix products of a model, in their order."""
    return [node for node in model.get_ordered_ops() if node.get_type_name() in WEIGHTED]


def _weighted_ancestors(layer: Any) -> set[str]:
    """Return the names of the closest weighted layers that feed a layer's activations."""
    found: set[str] = set()
    seen: set[str] = set()
    ahead = [layer.input_value(0).get_node()]
    while ahead:
        node = ahead.pop()
        name = node.get_friendly_name()
        if name in seen:
            continue
        seen.add(name)
        if node.get_type_name() in WEIGHTED:
            found.add(name)
        else:
            ahead.extend(value.get_node() for value in node.input_values())
    return found


def groups(quantised: Any, graph: str) -> tuple[Group, ...]:
    """Return the layers of a quantised model that read integers, grouped by shared quantiser."""
    members: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for layer in weighted_layers(quantised):
        quantisers = tuple(node.get_friendly_name() for _, node in _quantisers(layer))
        if quantisers:
            members[quantisers].append(layer.get_friendly_name())
    return tuple(Group(graph=graph, layers=tuple(names)) for names in members.values())


def with_float_layers(quantised: Any, original: Any, names: Collection[str]) -> Any:
    """Return a copy of a quantised model in which some layers run in float, with the weights of the original.

    The copy is for ranking only, and needs no new calibration: biases keep their correction, and a quantiser that is
    read through a concatenation is removed for all its readers.
    """
    model = quantised.clone()
    published = {layer.get_friendly_name(): layer for layer in weighted_layers(original)}
    for layer in weighted_layers(model):
        if layer.get_friendly_name() in names:
            for reader, quantiser in list(_quantisers(layer)):
                reader.replace_source_output(quantiser.input_value(0))
            _copy_weights(published[layer.get_friendly_name()], layer)
    model.validate_nodes_and_infer_types()
    return model


def _copy_weights(source: Any, layer: Any) -> None:
    weights = source.input_value(1).get_node()
    # a matrix product of two activations has no weights to copy
    if weights.get_type_name() == "Constant":
        layer.input(1).replace_source_output(operations().constant(weights.data.copy()).output(0))


def _quantisers(layer: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each quantiser of a layer's activations, with the input that reads it."""
    ahead = [layer.input(0)]
    while ahead:
        reader = ahead.pop()
        node = reader.get_source_output().get_node()
        if node.get_type_name() == "FakeQuantize":
            yield reader, node
        elif node.get_type_name() in TRANSPARENT:
            ahead.extend(node.inputs() if node.get_type_name() == "Concat" else node.inputs()[:1])
