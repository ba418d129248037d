"""How far an instance norm over a whole volume is from float64, and what summing it by axis costs.

    python -m benchmarks norm_sums --rounds 7

The same skewed noise goes through the norm of OpenVINO's plugin, through the one that the runtime puts in its place
(`brain_edge.runtime.rewrites.norm_sums`) and through PyTorch's; once as it comes (planar layout) and once behind a
convolution, which leaves its result in the blocked layout. Plugin and runtime take turns, so that other programs on
the machine hit both alike. Prints the table of docs/decisions/0018.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click
import numpy as np

from benchmarks.harness.in_turn import time_ratios
from benchmarks.harness.ratios import median_and_range
from brain_edge.evaluation.markdown import markdown_table
from brain_edge.machine.options import RuntimeOptions
from brain_edge.package import Precision
from brain_edge.runtime.rewrites.norm_sums import sum_by_axis
from brain_edge.runtime.session import compile_properties

if TYPE_CHECKING:
    from brain_edge.image.volume import FloatArray

CHANNELS: Final = 16
EPSILON: Final = 1e-5
THREADS: Final = (1, 2)


@dataclass(frozen=True)
class NormComparison:
    """One layout on one number of threads.

    Attributes:
        layout: in which the norm meets its input.
        threads: of OpenVINO.
        plugin_error: largest difference from float64, of the plugin's norm.
        by_axis_error: of the norm summed by axis.
        time_ratios: time by axis over time of the plugin, round by round, for the whole graph.
    """

    layout: str
    threads: int
    plugin_error: float
    by_axis_error: float
    time_ratios: list[float]


@click.command()
@click.option("--sides", default="160,160,128", show_default=True, help="Of the volume, in voxels.")
@click.option("--rounds", default=7, show_default=True, help="Of both norms, in turn; 0: errors, and no times.")
def main(sides: str, rounds: int) -> None:
    """Compare, and print Markdown."""
    shape = (1, CHANNELS, *(int(side) for side in sides.split(",")))
    rows, pytorch_error = compare(shape, rounds)
    cells = [
        (
            *(row.layout, str(row.threads), f"{row.plugin_error:.1e}", f"{row.by_axis_error:.1e}"),
            *(f"{pytorch_error:.1e}", *([str(median_and_range(row.time_ratios))] if rounds else [])),
        )
        for row in rows
    ]
    columns = ("layout", "threads", "plugin", "by axis", "PyTorch", "time by axis / plugin")
    click.echo(markdown_table(columns if rounds else columns[:-1], cells))


def compare(shape: tuple[int, ...], rounds: int) -> tuple[list[NormComparison], float]:
    """All rows, and the error of PyTorch's own norm."""
    noise = np.random.default_rng(0).gamma(2.0, 1.0, shape).astype(np.float32)
    exact = _normalised(noise)
    return [_row(noise, exact, layout, threads, rounds) for layout in _BEFORE for threads in THREADS], _error(
        _pytorch(noise), exact
    )


def _row(noise: FloatArray, exact: np.ndarray, layout: str, threads: int, rounds: int) -> NormComparison:
    plugin, by_axis = _request(noise.shape, layout, threads), _request(noise.shape, layout, threads, replace=True)
    first, second = (_error(request.infer({0: noise})[0], exact) for request in (plugin, by_axis))
    return NormComparison(layout, threads, first, second, time_ratios(by_axis, plugin, noise, rounds))


def _request(shape: tuple[int, ...], layout: str, threads: int, *, replace: bool = False) -> Any:
    import openvino as ov
    from openvino import opset13 as ops

    data = ops.parameter(shape, np.float32)
    norm = ops.mvn(_BEFORE[layout](data), [2, 3, 4], True, EPSILON, "inside_sqrt")
    model = ov.Model([norm], [data], "norm")
    if replace:
        sum_by_axis(model, ops)
    properties = compile_properties(Precision.F32, RuntimeOptions(threads=threads))
    return ov.Core().compile_model(model, "CPU", properties).create_infer_request()


def _as_it_comes(data: Any) -> Any:
    return data


def _convolved(data: Any) -> Any:
    """A convolution that hands its input on, exactly: what counts is the layout in which it leaves it."""
    from openvino import opset13 as ops

    identity = np.eye(CHANNELS, dtype=np.float32).reshape(CHANNELS, CHANNELS, 1, 1, 1)
    ones, none = [1, 1, 1], [0, 0, 0]
    return ops.convolution(data, ops.constant(identity), ones, none, none, ones)


_BEFORE: Final = {"planar": _as_it_comes, "blocked, behind a convolution": _convolved}


def _normalised(data: FloatArray) -> np.ndarray:
    """In float64."""
    wide = data.astype(np.float64)
    axes = (2, 3, 4)
    centred = wide - wide.mean(axes, keepdims=True)
    return np.asarray(centred / np.sqrt((centred**2).mean(axes, keepdims=True) + EPSILON))


def _pytorch(data: FloatArray) -> np.ndarray:
    import torch

    return np.asarray(torch.nn.functional.instance_norm(torch.from_numpy(data), eps=EPSILON).numpy())


def _error(found: np.ndarray, exact: np.ndarray) -> float:
    return float(np.abs(found - exact).max())
