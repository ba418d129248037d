"""The graph of a distilled trial: operations of the plain graph, and the same files whatever interrupts it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from openvino import Model, PartialShape, Type
from openvino import opset13 as ops
from small_graphs import chain, image, operations_of
from tiny_package import SPEC, tiny_manifest

from brain_edge.machine.options import RuntimeOptions
from brain_edge.package import ModelPackage, graph_path
from brain_edge_conversion.distilling.lesson import Schedule
from brain_edge_conversion.quantize import graphs as module
from brain_edge_conversion.quantize.graphs import GraphMaker, Tuition
from brain_edge_conversion.quantize.ladder import MENDED, FloatEnds
from brain_edge_conversion.quantize.quantize import QuantizeOptions, ladder_of
from brain_edge_conversion.sealing.graph import save_graph

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from brain_edge_conversion.quantize.ladder import Setting

# nncf reads its configuration with a deprecated corner of a library of its own
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

GRAPH = "tiny"
DISTILLED = msgspec.structs.replace(MENDED[1], distilled=True)


class Killed(BaseException):
    """What a test kills a training with."""


def silent(_line: str) -> None:
    """Take a progress line."""


def kill(line: str) -> None:
    """End the training in its middle."""
    if "step 4 of 6" in line:
        raise Killed


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    folder = tmp_path_factory.mktemp("package")
    save_graph(chain(), folder / graph_path(GRAPH), SPEC)
    return ModelPackage(folder, tiny_manifest())


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    found = [tmp_path_factory.mktemp("inputs") / f"{number}.npy" for number in range(3)]
    for number, path in enumerate(found):
        np.save(path, image(number))
    return found


@pytest.fixture
def make(package: ModelPackage, files: list[Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Function from a setting to the graph that a trial of it has; the last input is held out."""
    monkeypatch.setattr(module, "SCHEDULE", Schedule(steps=6, every=2))

    def made(setting: Setting, work: Path, report: Callable[[str], None] = silent, fitted: Path | None = None) -> Any:
        maker = GraphMaker(package, GRAPH, files[:2], RuntimeOptions(threads=1))
        work.mkdir(exist_ok=True)
        return maker.quantised(setting, (), report, Tuition({GRAPH: files[2:]}, work, fitted))

    return made


def files_of(model: Any, folder: Path) -> tuple[bytes, bytes]:
    """Both files of a graph as a package has them."""
    save_graph(model, folder / graph_path(GRAPH), SPEC)
    path = folder / graph_path(GRAPH)
    return path.read_bytes(), path.with_suffix(".bin").read_bytes()


@pytest.fixture
def trial(make: Callable[..., Any], tmp_path: Path) -> tuple[Path, Any]:
    """Folder of the finished trial before, and its fitted graph."""
    fitted = make(MENDED[1], tmp_path / "fitted")
    files_of(fitted, tmp_path / "trial")
    return tmp_path / "trial", fitted


def test_a_distilled_trial_has_the_operations_of_its_fitted_graph_and_the_same_files_after_a_kill(
    make: Callable[..., Any], trial: tuple[Path, Any], tmp_path: Path
):
    folder, fitted = trial
    at_once = make(DISTILLED, tmp_path / "once", silent, folder)
    wanted = files_of(at_once, tmp_path / "written")
    assert operations_of(at_once) == operations_of(fitted)
    assert wanted[1] != (folder / graph_path(GRAPH)).with_suffix(".bin").read_bytes()
    with pytest.raises(Killed):
        make(DISTILLED, tmp_path / "killed", kill, folder)
    lines: list[str] = []
    again = make(DISTILLED, tmp_path / "killed", lines.append, folder)
    assert files_of(again, tmp_path / "again") == wanted
    assert [line.split(":")[0] for line in lines] == ["distillation, step 6 of 6"]


@pytest.mark.full  # a second fit; what a trial begins with is read from disk or made anew
def test_a_graph_that_is_fitted_anew_is_trained_to_the_same_files(
    make: Callable[..., Any], trial: tuple[Path, Any], tmp_path: Path
):
    found = [make(DISTILLED, tmp_path / name, silent, start) for name, start in (("disk", trial[0]), ("anew", None))]
    files = [files_of(each, tmp_path / str(number)) for number, each in enumerate(found)]
    assert files[0] == files[1]


def test_the_ladder_ends_with_a_distillation_of_its_last_fit(package: ModelPackage):
    head = msgspec.structs.replace(MENDED[-1], float_ends=FloatEnds.HEAD)
    last = msgspec.structs.replace(head, distilled=True)
    assert ladder_of(package, QuantizeOptions())[-4:] == (*MENDED, head, last)
    assert not [each for each in ladder_of(package, QuantizeOptions(weight_changes=False)) if each.distilled]
    assert DISTILLED.title.endswith("towards the outputs of the float network (distillation)")


def test_an_operation_without_a_gradient_is_named_and_the_search_goes_on_without_a_distillation(tmp_path: Path):
    x = ops.parameter(PartialShape([1, 1, -1, -1, -1]), Type.f32, name="x")
    save_graph(Model([ops.softmax(ops.concat([ops.sin(x), x], 1), 1)], [x], "sine"), tmp_path / graph_path(GRAPH), SPEC)
    lines: list[str] = []
    ladder = ladder_of(ModelPackage(tmp_path, tiny_manifest()), QuantizeOptions(report=lines.append))
    assert lines == ["distillation cannot differentiate Sin; left out"]
    assert ladder[-2:] == (MENDED[0], msgspec.structs.replace(MENDED[0], float_ends=FloatEnds.HEAD))
