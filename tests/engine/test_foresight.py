"""A graph is compiled beside the steps only if their result is known, and only while the case goes on."""

from __future__ import annotations

from threading import Event
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_package import PHANTOM, SPEC, STAGE, make_package

from brain_edge.engine.memory import MemoryLimit
from brain_edge.engine.segmenter import Segmenter
from brain_edge.errors import InputError
from brain_edge.image.geometry import Geometry
from brain_edge.image.phantom import make_volume
from brain_edge.image.resample import Interpolation
from brain_edge.image.volume import Volume
from brain_edge.spec import SlicesAlong, SlidingWindow
from brain_edge.spec.steps import CropToForeground, Orient, ResizeTo, ZScore

if TYPE_CHECKING:
    from brain_edge.image.volume import FloatArray
    from brain_edge.spec import ModelSpec, Stage


class Watched:
    """A network of two equal channels that keeps what it is told."""

    def __init__(self) -> None:
        self.foreseen: list[tuple[int, ...]] = []
        self.forgotten: list[tuple[int, ...]] = []
        self.given: list[tuple[int, ...]] = []

    def __call__(self, batch: FloatArray) -> FloatArray:
        self.given.append(batch.shape)
        return np.full((len(batch), 2, *batch.shape[2:]), 0.5, dtype=np.float32)

    def foresee(self, shape: tuple[int, ...]) -> None:
        self.foreseen.append(shape)

    def forget(self, shape: tuple[int, ...]) -> None:
        self.forgotten.append(shape)


def with_stage(stage: Stage) -> ModelSpec:
    return msgspec.structs.replace(SPEC, stages=(stage,))


def watched(spec: ModelSpec, head: Volume, memory: MemoryLimit | None = None) -> Watched:
    """What a session is told while a head is segmented."""
    session = Watched()
    Segmenter(spec, {"tiny": session}, memory)(head)
    return session


@given(st.tuples(*[st.integers(9, 40)] * 3), st.tuples(*[st.floats(2.0, 7.0)] * 3))
@settings(max_examples=25, deadline=None)
def test_the_input_that_is_foreseen_is_the_one_that_comes(shape, spacing_mm):
    grid = Geometry(shape, np.diag([*spacing_mm, 1.0]))
    head = Volume(np.random.default_rng(0).random(shape, dtype=np.float32), grid, "T1")
    seen = watched(SPEC, head)
    assert seen.foreseen == seen.given
    assert not seen.forgotten


def test_a_batch_of_slices_is_foreseen_too():
    network = msgspec.structs.replace(STAGE.network, execution=SlicesAlong(axis=2))
    seen = watched(with_stage(msgspec.structs.replace(STAGE, network=network)), make_volume(PHANTOM))
    assert seen.foreseen == seen.given[:1]


@pytest.mark.parametrize(
    "before",
    [
        pytest.param((Orient(axes="RAS"), CropToForeground(), ZScore()), id="the content of the image decides"),
        pytest.param(
            (Orient(axes="RAS"), ResizeTo(shape=(16, 16, 16), interpolation=Interpolation.NEAREST)),
            id="every image gives the same input, and the graph is compiled already",
        ),
    ],
)
def test_nothing_is_foreseen_where(before):
    seen = watched(with_stage(msgspec.structs.replace(STAGE, before=before)), make_volume(PHANTOM))
    assert seen.given
    assert not seen.foreseen


def test_windows_are_not_foreseen():
    network = msgspec.structs.replace(STAGE.network, execution=SlidingWindow(shape=(24, 24, 24)))
    seen = watched(with_stage(msgspec.structs.replace(STAGE, network=network)), make_volume(PHANTOM))
    assert seen.given
    assert not seen.foreseen


def test_nothing_is_compiled_beside_the_steps_where_memory_is_limited():
    seen = watched(SPEC, make_volume(PHANTOM), MemoryLimit(8 * 2**30))
    assert seen.given
    assert not seen.foreseen


def test_what_was_foreseen_is_forgotten_when_a_step_fails():
    head, session = make_volume(PHANTOM), Watched()
    flat = np.zeros_like(head.voxels)
    flat[0, 0, 0] = 1  # an image without two percentiles to scale between
    with pytest.raises(InputError):
        Segmenter(SPEC, {"tiny": session})(Volume(flat, head.geometry, head.name))
    assert session.foreseen
    assert session.forgotten == session.foreseen
    assert not session.given


class TestOpenVino:
    @pytest.fixture
    def segmenter(self, tmp_path):
        return Segmenter.open(make_package(tmp_path / "tiny"))

    def test_a_second_head_of_the_same_grid_is_not_compiled_again(self, segmenter, monkeypatch):
        pool = segmenter._sessions["tiny"]._pool
        compile_one, compiled = pool._compiler.compile, []

        def counted(graph, shape):
            compiled.append(shape)
            return compile_one(graph, shape)

        monkeypatch.setattr(pool._compiler, "compile", counted)
        head = make_volume(PHANTOM)
        first, second = segmenter(head), segmenter(head)
        np.testing.assert_array_equal(first.mask.labels, second.mask.labels)
        assert len(compiled) == 1
        assert not pool._coming

    def test_a_head_that_fails_leaves_no_graph_behind(self, segmenter):
        pool = segmenter._sessions["tiny"]._pool
        segmenter(make_volume(PHANTOM))
        kept = set(pool._ready)
        pool.foresee("tiny", (1, 1, 8, 8, 8))
        pool.forget("tiny", (1, 1, 8, 8, 8))
        pool.forget("tiny", (1, 1, 8, 8, 8))
        assert not pool._coming
        assert set(pool._ready) == kept

    def test_a_head_that_fails_takes_no_graph_from_another_that_waits_for_it(self, segmenter, monkeypatch):
        pool, shape = segmenter._sessions["tiny"]._pool, (1, 1, 8, 8, 8)
        compile_one, may_go_on = pool._compiler.compile, Event()

        def waiting(*graph_and_shape):
            assert may_go_on.wait(60)
            return compile_one(*graph_and_shape)

        monkeypatch.setattr(pool._compiler, "compile", waiting)
        workers = pool._worker._max_workers
        for side in range(12, 12 + workers):  # so that the graph is not begun yet
            pool.foresee("tiny", (1, 1, side, 8, 8))
        pool.foresee("tiny", shape)
        waited_for = pool.expect("tiny", shape)
        pool.forget("tiny", shape)
        may_go_on.set()
        assert waited_for.result(60).compiled is not None
