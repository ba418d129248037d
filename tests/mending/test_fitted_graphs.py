"""The graphs of a trial with changed weights: the operations of the plain graph, and the same bytes after a kill."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from small_graphs import chain, image, operations_of
from tiny_package import SPEC, tiny_manifest

from brain_edge.machine.options import RuntimeOptions
from brain_edge.package import ModelPackage, graph_path
from brain_edge_conversion.quantize.graphs import GraphMaker
from brain_edge_conversion.quantize.ladder import MENDED, Setting, Weights
from brain_edge_conversion.sealing.graph import save_graph

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# nncf reads its configuration with a deprecated corner of a library of its own
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

GRAPH = "tiny"
PLAIN = msgspec.structs.replace(MENDED[0], weights=Weights.AS_TRAINED)


class Killed(BaseException):
    """What a test kills a fit with."""


def silent(_line: str) -> None:
    """Take a progress line."""


def kill(line: str) -> None:
    """End the fit in its middle."""
    if line.startswith("layer 2 "):
        raise Killed


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Function from a setting to the graph that a trial of it has, made anew each time."""
    folder = tmp_path_factory.mktemp("package")
    save_graph(chain(), folder / graph_path(GRAPH), SPEC)
    files = [folder / f"{number}.npy" for number in range(2)]
    for number, path in enumerate(files):
        np.save(path, image(number))
    package = ModelPackage(folder, tiny_manifest())

    def make(setting: Setting, report: Callable[[str], None] = silent) -> Any:
        return GraphMaker(package, GRAPH, files, RuntimeOptions(threads=1)).quantised(setting, (), report)

    return make


@pytest.fixture(scope="module")
def graphs(made: Callable[..., Any]) -> dict[Weights, Any]:
    return {setting.weights: made(setting) for setting in (PLAIN, *MENDED)}


def files_of(model: Any, folder: Path) -> tuple[bytes, bytes]:
    """Both files of a graph as a package has them."""
    save_graph(model, folder / graph_path(GRAPH), SPEC)
    path = folder / graph_path(GRAPH)
    return path.read_bytes(), path.with_suffix(".bin").read_bytes()


@pytest.mark.parametrize("weights", [Weights.FITTED, Weights.EQUALISED])
def test_a_trial_with_changed_weights_has_the_operations_of_the_plain_int8_graph(
    weights: Weights, graphs: dict[Weights, Any], tmp_path: Path
):
    """In kind, name, shape and number format, so it runs as fast; only numbers differ."""
    assert operations_of(graphs[weights]) == operations_of(graphs[Weights.AS_TRAINED])
    plain, changed = (files_of(graphs[each], tmp_path / each.name) for each in (Weights.AS_TRAINED, weights))
    assert changed[1] != plain[1]


def test_a_fit_that_was_killed_in_its_middle_ends_with_the_same_files(
    made: Callable[..., Any], graphs: dict[Weights, Any], tmp_path: Path
):
    """Also the file with the names: OpenVINO numbers nodes over a whole process."""
    setting = MENDED[1]
    with pytest.raises(Killed):
        made(setting, kill)
    again = files_of(made(setting), tmp_path / "again")
    assert again == files_of(graphs[setting.weights], tmp_path / "whole")
