"""A quantised graph is trained towards its float graph: nearer, never worse, same operations, same bytes each time."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from lessons import CLASSES, F32, constants_of, files_in, lesson_of, plain_int8
from small_graphs import chain, image, mixture, operations_of

from brain_edge_conversion.distilling import distil as module
from brain_edge_conversion.distilling.distil import distil, loss_of
from brain_edge_conversion.distilling.lesson import Schedule
from brain_edge_conversion.distilling.student import Student, interpreter_of
from brain_edge_conversion.mending.layers import int8_layers
from brain_edge_conversion.mending.relative import relative
from brain_edge_conversion.mending.targets import Meaning, Target, decided, disagreement
from brain_edge_conversion.mending.watching import port_of, watched

if TYPE_CHECKING:
    from pathlib import Path

# nncf reads its configuration with a deprecated corner of a library of its own
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class Killed(BaseException):
    """What a test kills a training with."""


def silent(_line: str) -> None:
    """Take a progress line."""


def outputs(model: Any, *batches: np.ndarray) -> list[np.ndarray]:
    port = port_of(model.get_results()[0].input_value(0))
    return [found for (found,) in watched(model, [port], batches, F32)]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return files_in(tmp_path_factory.mktemp("inputs"), image(0), image(3))


@pytest.fixture(scope="module")
def plain_chain(files: list[Path]) -> tuple[Any, Any]:
    """Float graph and plain INT8 graph."""
    model = chain()
    return model, plain_int8(model, files)


@pytest.fixture(scope="module", params=[chain, mixture], ids=["chain", "mixture"])
def trained(
    request: pytest.FixtureRequest, files: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, Any, Any, Any]:
    """Float graph, plain INT8 graph, trained INT8 graph, and the figures of the training."""
    model = request.param()
    plain = plain_int8(model, files)
    lesson = lesson_of(model, plain, files, tmp_path_factory.mktemp("work"))
    figures = distil(lesson, silent)
    return model, plain, lesson.graphs.quantised, figures


def test_the_interpreted_int8_graph_gives_what_openvino_gives(trained: tuple[Any, Any, Any, Any]):
    """As near as the order of the sums allows: a rounded value may fall on the other side."""
    _, plain, _, _ = trained
    (wanted,) = outputs(plain, image(5))
    student = Student(plain.clone())
    with torch.no_grad():
        found = student.outputs(interpreter_of(plain, image(5).shape), torch.from_numpy(image(5))).numpy()
    assert relative([found], [wanted]) < 0.01


def test_labels_of_held_out_images_are_nearer_to_those_of_the_float_graph(trained: tuple[Any, Any, Any, Any]):
    model, plain, quantised, figures = trained
    held_out = [image(7), image(8)]
    wanted, before, after = (
        [decided(each, CLASSES) for each in outputs(graph, *held_out)] for graph in (model, plain, quantised)
    )
    assert figures.after < figures.before
    assert disagreement(before, wanted, CLASSES) == pytest.approx(figures.before)
    assert disagreement(after, wanted, CLASSES) == pytest.approx(figures.after)


def test_the_trained_graph_has_the_operations_of_the_plain_one(trained: tuple[Any, Any, Any, Any]):
    """In name, shape and number format: so it runs as fast. Integers stay within the bits of the plain graph."""
    _, plain, quantised, _ = trained
    assert operations_of(quantised) == operations_of(plain)
    assert constants_of(quantised) != constants_of(plain)
    before, after = ([layer.most for layer in int8_layers(model)] for model in (plain, quantised))
    assert all(now <= was for was, now in zip(before, after, strict=True))


def test_killed_and_resumed_gives_the_bytes_of_a_training_at_once(
    plain_chain: tuple[Any, Any], files: list[Path], tmp_path: Path
):
    short = Schedule(steps=6, every=2)
    at_once, killed = (lesson_of(*plain_chain, files, tmp_path / name, schedule=short) for name in ("once", "killed"))
    for each in (at_once, killed):
        each.checkpoint.parent.mkdir()
    wanted = distil(at_once, silent)

    def kill(line: str) -> None:
        if "step 2 of 6" in line:
            raise Killed

    with pytest.raises(Killed):
        distil(killed, kill)
    lines: list[str] = []
    # a new process reads the graph anew
    resumed = replace(killed, graphs=replace(killed.graphs, quantised=plain_chain[1].clone()))
    assert distil(resumed, lines.append) == wanted
    assert [line.split(":")[0] for line in lines] == [f"distillation, step {step} of 6" for step in (4, 6)]
    assert constants_of(resumed.graphs.quantised) == constants_of(at_once.graphs.quantised)


def test_the_state_of_another_training_or_half_a_file_is_not_taken(
    plain_chain: tuple[Any, Any], files: list[Path], tmp_path: Path
):
    lesson = lesson_of(*plain_chain, files, tmp_path, schedule=Schedule(steps=2, every=1))
    distil(lesson, silent)
    lines: list[str] = []
    other = lesson_of(*plain_chain, files, tmp_path, schedule=Schedule(steps=2, every=1), seed=1)
    distil(other, lines.append)
    assert len(lines) == 2
    other.checkpoint.write_bytes(other.checkpoint.read_bytes()[:100])
    distil(replace(other, graphs=replace(other.graphs, quantised=plain_chain[1].clone())), lines.append)
    assert len(lines) == 4


@pytest.mark.parametrize("rate", [0.1, 30.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_kept_graph_is_never_worse_on_held_out_images_than_the_start(
    rate: float, seed: int, plain_chain: tuple[Any, Any], files: list[Path], tmp_path: Path, monkeypatch: Any
):
    """Also at a rate that ruins the weights: then the start is put back, byte by byte."""
    monkeypatch.setattr(module, "RATE", rate)
    lesson = lesson_of(*plain_chain, files, tmp_path, seed=seed, schedule=Schedule(steps=3, every=1))
    found = distil(lesson, silent)
    wanted, after = (
        [decided(each, CLASSES) for each in outputs(graph, *lesson.graphs.batches)]
        for graph in (plain_chain[0], lesson.graphs.quantised)
    )
    assert disagreement(after, wanted, CLASSES) == pytest.approx(found.after)
    assert found.after <= found.before
    assert (constants_of(lesson.graphs.quantised) == constants_of(plain_chain[1])) == (found.steps == 0)
    assert found.steps == 0 or found.after < found.before


def test_training_ends_when_the_held_out_images_show_no_gain(
    plain_chain: tuple[Any, Any], files: list[Path], tmp_path: Path, monkeypatch: Any
):
    monkeypatch.setattr(module, "RATE", 100.0)
    lines: list[str] = []
    lesson = lesson_of(*plain_chain, files, tmp_path, schedule=Schedule(steps=9, every=1, patience=3))
    assert distil(lesson, lines.append).steps == 0
    assert len(lines) == 3


def test_inputs_without_contrast_are_left_out_and_teach_nothing_alone(plain_chain: tuple[Any, Any], tmp_path: Path):
    """One sentence says so, and the graph stays as it was."""
    empty = files_in(tmp_path, np.zeros((1, 1, 16, 16, 16), np.float32))
    lesson = lesson_of(*plain_chain, empty, tmp_path)
    lines: list[str] = []
    assert distil(lesson, lines.append).steps == 0
    assert lines == ["distillation needs calibration inputs with contrast, got none; the graph stays as it was"]
    assert constants_of(lesson.graphs.quantised) == constants_of(plain_chain[1])


def test_a_loss_that_is_no_number_ends_the_training(
    plain_chain: tuple[Any, Any], files: list[Path], tmp_path: Path, monkeypatch: Any
):
    monkeypatch.setattr(module, "loss_of", lambda found, _wanted, _target: found.sum() * float("nan"))
    lesson, lines = lesson_of(*plain_chain, files, tmp_path), list[str]()
    assert distil(lesson, lines.append).steps == 0
    assert lines == ["distillation ends at step 1: the loss is not a number; the best state before it is kept"]


def test_the_threads_of_pytorch_are_put_back(plain_chain: tuple[Any, Any], files: list[Path], tmp_path: Path):
    before = torch.get_num_threads()
    distil(lesson_of(*plain_chain, files, tmp_path, threads=before + 1, schedule=Schedule(1, 1, 1)), silent)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    "target",
    [Target(meaning, is_probability) for meaning in Meaning for is_probability in (False, True)],
    ids=lambda target: f"{target.meaning}-{target.is_probability}",
)
def test_a_loss_is_least_where_both_outputs_are_the_same(target: Target):
    logits = torch.randn(1, 3, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    wanted = logits
    if target.is_probability and target.meaning is not Meaning.VALUES:
        wanted = logits.softmax(1) if target.meaning is Meaning.CLASSES else logits.sigmoid()
    found = wanted.clone().requires_grad_()
    at_best = loss_of(found, wanted, target)
    at_best.backward()
    assert found.grad is not None
    assert float(found.grad.abs().max()) < 1e-6
    assert float(loss_of(wanted * 0.9, wanted, target)) > float(at_best.detach())
