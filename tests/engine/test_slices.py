"""Networks that see slices: what comes back is what a loop over the slices gives, at the place where they lie."""

from __future__ import annotations

import math
from typing import Literal

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from phantoms import ORIENTATIONS
from scipy import ndimage
from strategies import shapes, voxels
from tiny_package import AFTER, FIT, PHANTOM, RESAMPLE, RESTORE, SCALE, SPEC, tiny_manifest

from brain_edge.engine.inference import predict
from brain_edge.engine.segmenter import Segmenter
from brain_edge.errors import BrainEdgeError
from brain_edge.image.geometry import axis_moves
from brain_edge.image.phantom import make_volume
from brain_edge.image.volume import Volume
from brain_edge.machine.options import RuntimeOptions
from brain_edge.package import ModelPackage, graph_path
from brain_edge.runtime.session import open_sessions
from brain_edge.spec import Edge, Network, NoiseSlices, SlicesAlong, SlidingWindow, Stage, WholeStack, WholeVolume
from brain_edge.spec.execution import batch_size
from brain_edge.spec.steps import Argmax, CropOrPadInPlane, Orient
from brain_edge.spec.steps.moves import reorder
from brain_edge_conversion.convert.parity import TorchSession
from brain_edge_conversion.convert.trace import trace_network
from brain_edge_conversion.sealing.graph import save_graph

replace = msgspec.structs.replace
AXES = st.integers(0, 2)
PADDING: dict[Edge, Literal["edge", "constant", "reflect"]] = {
    Edge.REPEAT: "edge",
    Edge.ZERO: "constant",
    Edge.MIRROR: "reflect",
}


def network(execution, channels_in: int = 1, channels_out: int = 1, **parameters) -> Network:
    """A network of one graph "n"."""
    ready = {"graphs": ("n",), "channels_in": channels_in, "channels_out": channels_out, **parameters}
    return Network(execution=execution, **ready)


def tilted(batch: np.ndarray) -> np.ndarray:
    """A 2D network (N, C, H, W) -> (N, 1, H, W) that knows H from W, its channels apart, and no slice from another."""
    assert batch.flags.c_contiguous
    assert batch.dtype == np.float32
    height, width = batch.shape[2:]
    weights = np.arange(1, batch.shape[1] + 1, dtype=np.float32)
    plane = np.tensordot(weights, batch, axes=(0, 1))[:, None]
    return (plane + np.linspace(0, 5, height, dtype=np.float32)[:, None] + np.linspace(0, 3, width)).astype(np.float32)


class TestSlices:
    @given(shapes(1, 9), AXES, st.integers(1, 12), st.integers(0, 99))
    def test_are_a_loop_over_the_slices(self, shape, axis, batch, seed):
        array = voxels((2, *shape), seed)
        result = predict(network(SlicesAlong(axis=axis, batch=batch), 2), {"n": tilted}, array)
        planes = np.moveaxis(array, axis + 1, 0)
        expected = np.stack([tilted(np.ascontiguousarray(plane[np.newaxis]))[0] for plane in planes], axis=axis + 1)
        np.testing.assert_array_equal(result, expected)

    @given(st.integers(1, 400), st.integers(1, 64))
    def test_come_in_equal_batches_that_hold_at_most_so_many(self, slices, most):
        size = batch_size(slices, most)
        batches = math.ceil(slices / size)
        assert size <= most
        assert batches == math.ceil(slices / most)
        assert batches * size - slices < batches

    @given(shapes(1, 20), AXES, st.integers(1, 7))
    def test_a_graph_sees_one_shape_which_is_known_from_the_sides(self, shape, axis, batch):
        seen = set()

        def note(array):
            seen.add(array.shape)
            return tilted(array)

        execution = SlicesAlong(axis=axis, batch=batch)
        predict(network(execution), {"n": note}, voxels((1, *shape), 0))
        assert seen == {execution.known_input(1, shape)}

    def test_mirrorings_turn_the_volume_and_not_the_slice(self):
        """Along the axis of the slices a mirroring changes nothing for a 2D network."""
        array = voxels((1, 5, 6, 7), 1)
        plain = predict(network(SlicesAlong(axis=2)), {"n": tilted}, array)
        along = predict(network(SlicesAlong(axis=2), flips=((2,),)), {"n": tilted}, array)
        np.testing.assert_array_equal(along, plain)
        across = predict(network(SlicesAlong(axis=2), flips=((0,),)), {"n": tilted}, array)
        expected = np.flip(predict(network(SlicesAlong(axis=2)), {"n": tilted}, np.flip(array, 1)), 1)
        np.testing.assert_array_equal(across, expected)

    @pytest.mark.parametrize("shape", [(1, 40, 30), (400, 6, 5), (7, 512, 64), (3, 64, 512)])
    def test_one_slice_four_hundred_and_any_plane(self, shape):
        array = voxels((1, *shape), 2)
        result = predict(network(SlicesAlong(axis=0)), {"n": tilted}, array)
        np.testing.assert_array_equal(result[0, -1], tilted(np.ascontiguousarray(array[:, -1:]))[0, 0])
        assert result.shape == (1, *shape)


class TestNeighbours:
    @given(st.integers(1, 9), AXES, st.integers(1, 3), st.integers(1, 4), st.sampled_from([*PADDING]))
    def test_are_those_of_a_padded_volume(self, slices, axis, reach, batch, edge):
        sides = [4, 5]
        sides.insert(axis, slices)
        array = voxels((2, *sides), slices)
        execution = SlicesAlong(axis=axis, batch=batch, neighbours=reach, edge=edge)
        result = predict(network(execution, 2 * (2 * reach + 1)), {"n": tilted}, array)
        # numpy's "reflect" of one slice is its repetition too
        padded = np.pad(np.moveaxis(array, axis + 1, 1), [(0, 0), (reach, reach), (0, 0), (0, 0)], mode=PADDING[edge])
        stacks = [padded[:, at : at + 2 * reach + 1].reshape(1, -1, 4, 5) for at in range(slices)]
        expected = np.stack([tilted(np.ascontiguousarray(stack))[0] for stack in stacks], axis=axis + 1)
        np.testing.assert_allclose(result, expected, rtol=1e-6)

    def test_beyond_the_ends_may_be_the_mean_of_the_channel(self):
        """SPiN pads with the mean: what it is normalised with, or where that was not fitted, the volume's own."""
        array = voxels((2, 3, 4, 5), 3)
        execution = SlicesAlong(axis=0, neighbours=1, edge=Edge.MEAN)
        result = predict(network(execution, 6), {"n": tilted}, array)
        means = np.broadcast_to(array.mean(axis=(1, 2, 3), keepdims=True), (2, 1, 4, 5))
        first = np.concatenate([means, array[:, :2]], axis=1).reshape(1, 6, 4, 5).astype(np.float32)
        np.testing.assert_allclose(result[:, 0], tilted(first)[0], rtol=1e-5)

    def test_centre_slice_is_the_middle_channel_of_each_sequence(self):
        array = voxels((2, 6, 4, 5), 4)
        execution = SlicesAlong(axis=0, neighbours=2)
        middle = predict(network(execution, 10, 2), {"n": lambda batch: batch[:, [2, 7]]}, array)
        np.testing.assert_array_equal(middle, array)


class TestWholeStack:
    @given(shapes(1, 9), AXES)
    def test_a_recurrent_network_sees_all_slices_once_and_in_order(self, shape, axis):
        array, calls = voxels((3, *shape), 5), []

        def running_sum(batch):
            calls.append(batch.shape)
            return np.cumsum(batch[:, :1], axis=0, dtype=np.float32)

        result = predict(network(WholeStack(axis=axis), 3), {"n": running_sum}, array)
        assert len(calls) == 1
        np.testing.assert_allclose(result, np.cumsum(array[:1], axis=axis + 1), rtol=1e-5)


class TestNoise:
    def test_is_the_same_each_time_for_a_seed_and_does_not_look_at_the_image(self):
        def spread(batch):
            assert batch.shape[1] == 9
            return np.broadcast_to(batch[:, :1, None, None], (batch.shape[0], 1, 4, 6)).copy()

        first, second, other = (
            predict(network(NoiseSlices(axis=1, batch=2, seed=seed), 9), {"n": spread}, voxels((1, 4, 5, 6), seed * 7))
            for seed in (3, 3, 4)
        )
        np.testing.assert_array_equal(first, second)
        assert not np.array_equal(first, other)
        drawn = np.random.default_rng(3).standard_normal((5, 9), dtype=np.float32)
        np.testing.assert_array_equal(first[0, 0, :, 0], drawn[:, 0])


class TestNetworksThatDoNotKeepTheirWord:
    @pytest.mark.parametrize("execution", [SlicesAlong(axis=0, batch=2), WholeStack(axis=0)])
    def test_another_shape_and_nan_are_refused(self, execution):
        with pytest.raises(BrainEdgeError, match=r"expected \d x 1 x 4 x 4 numbers .* got \d x 1 x 2 x 2"):
            predict(network(execution), {"n": lambda batch: batch[:, :, ::2, ::2]}, voxels((1, 4, 4, 4), 0))
        with pytest.raises(BrainEdgeError, match=r"the network computed NaN \(not a number\); no mask can be made"):
            predict(network(execution), {"n": lambda batch: batch * np.nan}, voxels((1, 4, 4, 4), 0))

    def test_a_network_that_drops_a_slice_is_refused(self):
        with pytest.raises(BrainEdgeError, match="expected 4 x 1 x 4 x 4 numbers from the network, got 3 x 1 x 4 x 4"):
            predict(network(SlicesAlong(axis=0)), {"n": lambda batch: batch[1:]}, voxels((1, 4, 4, 4), 0))


class TestShapes:
    def test_of_a_graph_while_no_image_is_known(self):
        kinds = {
            WholeVolume(): (1, 4, -1, -1, -1),
            SlidingWindow(shape=(8, 8, 8)): (1, 4, -1, -1, -1),
            SlicesAlong(axis=0): (-1, 4, -1, -1),
            WholeStack(axis=2): (-1, 4, -1, -1),
            NoiseSlices(axis=0): (-1, 4),
        }
        for execution, expected in kinds.items():
            assert execution.open_shape(4) == expected
            example = execution.example_input(4, (16, 24, 32))
            assert len(example) == len(expected)
            assert all(want in (-1, got) for want, got in zip(expected, example, strict=True))
        assert SlicesAlong(axis=2).example_input(4, (64, 48, 16)) == (2, 4, 64, 48)
        assert WholeStack(axis=0).example_input(4, (16, 64, 48)) == (16, 4, 64, 48)

    def test_of_a_stack_are_known_where_the_sides_are(self):
        assert WholeStack(axis=2).known_input(4, (256, 240, 155)) == (155, 4, 256, 240)
        assert NoiseSlices(axis=0, batch=16).known_input(512, (155, 256, 256)) == (16, 512)
        assert SlicesAlong(axis=1).known_input(4, None) is None


# a package whose network sees axial slices of the phantom, two at a time

SLICEWISE = replace(
    SPEC,
    name="tiny-slices",
    stages=(
        Stage(
            name="brain",
            before=(Orient(axes="SPR"), RESAMPLE, *FIT, SCALE, CropOrPadInPlane(axis=0, shape=(64, 52))),
            network=Network(
                graphs=("plane",), channels_in=3, channels_out=2, execution=SlicesAlong(axis=0, batch=9, neighbours=1)
            ),
            after=AFTER,
        ),
    ),
)


class Plane(torch.nn.Module):
    """(N, 3, H, W) -> (N, 2, H, W): a lopsided mean of three slices against a threshold that rises with H."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = torch.nn.Conv2d(3, 1, 3, padding=1)
        weights = 1 + torch.arange(27.0).reshape(1, 3, 3, 3) / 27
        self.convolution.weight = torch.nn.Parameter(weights / weights.sum())
        self.convolution.bias = torch.nn.Parameter(torch.zeros(1))

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """Softmax over two classes."""
        logit = 40 * (self.convolution(batch) - 0.55)
        logit = logit + torch.linspace(-4, 4, batch.shape[2]).reshape(1, 1, -1, 1)
        return torch.softmax(torch.cat([torch.zeros_like(logit), logit], dim=1), dim=1)


@pytest.fixture(scope="module")
def head() -> Volume:
    return make_volume(PHANTOM)


class TestTinyPackage:
    @pytest.mark.parametrize("orientation", ORIENTATIONS)
    def test_gives_the_same_mask_however_the_head_is_stored(self, head, orientation):
        segmenter = Segmenter(SLICEWISE, {"plane": TorchSession(Plane())})
        expected = segmenter(head).mask
        assert 0.05 < expected.labels.mean() < 0.95
        moves = axis_moves(head.geometry.orientation, orientation)
        stored = Volume(
            np.ascontiguousarray(reorder(head.voxels[np.newaxis], moves)[0]), head.geometry.reoriented(moves)
        )
        mask = segmenter(stored).mask
        assert mask.geometry is stored.geometry
        np.testing.assert_array_equal(mask.labels, reorder(expected.labels[np.newaxis], moves)[0])

    def test_converts_and_runs_through_openvino_as_in_pytorch(self, head, tmp_path):
        spec = replace(SLICEWISE, stages=(replace(SLICEWISE.stages[0], after=(Argmax(), RESTORE)),))
        stage = spec.stages[0]
        save_graph(trace_network(Plane(), stage.network, (16, 64, 52)), tmp_path / graph_path("plane"), spec)
        package = ModelPackage(tmp_path, tiny_manifest(spec))
        wanted = Segmenter(spec, {"plane": TorchSession(Plane())})(head).mask
        got = Segmenter(spec, open_sessions(package, RuntimeOptions(threads=1)))(head).mask
        assert (wanted.labels != got.labels).mean() < 1e-4
        # the middle of a slice is that of a 3 x 3 x 3 convolution of the volume
        assert ndimage.label(got.labels)[1] >= 1
