"""Windows, mirrorings and ensembles: what is put together is what one pass over the whole would be."""

from __future__ import annotations

import itertools

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.inferers import SlidingWindowInferer
from present import present
from scipy import ndimage
from scipy.special import expit, softmax
from strategies import shapes, voxels

from brain_edge.engine.inference import predict
from brain_edge.engine.windows import constant_value, finished_blocks, run_many, window_weights
from brain_edge.errors import BrainEdgeError
from brain_edge.spec import Activation, Blending, Network, SlidingWindow, Starts, WholeVolume
from brain_edge.spec.windowed import window_starts

OVERLAPS = st.floats(0, 0.9)
BLENDED = [blending for blending in Blending if blending is not Blending.LAST]
ALL_MIRRORINGS = tuple(axes for count in range(4) for axes in itertools.combinations(range(3), count))


def network(execution=None, *, channels=1, **parameters) -> Network:
    """A network of one graph "n"."""
    ready = {"graphs": ("n",), "channels_in": channels, "channels_out": channels, **parameters}
    return Network(execution=execution or WholeVolume(), **ready)


def identity(batch: np.ndarray) -> np.ndarray:
    """The network that gives back what it sees."""
    assert batch.flags.c_contiguous
    assert batch.dtype == np.float32
    assert batch.shape[0] == 1
    return batch.copy()


def local_mean(batch: np.ndarray) -> np.ndarray:
    """A network with a receptive field of 3 voxels and zeros around, without a preferred direction."""
    return np.stack([[ndimage.uniform_filter(c, 3, mode="constant") for c in batch[0]]])


class TestStarts:
    @given(st.integers(1, 300), st.integers(1, 100), OVERLAPS)
    def test_windows_cover_the_axis_from_end_to_end_with_the_overlap_asked_for(self, side, window, overlap):
        starts = window_starts(side, window, overlap)
        assert starts[0] == 0
        assert starts[-1] == max(0, side - window)
        assert list(starts) == sorted(set(starts))
        steps = np.diff(starts)
        assert (steps <= max(1, np.ceil(window * (1 - overlap)))).all()
        assert (steps <= window).all()
        assert not steps.size or steps.max() - steps.min() <= 1

    @pytest.mark.parametrize(
        ("side", "window", "expected"),
        [(128, 128, (0,)), (110, 64, (0, 23, 46)), (64, 128, (0,)), (256, 128, (0, 64, 128)), (129, 128, (0, 1))],
    )
    def test_are_those_of_nnu_nets_documentation(self, side, window, expected):
        """`compute_steps_for_sliding_window` gives the example 110, 64, step 0.5 in its own comment."""
        assert window_starts(side, window, 0.5) == expected


class TestWeights:
    @given(shapes(1, 9), st.sampled_from([Blending.CONSTANT, Blending.GAUSSIAN]))
    def test_count_every_voxel_and_are_symmetric(self, shape, blending):
        weights = window_weights(shape, blending)
        assert weights.shape == shape
        assert weights.dtype == np.float32
        assert weights.min() > 0
        assert weights.max() == 1
        np.testing.assert_allclose(weights, weights[::-1, ::-1, ::-1], rtol=1e-6)

    def test_gaussian_falls_as_scipys_filter_of_a_point_does(self):
        """nnU-Net makes its weights by filtering a single voxel, sigma an eighth of the side."""
        point = np.zeros((33, 25, 17))
        point[16, 12, 8] = 1
        theirs = ndimage.gaussian_filter(point, [33 / 8, 25 / 8, 17 / 8], mode="constant", truncate=8)
        ours = window_weights((33, 25, 17), Blending.GAUSSIAN)
        middle = theirs / theirs.max() > 2e-3
        np.testing.assert_allclose(ours[middle], (theirs / theirs.max())[middle], rtol=1e-3)


class TestSlidingWindow:
    @given(shapes(1, 14), shapes(1, 9), OVERLAPS, st.sampled_from(BLENDED), st.integers(0, 99))
    def test_identity_gives_back_the_volume(self, shape, window, overlap, blending, seed):
        array = voxels((2, *shape), seed)
        sliding = network(SlidingWindow(shape=window, overlap=overlap, blending=blending), channels=2)
        np.testing.assert_allclose(predict(sliding, {"n": identity}, array), array, rtol=2e-6)

    @given(shapes(1, 14), shapes(2, 9), OVERLAPS)
    @settings(max_examples=60)
    def test_the_network_sees_every_voxel_and_windows_of_the_shape_only(self, shape, window, overlap):
        seen = []

        def note(batch):
            seen.append(batch)
            return batch.copy()

        index = np.arange(1.0, np.prod(shape) + 1, dtype=np.float32).reshape(1, *shape)
        predict(network(SlidingWindow(shape=window, overlap=overlap)), {"n": note}, index)
        assert {batch.shape for batch in seen} == {(1, 1, *window)}
        assert set(np.concatenate([batch.ravel() for batch in seen])) - {0.0} == set(index.ravel())

    @pytest.mark.parametrize("blending", BLENDED)
    def test_is_a_plain_loop_over_windows(self, blending):
        """A network that sees its neighbours, so that windows disagree where they overlap."""
        array, window = voxels((1, 11, 13, 9), 1), (6, 5, 9)
        weights = window_weights(window, blending)
        total, counts = np.zeros_like(array), np.zeros(array.shape)
        for i, j, k in itertools.product((0, 2, 5), (0, 2, 4, 6, 8), (0,)):
            place = (slice(None), slice(i, i + 6), slice(j, j + 5), slice(k, k + 9))
            total[place] += local_mean(array[place][np.newaxis])[0] * weights
            counts[place] += weights
        sliding = network(SlidingWindow(shape=window, overlap=0.5, blending=blending))
        np.testing.assert_allclose(predict(sliding, {"n": local_mean}, array), total / counts, rtol=1e-5)

    @pytest.mark.parametrize(("side", "overlap"), [(6, 0), (6, 2), (7, 4), (8, 6)])
    def test_unblended_each_voxel_is_of_the_last_window_without_half_the_overlap(self, side, overlap):
        """As TorchIO's `GridSampler` and `GridAggregator` (`crop`): patches in order, each pasted over those before.

        Of sides that are not the border of the image `overlap // 2` voxels are cut.
        """
        array = voxels((1, 11, 13, 8), 1)
        expected = np.zeros_like(array)
        starts = [sorted({*range(0, n - side + 1, side - overlap), n - side}) for n in array.shape[1:]]
        for first in itertools.product(*starts):
            patch = local_mean(array[(slice(None), *(slice(low, low + side) for low in first))][np.newaxis])[0]
            cut = [
                (overlap // 2 * (low > 0), side - overlap // 2 * (low + side < n))
                for low, n in zip(first, array.shape[1:], strict=True)
            ]
            inside = (slice(None), *(slice(*span) for span in cut))
            there = (slice(low + span[0], low + span[1]) for low, span in zip(first, cut, strict=True))
            expected[(slice(None), *there)] = patch[inside]
        execution = SlidingWindow((side,) * 3, overlap / side, Blending.LAST, Starts.FIXED_STEP)
        np.testing.assert_array_equal(predict(network(execution), {"n": local_mean}, array), expected)

    def test_unblended_windows_have_a_fixed_step(self):
        with pytest.raises(ValueError, match="`blending` last needs `starts` fixed_step"):
            SlidingWindow((6, 6, 6), blending=Blending.LAST)

    @pytest.mark.parametrize("blending", [Blending.CONSTANT, Blending.GAUSSIAN])
    def test_is_monais_where_the_windows_fall_on_the_same_voxels(self, blending):
        """Odd windows, which have a middle voxel: in an even one MONAI and nnU-Net take the one after the middle."""
        array = voxels((1, 13, 10, 7), 2)
        theirs = SlidingWindowInferer(roi_size=(7, 7, 7), overlap=0.5, mode=blending.value, sigma_scale=0.125)
        expected = theirs(
            torch.from_numpy(array)[None],
            lambda batch: torch.cat([torch.from_numpy(local_mean(one[None].numpy())) for one in batch]),
        )
        sliding = network(SlidingWindow(shape=(7, 7, 7), overlap=0.5, blending=blending))
        ours = predict(sliding, {"n": local_mean}, array)
        np.testing.assert_allclose(ours, expected[0].numpy(), rtol=2e-3 if blending is Blending.GAUSSIAN else 1e-5)

    def test_a_volume_smaller_than_the_window_is_padded_with_zeros_and_cut_again(self):
        array = voxels((1, 3, 20, 4), 3)
        wide = np.pad(array, [(0, 0), (0, 5), (0, 0), (0, 4)])
        expected = predict(network(SlidingWindow(shape=(8, 8, 8))), {"n": local_mean}, wide)[:, :3, :, :4]
        result = predict(network(SlidingWindow(shape=(8, 8, 8))), {"n": local_mean}, array)
        np.testing.assert_array_equal(result, expected)

    def test_one_window_over_everything_is_the_whole_volume(self):
        array = voxels((1, 6, 7, 8), 4)
        sliding = network(SlidingWindow(shape=(6, 7, 8), blending=Blending.CONSTANT))
        whole = predict(network(), {"n": local_mean}, array)
        np.testing.assert_array_equal(predict(sliding, {"n": local_mean}, array), whole)


class TestMirrorings:
    def test_of_a_network_without_a_direction_change_nothing(self):
        array = voxels((1, 6, 7, 8), 5)
        mirrored = predict(network(flips=ALL_MIRRORINGS), {"n": local_mean}, array)
        np.testing.assert_allclose(mirrored, predict(network(), {"n": local_mean}, array), rtol=1e-5)

    def test_turn_the_input_and_turn_the_output_back(self):
        """A network that shifts by a voxel along I shifts the other way in the mirror."""
        array = voxels((1, 6, 7, 8), 6)
        result = predict(network(flips=((), (0,))), {"n": lambda batch: np.roll(batch, 1, axis=2)}, array)
        np.testing.assert_allclose(result, (np.roll(array, 1, axis=1) + np.roll(array, -1, axis=1)) / 2, rtol=1e-6)

    def test_axes_are_those_of_the_input_without_channels(self):
        array = voxels((2, 3, 4, 5), 7)
        ramp = np.arange(5, dtype=np.float32)
        result = predict(network(channels=2, flips=((2,),)), {"n": lambda batch: batch * ramp}, array)
        np.testing.assert_allclose(result, array * ramp[::-1], rtol=1e-6)


class TestEnsembles:
    def test_are_the_mean_of_their_members(self):
        array = voxels((1, 4, 5, 6), 8)
        members = {
            "a": lambda batch: batch * np.float32(1),
            "b": lambda batch: batch * np.float32(2),
            "c": lambda batch: batch * np.float32(6),
        }
        result = predict(network(graphs=("a", "b", "c")), members, array)
        np.testing.assert_allclose(result, 3 * array, rtol=1e-6)

    def test_the_mean_is_of_probabilities_not_of_logits(self):
        array = np.zeros((1, 2, 2, 2), dtype=np.float32)
        members = {"a": lambda batch: batch + np.float32(8), "b": lambda batch: batch - np.float32(2)}
        result = predict(network(graphs=("a", "b"), activation=Activation.SIGMOID), members, array)
        np.testing.assert_allclose(result, (expit(8) + expit(-2)) / 2, rtol=1e-6)

    @pytest.mark.parametrize("flips", [((), (0,), (1, 2)), ALL_MIRRORINGS])
    def test_a_session_may_lend_the_same_array_again_and_again(self, flips):
        """OpenVINO writes every output into the same memory."""
        array, memory = voxels((1, 4, 5, 6), 12), np.empty((1, 1, 4, 5, 6), dtype=np.float32)

        def lend(batch):
            memory[:] = np.roll(batch, 1, axis=3)
            return memory

        expected = predict(network(flips=flips), {"n": lambda batch: np.roll(batch, 1, axis=3)}, array)
        np.testing.assert_array_equal(predict(network(flips=flips), {"n": lend}, array), expected)

    def test_tick_once_for_each_pass(self):
        ticks = []
        ensemble = network(graphs=("a", "b"), flips=ALL_MIRRORINGS)
        sessions = {"a": identity, "b": identity}
        predict(ensemble, sessions, voxels((1, 3, 3, 3), 9), lambda: ticks.append(1))
        assert len(ticks) == ensemble.passes == 16


class TestActivation:
    @pytest.mark.parametrize(
        ("activation", "expected"),
        [
            (Activation.NONE, lambda array: array),
            (Activation.SOFTMAX, lambda array: softmax(array.astype(np.float64), axis=0)),
            (Activation.SIGMOID, lambda array: expit(array.astype(np.float64))),
        ],
    )
    def test_is_scipys(self, activation, expected):
        array = (voxels((3, 4, 5, 6), 10) / 20 - 5).astype(np.float32)
        result = predict(network(channels=3, activation=activation), {"n": identity}, array)
        assert result.dtype == np.float32
        np.testing.assert_allclose(result, expected(array), rtol=1e-5)


class TestNetworksThatDoNotKeepTheirWord:
    @pytest.mark.parametrize("execution", [WholeVolume(), SlidingWindow(shape=(4, 4, 4))])
    def test_another_shape_is_refused(self, execution):
        """Half the sides would be resampled back over the head without a word, half a voxel off."""
        with pytest.raises(BrainEdgeError, match=r"expected 1 x 1 x 4 x 4 x 4 numbers .* got 1 x 1 x 2 x 2 x 2"):
            predict(network(execution), {"n": lambda batch: batch[:, :, ::2, ::2, ::2]}, voxels((1, 4, 4, 4), 0))

    def test_another_number_of_channels_is_refused(self):
        with pytest.raises(BrainEdgeError, match="correct the channels in the specification, or pad"):
            predict(network(), {"n": lambda batch: np.concatenate([batch, batch], axis=1)}, voxels((1, 4, 4, 4), 0))

    @pytest.mark.parametrize("execution", [WholeVolume(), SlidingWindow(shape=(2, 2, 2))])
    def test_nan_is_refused(self, execution):
        def broken(batch):
            output = batch.copy()
            output[0, 0, -1, 0, 1] = np.nan
            return output

        with pytest.raises(BrainEdgeError, match=r"the network computed NaN \(not a number\); no mask can be made"):
            predict(network(execution), {"n": broken}, voxels((1, 4, 4, 4), 0))


@pytest.mark.parametrize("flips", [((),), ((0,),), ALL_MIRRORINGS])
def test_the_input_is_not_changed(flips):
    array = voxels((1, 4, 5, 6), 11)
    array.setflags(write=False)
    kept = array.copy()
    for execution in (WholeVolume(), SlidingWindow(shape=(3, 3, 3))):
        predict(msgspec.structs.replace(network(execution), flips=flips), {"n": identity}, array)
    np.testing.assert_array_equal(array, kept)


class TestFinishedBlocks:
    """Sums in cells are the plain sums, and a cell leaves as soon as nothing reaches it any more."""

    @given(shapes(1, 14), shapes(1, 9), OVERLAPS, st.sampled_from(BLENDED), st.integers(0, 99))
    def test_are_the_plain_sums_to_the_bit(self, sides, window, overlap, blending, seed):
        """The plain way: all windows, in their order, into two arrays as large as the padded volume."""
        tiling = SlidingWindow(shape=window, overlap=overlap, blending=blending).tiling(sides)
        outputs = [voxels((2, *window), seed + number) for number in range(len(list(tiling.places())))]
        weights = window_weights(window, blending)
        large = tuple(max(pair) for pair in zip(sides, window, strict=True))
        total, counts = np.zeros((2, *large), np.float32), np.zeros(large, np.float32)
        for place, output in zip(tiling.places(), outputs, strict=True):
            total[(slice(None), *place)] += output * weights
            counts[place] += weights
        expected = (total / counts)[:, : sides[0], : sides[1], : sides[2]]
        result = np.full((2, *sides), np.nan, np.float32)
        for place, block in finished_blocks(tiling, blending, outputs):
            here = result[(slice(None), *place)]
            assert np.isnan(here).all(), "each voxel is finished once"
            here[:] = block
        np.testing.assert_array_equal(result, expected)

    @given(shapes(1, 20), shapes(1, 9), OVERLAPS)
    def test_live_together_as_long_as_predicted(self, sides, window, overlap):
        tiling = SlidingWindow(shape=window, overlap=overlap).tiling(sides)
        started, finished, most = set(), 0, 0
        left = dict(tiling.visits)
        size = {cell: np.prod([span.stop - span.start for span in tiling.cell_place(cell)]) for cell in left}
        assert sum(size.values()) == np.prod(sides), "the cells are the volume"
        for place in tiling.places():
            for cell in tiling.cells(place):
                started.add(cell)
                most = max(most, sum(size[each] for each in started) - finished)
                left[cell] -= 1
                finished += size[cell] if left[cell] == 0 else 0
        assert not any(left.values())
        assert tiling.peak_cell_voxels() == most

    def test_of_a_long_volume_are_a_small_part_of_it(self):
        tiling = SlidingWindow(shape=(64, 64, 64)).tiling((512, 512, 400))
        assert tiling.order[0] in (0, 1), "rows follow each other along a long axis"
        assert tiling.peak_cell_voxels() < 0.08 * 512 * 512 * 400


class TestConstantWindows:
    @staticmethod
    def counted(calls):
        def session(batch):
            calls.append(batch)
            return batch * 2 + 1

        return session

    def test_of_the_background_are_computed_once(self):
        array = np.zeros((1, 40, 8, 8), np.float32)
        array[0, 15:20] = voxels((5, 8, 8), 1)
        sliding = network(SlidingWindow(shape=(8, 8, 8)))
        calls: list[np.ndarray] = []
        result = predict(sliding, {"n": self.counted(calls)}, array)
        np.testing.assert_allclose(result, array * 2 + 1, rtol=1e-6)
        assert len(calls) < len(list(present(sliding.execution.tiling((40, 8, 8))).places()))
        assert sum(not batch.any() for batch in calls) == 1

    def test_with_one_other_voxel_are_not(self):
        batch = np.zeros((1, 2, 4, 4, 4), np.float32)
        assert constant_value(batch) is not None
        batch[0, 1, 2, 2, 2] = 1e-30
        assert constant_value(batch) is None

    def test_negative_zero_is_another_value(self):
        batch = np.zeros((1, 1, 4, 4, 4), np.float32)
        batch[0, 0, 1, 1, 1] = -0.0
        assert constant_value(batch) is None

    @given(st.lists(st.sampled_from([0.0, 1.0, None]), max_size=12), st.integers(1, 4), st.booleans())
    def test_come_in_their_place_whatever_runs_ahead(self, kinds, ahead, streaming):
        """A session that takes inputs ahead, as OpenVINO's does, and lends the same memory each time."""
        batches = [
            np.full((1, 1, 2, 2, 2), kind, np.float32) if kind is not None else voxels((1, 1, 2, 2, 2), number)
            for number, kind in enumerate(kinds)
        ]

        class Session:
            def __call__(self, batch):
                return batch * 2

            def run_many(self, inputs):
                waiting, lent = [], np.empty((1, 1, 2, 2, 2), np.float32)
                for batch in inputs:
                    waiting.append(batch)
                    if len(waiting) > ahead:
                        lent[:] = waiting.pop(0) * 2
                        yield lent
                for batch in waiting:
                    lent[:] = batch * 2
                    yield lent

        session = Session() if streaming else Session().__call__
        outputs = [output.copy() for output in run_many(session, batches)]
        assert len(outputs) == len(batches)
        for output, batch in zip(outputs, batches, strict=True):
            np.testing.assert_array_equal(output, batch * 2)
