"""What a quantised stem of stride 2 gains on the phases of its image (decision 0049).

    python -m benchmarks strided_stem --side 192 --rounds 7

One convolution of side 7 on one channel, in bytes, is compiled as it is and after
`brain_edge.runtime.rewrites.strided_stem`. Both take turns. Prints the largest difference of their results and the
ratio of their processor times, which other programs change little. Run it on a CPU with other instructions before the
rewrite is allowed there.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import click
import numpy as np

from benchmarks.harness.ratios import median_and_range
from brain_edge.machine.options import RuntimeOptions
from brain_edge.package import Precision
from brain_edge.runtime.rewrites.strided_stem import MOST_WEIGHT, split_stem
from brain_edge.runtime.session import compile_properties

if TYPE_CHECKING:
    from brain_edge.image.volume import FloatArray

CHANNELS: Final = 16
KERNEL: Final = 7


@click.command()
@click.option("--side", default=192, show_default=True, help="Of the image, in voxels, even.")
@click.option("--threads", default=2, show_default=True, help="Of OpenVINO.")
@click.option("--rounds", default=7, show_default=True, help="Of both graphs, in turn.")
def main(side: int, threads: int, rounds: int) -> None:
    """Compare, and print one line."""
    image = np.random.default_rng(0).gamma(2.0, 0.3, (1, 1, side, side, side)).astype(np.float32)
    plain, split = (_request(side, threads, replace=replace) for replace in (False, True))
    results: list[FloatArray] = [np.array(request.infer({0: image})[0]) for request in (plain, split)]
    difference = float(np.abs(results[0] - results[1]).max())
    taken_ms = [(_cpu_ms(split, image), _cpu_ms(plain, image)) for _ in range(rounds)]
    gain = median_and_range([on_phases / as_it_is for on_phases, as_it_is in taken_ms])
    words = f"{side}^3, {threads} thread(s): processor time on the phases / as it is"
    click.echo(f"{words} {gain}, largest difference {difference:g}")


def _cpu_ms(request: Any, image: FloatArray) -> float:
    before_s = time.process_time()
    request.infer({0: image}, share_inputs=True, share_outputs=True)
    return (time.process_time() - before_s) * 1000


def _request(side: int, threads: int, *, replace: bool) -> Any:
    import openvino as ov
    from openvino import opset13 as ops

    rng = np.random.default_rng(1)
    image = ops.parameter([1, 1, side, side, side], np.float32)
    ends = [ops.constant(np.float32(end)) for end in (0.0, 4.0, 0.0, 4.0)]
    data = ops.fake_quantize(image, *ends, 256)
    stored = rng.integers(-MOST_WEIGHT + 1, MOST_WEIGHT, size=(CHANNELS, 1, *[KERNEL] * 3)).astype(np.int8)
    scale = np.full((CHANNELS, 1, 1, 1, 1), 0.001, np.float32)
    weights = ops.multiply(ops.convert(ops.constant(stored), "f32"), ops.constant(scale))
    pads = [KERNEL // 2] * 3
    model = ov.Model([ops.convolution(data, weights, [2] * 3, pads, pads, [1] * 3)], [image], "stem")
    if replace:
        split_stem(model, ops)
    properties = compile_properties(Precision.F32, RuntimeOptions(threads=threads))
    return ov.Core().compile_model(model, "CPU", properties).create_infer_request()
