"""Windows at a fixed stride that keep their core: a plain loop, and MONAI's where the core is everything."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.inferers import sliding_window_inference
from scipy import ndimage
from strategies import shapes, voxels

from brain_edge.engine.inference import predict
from brain_edge.engine.windows import window_weights
from brain_edge.errors import BrainEdgeError
from brain_edge.spec import Network
from brain_edge.spec.windowed import Blending, StridedWindows, strided_starts


def network(execution: StridedWindows, channels: int = 1) -> Network:
    return Network(graphs=("n",), channels_in=channels, channels_out=channels, execution=execution)


def local_mean(batch: np.ndarray) -> np.ndarray:
    """A network with a receptive field of 3 voxels and zeros around."""
    return np.stack([[ndimage.uniform_filter(c, 3, mode="constant") for c in batch[0]]])


@st.composite
def windows(draw) -> StridedWindows:
    core = draw(shapes(1, 6))
    stride = tuple(draw(st.integers(1, side)) for side in core)
    margin = draw(shapes(0, 2))
    shape = tuple(side + 2 * edge for side, edge in zip(core, margin, strict=True))
    return StridedWindows(shape=shape, stride=stride, core=core, blending=draw(st.sampled_from(Blending)))


class TestStarts:
    @given(st.integers(1, 300), st.integers(1, 100), st.integers(1, 100))
    def test_go_by_the_stride_and_end_at_the_border(self, side, window, stride):
        starts = strided_starts(side, window, min(stride, window))
        assert starts[0] == 0
        assert starts[-1] == max(0, side - window)
        assert all(step == min(stride, window) for step in np.diff(starts)[:-1])
        assert (np.diff(starts) <= min(stride, window)).all()

    def test_are_the_windows_that_a_paper_counts(self):
        """MAAB-UNet3D: 72 at a stride of 64 on 240 x 240 x 155; Swin UNETR: 128 at an overlap of 0.7."""
        assert [len(strided_starts(side, 72, 64)) for side in (240, 240, 155)] == [4, 4, 3]
        assert [len(strided_starts(side, 128, 38)) for side in (240, 240, 155)] == [4, 4, 2]


class TestStridedWindows:
    @given(shapes(1, 12), windows(), st.integers(0, 99))
    @settings(max_examples=60)
    def test_identity_gives_back_the_volume(self, shape, execution, seed):
        array = voxels((2, *shape), seed)
        result = predict(network(execution, 2), {"n": lambda batch: batch.copy()}, array)
        np.testing.assert_allclose(result, array, rtol=1e-5)

    @given(shapes(1, 12), windows())
    @settings(max_examples=60)
    def test_a_core_has_seen_a_margin_of_real_voxels_around_it(self, shape, execution):
        """A network that looks one voxel around gives, in cores with a margin of one, what it gives on the whole."""
        array = voxels((1, *shape), 1)
        wide = tuple(side + 2 for side in execution.core)
        roomy = StridedWindows(shape=wide, stride=execution.stride, core=execution.core, blending=execution.blending)
        result = predict(network(roomy), {"n": local_mean}, array)
        np.testing.assert_allclose(result, local_mean(array[np.newaxis])[0], rtol=1e-4, atol=1e-3)

    @pytest.mark.parametrize("blending", Blending)
    def test_is_a_plain_loop(self, blending):
        array = voxels((1, 11, 13, 9), 2)
        execution = StridedWindows(shape=(8, 6, 9), stride=(3, 4, 5), core=(4, 4, 7), blending=blending)
        weights = window_weights((4, 4, 7), blending)
        padded = np.pad(array, [(0, 0), (2, 2), (1, 1), (1, 1)])
        total, counts = np.zeros_like(array), np.zeros(array.shape)
        for i, j, k in itertools.product((0, 3, 6, 7), (0, 4, 8, 9), (0, 2)):
            seen = padded[:, i : i + 8, j : j + 6, k : k + 9]
            place = (slice(None), slice(i, i + 4), slice(j, j + 4), slice(k, k + 7))
            total[place] += local_mean(seen[np.newaxis])[0][:, 2:6, 1:5, 1:8] * weights
            counts[place] += weights
        result = predict(network(execution), {"n": local_mean}, array)
        np.testing.assert_allclose(result, total / counts, rtol=1e-5)

    def test_is_monais_where_the_core_is_the_window(self):
        array = voxels((1, 13, 10, 8), 3)
        theirs = sliding_window_inference(
            torch.from_numpy(array)[None],
            roi_size=(7, 7, 7),
            sw_batch_size=1,
            predictor=lambda batch: torch.from_numpy(local_mean(batch.numpy())),
            overlap=2 / 7,
            mode="constant",
        )
        execution = StridedWindows(shape=(7, 7, 7), stride=(5, 5, 5), core=(7, 7, 7))
        ours = predict(network(execution), {"n": local_mean}, array)
        np.testing.assert_allclose(ours, theirs[0].numpy(), rtol=1e-5)

    def test_another_shape_is_refused(self):
        execution = StridedWindows(shape=(4, 4, 4), stride=(2, 2, 2), core=(2, 2, 2))
        with pytest.raises(BrainEdgeError, match=r"expected 1 x 1 x 4 x 4 x 4 numbers .* got 1 x 1 x 2 x 2 x 2"):
            predict(network(execution), {"n": lambda batch: batch[:, :, ::2, ::2, ::2]}, voxels((1, 4, 4, 4), 0))


class TestWindowsThatCannotBe:
    def test_a_core_off_the_middle_or_beyond_the_window(self):
        for core in (3, 6):
            with pytest.raises(ValueError, match=f"in the middle of the window of 4 voxels, got a core of {core}"):
                StridedWindows(shape=(4, 4, 4), stride=(1, 1, 1), core=(4, 4, core))

    def test_cores_with_gaps_between_them(self):
        with pytest.raises(ValueError, match="a stride of at most the core of 4 voxels, got 5"):
            StridedWindows(shape=(4, 4, 4), stride=(4, 4, 5), core=(4, 4, 4))
