"""Profile a graph layer by layer, and measure the peak rate of this CPU, both with OpenVINO itself.

Times are OpenVINO's own counters (`PERF_COUNT`), which cost a little time themselves; use them for shares only.
"""

from __future__ import annotations

import statistics
from concurrent.futures import ThreadPoolExecutor
from math import prod
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from brain_edge.bench.operations import REFERENCE, WEIGHTED, compile_model, is_integer, kernel_type, multiply_adds
from brain_edge.package import Precision
from brain_edge.runtime.library import import_openvino, operations
from brain_edge.runtime.session import GraphCompiler, compile_properties

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from brain_edge.machine.options import RuntimeOptions
    from brain_edge.package import ModelPackage

SEED: Final = 20261121
PEAK_LAYERS: Final = ((64, 20), (128, 12), (256, 8))
"""Channels and voxels per side of the convolutions that give the peak; each fits the caches of one or two cores."""
PEAK_RUNS: Final = 11
"""Runs of each convolution; the fastest run gives the peak."""
PEAK_KERNEL: Final = 3
RUNS: Final = 5
"""Runs of a graph, after one run that is not counted."""
BYTES: Final[Mapping[str, int]] = {"i8": 1, "u8": 1, "boolean": 1, "bf16": 2, "f16": 2, "i64": 8, "f64": 8}
"""Bytes of one number, by format; every other format has 4."""
NOT_COMPUTED: Final = frozenset({"Input", "Output", "Const", "Result", "Parameter"})


class LayerTime(msgspec.Struct, frozen=True, kw_only=True):
    """Node that OpenVINO executes; one node may fuse several layers of the graph.

    Attributes:
        graph, name, kind: name of the graph, name of the node, and its kind in OpenVINO.
        kernel: kernel that computes the node, such as `jit_avx2_I8`.
        numbers: number format of the kernel: i8, bf16, f32 and so on.
        times: number of runs for one case.
        multiply_adds: multiply-accumulates of all runs; 0 without weights.
        time_ms: time of all runs, from the median run.
        moved_bytes: bytes read and written by all runs: inputs, weights and outputs, each once.
        fell_back: True if the graph quantises the input, but the kernel computes in floating point.
        is_reference: True if the kernel is the plugin's reference implementation.
    """

    graph: str
    name: str
    kind: str
    kernel: str
    numbers: str
    times: int
    multiply_adds: int
    time_ms: float
    moved_bytes: int
    fell_back: bool
    is_reference: bool


def package_layers(
    package: ModelPackage, options: RuntimeOptions, graph: str, shape: tuple[int, ...], times: int
) -> tuple[LayerTime, ...]:
    """Profile a graph of a package, one input at a time on all threads; see `executed_layers`."""
    compiler = GraphCompiler(package, options, dict.fromkeys(package.spec.graphs, 1))
    return executed_layers(graph, compiler.model(graph, shape), compiler.properties(graph), shape, times)


def graph_as_it_runs(package: ModelPackage, options: RuntimeOptions, graph: str, shape: tuple[int, ...]) -> Any:
    """Return the `openvino.Model` of a graph as it is compiled for an input of this shape."""
    return GraphCompiler(package, options, dict.fromkeys(package.spec.graphs, 1)).model(graph, shape)


def executed_layers(
    graph: str, model: Any, properties: Mapping[str, Any], shape: tuple[int, ...], times: int = 1
) -> tuple[LayerTime, ...]:
    """Profile an OpenVINO model of static shape, and return its executed nodes in order.

    Args:
        graph: name in the result.
        model: uncompiled model with static shapes.
        properties: properties for the compilation.
        shape: shape of its one input.
        times: number of runs for one case, by which figures are multiplied.
    """
    compiled = _compile(model, properties)
    runs_ms = _runs_ms(compiled, shape, RUNS)
    spent_ms = {name: statistics.median(run[name] for run in runs_ms) for name in runs_ms[0]}
    return tuple(_layers(graph, model, compiled.get_runtime_model(), spent_ms, times))


def measured_peaks(options: RuntimeOptions, numbers: Sequence[str]) -> dict[str, float]:
    """Measure the multiply-accumulates per second that this CPU reaches in convolutions, by number format.

    The peak is the best of a few layers with 3 x 3 x 3 weights that stay in the caches. A network can reach this peak,
    unlike the theoretical peak of the instructions. A format without its own kernel is left out.

    Args:
        options: runtime options with the number of threads.
        numbers: number formats, out of `i8`, `bf16`, `f32`.
    """
    peaks: dict[str, float] = {}
    for kind in numbers:
        rates = [rate for channels, side in PEAK_LAYERS if (rate := _rate(kind, channels, side, options)) is not None]
        if rates:
            peaks[kind] = max(rates)
    return peaks


def _rate(kind: str, channels: int, side: int, options: RuntimeOptions) -> float | None:
    """Return the multiply-accumulates per second of two successive convolutions; None if another format was used."""
    precision = Precision.BF16 if kind == "bf16" else Precision.F32
    shape = (1, channels, side, side, side)
    compiled = _compile(_convolutions(channels, quantised=kind == "i8"), compile_properties(precision, options), shape)
    runs_ms = _runs_ms(compiled, shape, PEAK_RUNS)
    nodes = compiled.get_runtime_model().get_ordered_ops()
    # the second convolution gets its input from the first, in the format and the layout that kernels prefer
    second = [node for node in nodes if _told(node, "layerType") == "Convolution"][-1]
    fastest_ms = min(run[second.get_friendly_name()] for run in runs_ms)
    if kernel_type(_told(second, "primitiveType")) != kind or not fastest_ms:
        return None
    return float(side**3 * channels**2 * PEAK_KERNEL**3) / (fastest_ms / 1000.0)


def _convolutions(channels: int, *, quantised: bool) -> Any:
    """Return a model of two convolutions, each with a ReLU, as in a network."""
    ov, ops = import_openvino(), operations()
    rng = np.random.default_rng(SEED)
    image = ops.parameter(ov.PartialShape([1, channels, -1, -1, -1]), ov.Type.f32, name="image")
    value: Any = image
    ones = [1, 1, 1]
    for _ in range(2):
        weights: Any = ops.constant(rng.normal(size=(channels, channels, *[PEAK_KERNEL] * 3)).astype(np.float32))
        if quantised:
            value, weights = _quantised(ops, value, 0.0, 4.0), _quantised(ops, weights, -4.0, 4.0)
        value = ops.relu(ops.convolution(value, weights, ones, ones, ones, ones))
    return ov.Model([value], [image], "peak")


def _quantised(ops: Any, value: Any, low: float, high: float) -> Any:
    # the plugin computes in bytes for 255 levels from -x to x (weights) and 256 levels from 0 (after a ReLU)
    levels = 255 if low else 256
    ends = [ops.constant(np.array(end, dtype=np.float32)) for end in (low, high, low, high)]
    return ops.fake_quantize(value, *ends, levels)


def _compile(model: Any, properties: Mapping[str, Any], shape: tuple[int, ...] | None = None) -> Any:
    if shape is not None:
        model.reshape(list(shape))
    counted = {**properties, "PERF_COUNT": True}
    # in a thread that ends: OpenVINO makes the compiling thread flush small numbers to zero from then on
    with ThreadPoolExecutor(max_workers=1) as worker:
        return worker.submit(compile_model, model, counted).result()


def _runs_ms(compiled: Any, shape: tuple[int, ...], runs: int) -> list[dict[str, float]]:
    """Return the time of each node in a few runs on noise, after one run that is not counted."""
    request = compiled.create_infer_request()
    noise = np.random.default_rng(SEED).normal(size=shape).astype(np.float32)
    found = []
    for _ in range(runs + 1):
        request.infer({0: noise}, share_inputs=True)
        found.append({info.node_name: info.real_time.total_seconds() * 1000.0 for info in request.profiling_info})
    return found[1:]


def _layers(graph: str, model: Any, executed: Any, spent_ms: Mapping[str, float], times: int) -> Iterator[LayerTime]:
    weighted = {node.get_friendly_name(): node for node in model.get_ordered_ops() if node.get_type_name() in WEIGHTED}
    for node in executed.get_ordered_ops():
        kind, kernel = _told(node, "layerType"), _told(node, "primitiveType")
        if kind in NOT_COMPUTED:
            continue
        fused = [weighted[name] for name in _told(node, "originalLayersNames").split(",") if name in weighted]
        quantised = any(layer.input_value(0).get_node().get_type_name() == "FakeQuantize" for layer in fused)
        yield LayerTime(
            graph=graph,
            name=node.get_friendly_name(),
            kind=kind,
            kernel=kernel,
            numbers=kernel_type(kernel),
            times=times,
            multiply_adds=times * sum(multiply_adds(layer) for layer in fused),
            time_ms=times * spent_ms.get(node.get_friendly_name(), 0.0),
            moved_bytes=times * _moved_bytes(node),
            fell_back=quantised and not is_integer(kernel),
            is_reference=kernel.startswith(REFERENCE),
        )


def _moved_bytes(node: Any) -> int:
    """Return the bytes of the inputs (with weights) and outputs of a node in the executed graph."""
    moved = 0
    for end in (*(port.get_source_output() for port in node.inputs()), *node.outputs()):
        numbers = _told(end.get_node(), "outputPrecisions").split(",")[0].lower()
        moved += prod(int(side) for side in end.get_shape()) * BYTES.get(numbers, 4)
    return moved


def _told(node: Any, what: str) -> str:
    """Return a property of an executed node from the plugin, or an empty text without it."""
    told = node.get_rt_info()
    return str(told[what].astype(str)) if what in told else ""
