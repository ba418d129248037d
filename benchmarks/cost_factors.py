"""Time in f32 / time in INT8 per type of layer: what `COST_FACTORS` of the search are taken from.

    python -m benchmarks cost_factors --threads 2

Chains of three layers with ReLU between them, quantised as the search does it, f32 and INT8 in turn. A chain counts
only if every layer of its INT8 graph ran in an integer kernel: the last column says what ran.
"""

from __future__ import annotations

import sys
import tempfile
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import click
import numpy as np

from benchmarks.harness.in_turn import timed_calls
from brain_edge.bench.operations import is_integer
from brain_edge.evaluation.markdown import markdown_table
from brain_edge.machine.options import RuntimeOptions
from brain_edge.package import Precision
from brain_edge.runtime.session import compile_properties, cpu_capabilities, runtime_version
from brain_edge_conversion.budget.coverage import layer_costs
from brain_edge_conversion.budget.kernels import executed_kernels
from brain_edge_conversion.quantize.ladder import LADDER
from brain_edge_conversion.quantize.networks import quantise

if TYPE_CHECKING:
    from collections.abc import Callable

SIDE: Final = 32
CHANNELS: Final = (32, 64, 128)
LAYERS: Final = 3
WARM_UP: Final = 2


def _weights(*shape: int) -> np.ndarray:
    return np.asarray(np.random.default_rng(1).normal(size=shape) / np.sqrt(np.prod(shape[1:])), np.float32)


def _convolution(node: Any, channels: int) -> Any:
    from openvino import opset13 as ops

    ones = [1, 1, 1]
    return ops.convolution(node, ops.constant(_weights(channels, channels, 3, 3, 3)), ones, ones, ones, ones)


def _transposed(node: Any, channels: int) -> Any:
    from openvino import opset13 as ops

    none, twos = [0, 0, 0], [2, 2, 2]
    up = ops.convolution_backprop_data(
        node, ops.constant(_weights(channels, channels, 2, 2, 2)), twos, None, none, none
    )
    return ops.max_pool(up, twos, [1, 1, 1], none, none, twos, "floor", "explicit", "i64", 0).output(0)


def _grouped(node: Any, channels: int) -> Any:
    from openvino import opset13 as ops

    ones = [1, 1, 1]
    return ops.group_convolution(node, ops.constant(_weights(channels, 1, 1, 3, 3, 3)), ones, ones, ones, ones)


def _product(node: Any, channels: int) -> Any:
    from openvino import opset13 as ops

    return ops.matmul(node, ops.constant(_weights(channels, channels)), False, False)


KINDS: Final[dict[str, Callable[[Any, int], Any]]] = {
    "Convolution": _convolution,
    "ConvolutionBackpropData": _transposed,
    "GroupConvolution": _grouped,
    "MatMul": _product,
}


def _shape(kind: str, channels: int) -> tuple[int, ...]:
    return (1, SIDE**3, channels) if kind == "MatMul" else (1, channels, SIDE, SIDE, SIDE)


def _chain(kind: str, channels: int) -> Any:
    from openvino import Model, PartialShape, Type
    from openvino import opset13 as ops

    image = node = ops.parameter(PartialShape(_shape(kind, channels)), Type.f32, name="image")
    for _ in range(LAYERS):
        node = ops.relu(KINDS[kind](node, channels))
    return Model([node], [image], kind)


def measure(kind: str, channels: int, options: RuntimeOptions, repeats: int) -> tuple[float, float, list[str]]:
    """Latency in ms in f32 and quantised, and the kernels of the quantised layers."""
    import openvino as ov

    batch = np.random.default_rng(2).normal(size=_shape(kind, channels)).astype(np.float32)
    original = _chain(kind, channels)
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "input.npy", batch)
        quantised = quantise(original, [Path(folder) / "input.npy"], LADDER[0])
    compiled = [
        ov.Core().compile_model(model, "CPU", compile_properties(Precision.F32, options))
        for model in (original, quantised)
    ]
    requests = [each.create_infer_request() for each in compiled]
    calls = {name: partial(request.infer, {0: batch}) for name, request in zip(("f32", "INT8"), requests, strict=True)}
    times = [median(of_one) for of_one in timed_calls(calls, repeats, WARM_UP).values()]
    names = {layer.name for layer in layer_costs(quantised, batch.shape)}
    return times[0], times[1], sorted(set(executed_kernels(compiled[1].get_runtime_model(), names).values()))


@click.command()
@click.option("--threads", type=int, default=2, show_default=True)
@click.option("--repeats", type=int, default=15, show_default=True)
def main(threads: int, repeats: int) -> None:
    """Print a table; the machine should be idle."""
    options = RuntimeOptions(threads=threads)
    click.echo(f"OpenVINO {runtime_version()}, {', '.join(cpu_capabilities())}, {threads} threads", file=sys.stderr)
    rows = []
    for kind in KINDS:
        factors = []
        for channels in CHANNELS:
            first, second, kernels = measure(kind, channels, options, repeats)
            if all(is_integer(kernel) for kernel in kernels):
                factors.append(first / second)
            figures = (f"{first:.2f}", f"{second:.2f}", f"{first / second:.2f}", ", ".join(kernels))
            rows.append((kind, str(channels), *figures))
        rows.append((kind, "median", "", "", f"{median(factors):.1f}" if factors else "no INT8 kernel", ""))
    click.echo(markdown_table(("layer", "channels", "f32 (ms)", "INT8 (ms)", "factor", "kernels"), rows))
