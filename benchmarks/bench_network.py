"""Networks alone, on what they really see of the head: OpenVINO in three number formats, and PyTorch eager."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks import program
from benchmarks.harness.answers import foreground, load
from benchmarks.harness.contenders import environment
from benchmarks.harness.measure import Contender, run
from benchmarks.harness.networks import openvino_session, pytorch_session
from brain_edge.image.metrics import dice
from brain_edge.package import NumberFormat
from brain_edge.runtime.session import cpu_capabilities

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.harness.answers import PyTorch
    from benchmarks.harness.timing import Timing
    from brain_edge.package import ModelPackage
    from brain_edge.runtime.protocol import Session

    Package = Callable[[str, NumberFormat], ModelPackage]

pytestmark = pytest.mark.timeout(3600)  # the first run converts and quantises

NETWORKS = [("deepbet", "box"), ("deepbet", "brain"), ("hd-bet-v1", "fold0")]
FORMATS = ["f32", "bf16", "int8", "pytorch"]
MINIMUM_DICE = {"f32": 0.999, "bf16": 0.99, "int8": 0.98, "pytorch": 1.0}
"""Of the foreground, against PyTorch; before post-processing, which would hide a difference."""


@pytest.fixture
def network(package: Package, threads: int) -> Callable[[str, str, str], Session]:
    """A network, ready, by model, graph and number format."""

    def find(model: str, graph: str, number_format: str) -> Session:
        if number_format == "pytorch":
            return pytorch_session(model, graph, threads)
        require_native(number_format)
        kind = NumberFormat.INT8 if number_format == "int8" else NumberFormat.FP32
        precision = "bf16" if number_format == "bf16" else "f32"
        return openvino_session(package(model, kind).folder, graph, threads, precision, None)

    return find


@pytest.mark.parametrize("number_format", FORMATS)
@pytest.mark.parametrize(("model", "graph"), NETWORKS)
def test_inference(
    timing: Timing,
    pytorch: PyTorch,
    network_input: Callable[[str, str], Path],
    network: Callable[[str, str, str], Session],
    model: str,
    graph: str,
    number_format: str,
) -> None:
    """One answer of a network that is compiled and warm."""
    batch = load(network_input(model, graph))
    session = network(model, graph, number_format)
    answer = foreground(session(batch))
    assert (dice(answer, pytorch.foreground(model, graph, batch)) or 0.0) >= MINIMUM_DICE[number_format]
    timing.call(lambda: session(batch), rounds=5, precision=number_format, shape=list(batch.shape))


@pytest.mark.parametrize("cached", [False, True], ids=["compiled", "from cache"])
@pytest.mark.parametrize("number_format", FORMATS)
@pytest.mark.parametrize(("model", "graph"), NETWORKS)
def test_cold_network(
    timing: Timing,
    pytorch: PyTorch,
    network_input: Callable[[str, str], Path],
    network_process: Callable[..., Contender],
    model: str,
    graph: str,
    number_format: str,
    cached: bool,
) -> None:
    """A process that opens one network and runs it twice: start, first and second answer, peak memory."""
    source = network_input(model, graph)
    process = network_process(model, graph, number_format, source, cached=cached)
    run(process)
    answer = foreground(load(process.mask))
    assert (dice(answer, pytorch.foreground(model, graph, load(source))) or 0.0) >= MINIMUM_DICE[number_format]
    timing.process(process, rounds=3)


@pytest.fixture
def network_process(package: Package, threads: int, tmp_path: Path) -> Callable[..., Contender]:
    """The command that runs one network in a process of its own."""

    def command(model: str, graph: str, number_format: str, source: Path, *, cached: bool) -> Contender:
        kind = NumberFormat.INT8 if number_format == "int8" else NumberFormat.FP32
        engine, name = ("openvino", str(package(model, kind).folder))
        if number_format == "pytorch":
            if cached:
                pytest.skip("PyTorch eager compiles nothing")
            engine, name = "pytorch", model
        require_native(number_format)
        target = tmp_path / "output.npy"
        options = ["--threads", threads, "--precision", "bf16" if number_format == "bf16" else "f32"]
        cache = ["--cache", tmp_path / "cache"] if cached else []
        return Contender(
            name=f"{model} {graph} {number_format}",
            command=program("network_process", engine, name, graph, source, target, *options, *cache),
            environment=environment(threads),
            mask=target,
            precision=number_format,
        )

    return command


def require_native(number_format: str) -> None:
    """Skip bf16 where the CPU would emulate it: such a figure describes nothing that anyone would run."""
    if number_format == "bf16" and "BF16" not in cpu_capabilities():
        pytest.skip("this CPU has no native bf16")
