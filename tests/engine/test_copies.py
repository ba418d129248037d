"""A volume that a network copies itself is that of the steps one after the other, and so is the mask."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phantoms import OBLIQUE
from strategies import shapes, voxels
from test_execution import stage as stage_of
from tiny_package import FIT, PHANTOM, SCALE, SPEC, STAGE, make_package

from brain_edge.bench.counted import Input, counted
from brain_edge.engine.execution import StagePlan, plan_stage, source_of
from brain_edge.engine.in_blocks import applied
from brain_edge.engine.segmenter import Segmenter
from brain_edge.errors import InputError
from brain_edge.image.geometry import Geometry
from brain_edge.image.phantom import make_volume
from brain_edge.image.repeated import RepeatedPlanes
from brain_edge.image.resample import Interpolation
from brain_edge.machine.options import RuntimeOptions
from brain_edge.runtime.session import open_sessions
from brain_edge.spec import Activation, ModelSpec, SlidingWindow, Stage
from brain_edge.spec.plan import copied_from
from brain_edge.spec.steps import (
    Clip,
    FitPercentile,
    Frame,
    Linear,
    Orient,
    Region,
    RescaleToUnit,
    ResizeTo,
    Restore,
    Threshold,
    ZScore,
)

if TYPE_CHECKING:
    from brain_edge.image.volume import FloatArray
    from brain_edge.package import ModelPackage
    from brain_edge.runtime.session import GraphSession

ONE = RuntimeOptions(threads=1)
SIDES = (16, 24, 16)
COPIED = ResizeTo(shape=SIDES, interpolation=Interpolation.NEAREST)
AFTER = (Threshold(channel=0, above=0.5), Restore(interpolation=Interpolation.NEAREST))
CHAIN = (Orient(axes="RAS"), COPIED, RescaleToUnit(lower=0.0, upper=1.0), ZScore(), Linear(multiply=2.0, add=0.5))


def stage(before=CHAIN, execution=None, **network) -> Stage:
    one = {"channels_out": 1, "activation": Activation.SIGMOID, **network}
    return stage_of(before, AFTER, execution, **one)


def planned(before=CHAIN) -> StagePlan:
    return plan_stage(stage(before))


class Copying:
    copies_planes = True

    def __call__(self, batch: RepeatedPlanes) -> np.ndarray:
        return np.asarray(batch)


@given(
    shape=shapes(2, 40),
    later=st.lists(
        st.sampled_from([RescaleToUnit(lower=0.1, upper=0.8), ZScore(), Linear(multiply=3.0), Clip(lower=-0.5)]),
        max_size=4,
    ),
    channels=st.integers(1, 2),
    seed=st.integers(0, 99),
)
@settings(deadline=None)
def test_the_volume_of_the_network_is_that_of_the_steps_one_after_the_other(shape, later, channels, seed):
    """Finer and coarser grids along any axis, in the memory order of a file of nibabel."""
    data = np.asfortranarray(np.stack([voxels(shape, seed + each) for each in range(channels)]))
    frame = Frame(data, Geometry(shape, OBLIQUE))
    before = (Orient(axes="RAS"), COPIED, *later)
    plan = planned(before)
    assert plan.copied == before[1:]
    start = applied(plan.whole, frame)
    try:
        expected = applied(before, frame)
    except InputError:  # one value in all voxels, such as after clipping
        with pytest.raises(InputError):
            source_of(plan, start)
        return
    source, copies = source_of(plan, start)
    batch = source.whole_of(Copying())
    assert isinstance(batch, RepeatedPlanes)
    assert batch.voxels.flags.c_contiguous
    assert batch.shape == (1, channels, *SIDES) == (1, channels, *source.sides)
    assert batch.voxels.shape[2:] == plan.sides_given(start.geometry.shape)
    scale = max(1.0, float(np.abs(expected.voxels).max()))
    np.testing.assert_allclose(np.asarray(batch)[0], expected.voxels, atol=1e-5 * scale)
    np.testing.assert_array_equal(source.whole_of(np.asarray), np.asarray(batch))
    assert copies.geometry.shape == expected.geometry.shape == plan.sides_after(start.geometry.shape)
    np.testing.assert_allclose(copies.geometry.affine, expected.geometry.affine)
    assert [type(move) for move in copies.trail] == [type(move) for move in expected.trail]
    for move, other in zip(copies.trail, expected.trail, strict=True):
        assert move.before.shape == other.before.shape
        np.testing.assert_allclose(move.before.affine, other.before.affine)


@pytest.mark.parametrize(
    ("before", "execution", "network"),
    [
        pytest.param((COPIED, ZScore(region=Region.NONZERO)), None, {}, id="moments of some voxels"),
        pytest.param((COPIED, FitPercentile(name="p", percent=1.0)), None, {}, id="a step that counts no copies"),
        pytest.param((COPIED, Orient(axes="LPS")), None, {}, id="another grid"),
        pytest.param((ResizeTo(shape=SIDES, interpolation=Interpolation.LINEAR),), None, {}, id="linear"),
        pytest.param((ZScore(),), None, {}, id="no grid of its own"),
        pytest.param(CHAIN, SlidingWindow(shape=(8, 8, 8)), {}, id="windows"),
        pytest.param(CHAIN, None, {"flips": ((), (0,))}, id="mirrored passes"),
        pytest.param(CHAIN, None, {"flips": ((1,),)}, id="one mirrored pass"),
        pytest.param(CHAIN, None, {"graphs": ("a", "b")}, id="members"),
    ],
)
def test_other_stages_make_their_volume_themselves(before, execution, network):
    other = stage(before, execution, **network)
    assert copied_from(other) is None
    assert plan_stage(other).copied == ()


def test_moments_are_those_of_the_copies_and_not_of_the_voxels():
    """Nine copies of one slice and one of another."""
    data = np.stack([np.zeros((2, 2)), np.ones((2, 2))], axis=-1)[np.newaxis].astype(np.float32)
    frame = Frame(data, Geometry((2, 2, 2), np.eye(4)))
    found = ZScore().fitted_to_copies(frame, (np.ones(2), np.ones(2), np.array([9, 1])))(data)
    np.testing.assert_allclose(found[0, 0, 0], [-0.1 / 0.3, 0.9 / 0.3], rtol=1e-6)


GRID = ResizeTo(shape=(48, 40, 64), interpolation=Interpolation.NEAREST)
TINY: ModelSpec = msgspec.structs.replace(
    SPEC, stages=(msgspec.structs.replace(STAGE, before=(Orient(axes="RAS"), *FIT, GRID, SCALE)),)
)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return make_package(tmp_path_factory.mktemp("copies") / "package", TINY)


class TestTheSession:
    def test_gives_the_same_for_planes_and_for_the_whole_volume(self, package):
        session = open_sessions(package, ONE)["tiny"]
        assert session.copies_planes
        rng = np.random.default_rng(0)
        for planes in (1, 5, 64):
            few = rng.standard_normal((1, 1, 48, 40, planes)).astype(np.float32)
            batch = RepeatedPlanes(few, np.sort(rng.integers(0, planes, 64)).astype(np.int32))
            expected = np.array(session(np.asarray(batch)))
            np.testing.assert_array_equal(np.array(session(batch)), expected)
            assert len(np.unique(expected)) > 10

    def test_reports_the_memory_of_a_graph_that_takes_any_number_of_planes(self, package):
        memory = open_sessions(package, ONE)["tiny"].memory((1, 1, 48, 40, 64))
        bytes_of_image = 4 * 48 * 40 * 64
        assert memory.tensor_bytes >= 3 * bytes_of_image, "the image, and two channels of the output"
        assert memory.intermediate_bytes >= bytes_of_image, "the copies"

    def test_a_kept_graph_takes_planes_too(self, package, tmp_path):
        image, options = make_volume(PHANTOM), RuntimeOptions(threads=1, cache_folder=tmp_path / "kept")
        first = Segmenter.open(package, options)(image).mask.labels
        assert first.any()
        (kept,) = files = [file for file in (tmp_path / "kept").rglob("*") if file.is_file()]
        before = kept.stat().st_mtime_ns
        np.testing.assert_array_equal(Segmenter.open(package, options)(image).mask.labels, first)
        assert [file for file in (tmp_path / "kept").rglob("*") if file.is_file()] == files
        assert kept.stat().st_mtime_ns == before

    def test_a_graph_that_was_kept_for_planes_is_not_taken_for_a_volume(self, package, tmp_path):
        """Linear neighbours need the volume: the same package, graph and shape."""
        image, kept = make_volume(PHANTOM), RuntimeOptions(threads=1, cache_folder=tmp_path / "kept")
        linear = msgspec.structs.replace(GRID, interpolation=Interpolation.LINEAR)
        spec = msgspec.structs.replace(
            TINY, stages=(msgspec.structs.replace(STAGE, before=(Orient(axes="RAS"), *FIT, linear, SCALE)),)
        )
        Segmenter.open(package, kept)(image)
        of_kept = Segmenter.open(package, kept, spec=spec)(image).mask.labels
        np.testing.assert_array_equal(of_kept, Segmenter.open(package, ONE, spec=spec)(image).mask.labels)

    def test_a_wrapped_session_gets_what_it_can_take(self, package):
        """A wrapper without the word gets the volume, one with it the planes; the mask is the same."""
        image, seen = make_volume(PHANTOM), []

        class Plain:
            def __init__(self, _graph: str, session: GraphSession) -> None:
                self.session = session

            def __call__(self, batch: FloatArray) -> FloatArray:
                seen.append(type(batch))
                return self.session(batch)

        plain = Segmenter.open(package, ONE, wrap=Plain)(image).mask.labels
        counter: Counter[Input] = Counter()
        with_planes = Segmenter.open(package, ONE, wrap=counted(counter))(image).mask.labels
        assert seen == [np.ndarray]
        assert list(counter) == [Input("tiny", (1, 1, 48, 40, 64))]
        np.testing.assert_array_equal(plain, with_planes)
