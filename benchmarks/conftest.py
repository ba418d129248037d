"""The suite: what all benchmarks share, and where a timed run is kept.

With `--benchmark-disable` each benchmark function runs once, on the first of its parameters, which is its smallest.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from benchmarks.harness.answers import PyTorch
from benchmarks.harness.packages import make_package
from benchmarks.harness.record import RESULTS, file_stem, our_versions
from benchmarks.harness.timing import Timing
from benchmarks.matrix import HEAD
from brain_edge.deploy.fetch import fetch
from brain_edge.machine.cpu import default_threads
from brain_edge.machine.description import this_machine
from brain_edge.package import NumberFormat

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

    from brain_edge.package import ModelPackage


_say = partial(print, file=sys.__stderr__)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--threads", type=int, default=default_threads(), help="of everything that is measured")


def pytest_configure(config: pytest.Config) -> None:
    """Keep a timed run in a file of its own, beside the interleaved comparisons of the same machine."""
    timed = config.pluginmanager.hasplugin("benchmark") and not config.getoption("benchmark_disable")
    if not timed or config.option.collectonly or config.getoption("benchmark_json"):
        return
    folder = RESULTS / this_machine().name
    folder.mkdir(parents=True, exist_ok=True)
    config.option.benchmark_json = str(folder / f"{file_stem('suite', datetime.now(UTC))}.json")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Not timed: only the smallest case of each function."""
    if not config.getoption("benchmark_disable", default=True):
        return
    smallest: dict[object, pytest.Item] = {}
    for item in items:
        smallest.setdefault(getattr(item, "function", item), item)
    others = [item for item in items if item not in smallest.values()]
    items[:] = smallest.values()
    config.hook.pytest_deselected(items=others)


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """What pytest-benchmark does not know; and not the name that the machine has in its network."""
    machine_info.pop("node", None)
    machine_info.update(msgspec.to_builtins(this_machine()))
    machine_info["threads"] = config.getoption("--threads")
    machine_info["versions"] = our_versions()


@pytest.fixture(scope="session")
def threads(pytestconfig: pytest.Config) -> int:
    """Threads of everything that is measured."""
    return int(pytestconfig.getoption("--threads"))


@pytest.fixture(scope="session")
def head() -> Path:
    """A real head, the MNI152 template."""
    return fetch(HEAD, report=_say)


@pytest.fixture(scope="session")
def package() -> Callable[[str, NumberFormat], ModelPackage]:
    """The package of a model."""
    return lambda model, kind: make_package(model, kind, _say)


@pytest.fixture
def timing(benchmark: BenchmarkFixture, threads: int) -> Timing:
    """How this suite times: always pedantic, with the conditions beside the samples."""
    return Timing(benchmark, threads)


@pytest.fixture(scope="session")
def pytorch(tmp_path_factory: pytest.TempPathFactory, head: Path, threads: int) -> PyTorch:
    """PyTorch's answers."""
    return PyTorch(tmp_path_factory.mktemp("pytorch"), head, threads)


@pytest.fixture(scope="session")
def network_input(
    tmp_path_factory: pytest.TempPathFactory, head: Path, package: Callable[[str, NumberFormat], ModelPackage]
) -> Callable[[str, str], Path]:
    """File with what a network of a model sees of the head, (1, C, I, J, K) float32."""
    from brain_edge.jobs.case import read_study
    from brain_edge_conversion.budget.capture import capture_inputs

    caught: dict[str, Mapping[str, list[Path]]] = {}

    def find(model: str, graph: str) -> Path:
        if model not in caught:
            opened = package(model, NumberFormat.FP32)
            study = read_study({opened.spec.inputs[0].name: head})
            caught[model] = capture_inputs(opened, [study], tmp_path_factory.mktemp(model))
        return caught[model][graph][0]

    return find
