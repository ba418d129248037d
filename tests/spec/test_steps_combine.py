"""What several stages have left, put together: joined, averaged, voted on."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st
from strategies import shapes

from brain_edge.errors import PackageError
from brain_edge.image.geometry import Geometry
from brain_edge.spec.steps import AverageStages, Frame, JoinStages, StapleStages, VoteStages
from brain_edge.spec.steps.known_frame import KnownFrame, MisfitError


def framed(arrays: list[np.ndarray], affine: np.ndarray | None = None) -> Frame:
    """The last array as the stage's own, the others as findings "a", "b", ..."""
    geometry = Geometry(arrays[0].shape[1:], np.eye(4) if affine is None else affine)
    findings = {name: Frame(array, geometry) for name, array in zip("abcdefgh", arrays[:-1], strict=False)}
    return Frame(arrays[-1], geometry, findings=findings)


def probabilities(channels: int, shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((channels, *shape), dtype=np.float32)


def label_maps(count: int, shape: tuple[int, ...], seed: int) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).choice([0, 1, 2, 4], (count, 1, *shape)).astype(np.uint8))


class TestJoin:
    def test_is_in_the_order_named_with_its_own_stage_last(self):
        arrays = [probabilities(channels, (3, 4, 5), channels) for channels in (1, 2, 3)]
        result = JoinStages(stages=("b", "a")).apply(framed(arrays)).voxels
        np.testing.assert_array_equal(result, np.concatenate([arrays[1], arrays[0], arrays[2]]))

    def test_counts_channels_and_keeps_labels_labels(self):
        numbers, labels = KnownFrame(2), KnownFrame(1, frozenset({0, 3}))
        assert JoinStages(stages=("a",)).outcome(KnownFrame(1, findings={"a": numbers})).channels == 3
        before = KnownFrame(1, frozenset({0, 1}), {"a": labels})
        assert JoinStages(stages=("a",)).outcome(before).labels == {0, 1, 3}
        with pytest.raises(MisfitError, match="joins a stage with labels and one without"):
            JoinStages(stages=("a",)).outcome(KnownFrame(1, findings={"a": labels}))


class TestAverage:
    @given(shapes(1, 6), st.integers(1, 4), st.integers(0, 99))
    def test_is_numpys(self, shape, others, seed):
        arrays = [probabilities(3, shape, seed + each) for each in range(others + 1)]
        stages = tuple("abcd"[:others])
        plain = AverageStages(stages=stages).apply(framed(arrays)).voxels
        np.testing.assert_allclose(plain, np.mean(arrays, axis=0), rtol=1e-5)
        weights = tuple(np.random.default_rng(seed).uniform(0.1, 3, others + 1).tolist())
        weighted = AverageStages(stages=stages, weights=weights).apply(framed(arrays)).voxels
        np.testing.assert_allclose(weighted, np.average(arrays, axis=0, weights=weights), rtol=1e-5)
        assert weighted.dtype == np.float32

    def test_weights_are_one_for_each_and_channels_the_same(self):
        with pytest.raises(ValueError, match="expected 2 weights, the last for this stage itself, got 1"):
            AverageStages(stages=("a",), weights=(1.0,))
        step = AverageStages(stages=("a",))
        with pytest.raises(MisfitError, match="averages 2 channels with 3 of stage 'a'"):
            step.outcome(KnownFrame(2, findings={"a": KnownFrame(3)}))
        with pytest.raises(MisfitError, match="averages with stage 'a', but labels have no average; use VoteStages"):
            step.outcome(KnownFrame(1, findings={"a": KnownFrame(1, frozenset({0, 1}))}))


class TestVote:
    @given(shapes(1, 6), st.integers(1, 6), st.permutations([0, 1, 2, 4]), st.integers(0, 99))
    def test_is_a_count_per_voxel_and_ties_go_by_the_order_stated(self, shape, others, order, seed):
        maps = label_maps(others + 1, shape, seed)
        step = VoteStages(stages=tuple("abcdef"[:others]), tie_order=tuple(order))
        result = step.apply(framed(maps)).voxels
        for place in np.ndindex(1, *shape):
            votes = [int(one[place]) for one in maps]
            assert result[place] == max(order, key=lambda label: (votes.count(label), -order.index(label)))

    def test_of_three_planes_that_all_differ_the_lowest_label_wins_unless_stated(self):
        for votes in itertools.permutations([1, 2, 4]):
            maps = [np.full((1, 1, 1, 1), label, dtype=np.uint8) for label in votes]
            assert VoteStages(stages=("a", "b")).apply(framed(maps)).voxels.item() == 1
            assert VoteStages(stages=("a", "b"), tie_order=(4,)).apply(framed(maps)).voxels.item() == 4
            assert VoteStages(stages=("a", "b"), tie_order=(2, 4)).apply(framed(maps)).voxels.item() == 2

    def test_is_simple_itks_where_there_is_a_majority(self):
        maps = label_maps(5, (9, 8, 7), 1)
        theirs = SimpleITK.GetArrayFromImage(
            SimpleITK.LabelVoting([SimpleITK.GetImageFromArray(one[0]) for one in maps], 255)
        )
        ours = VoteStages(stages=tuple("abcd")).apply(framed(maps)).voxels[0]
        assert (theirs != 255).mean() > 0.5
        np.testing.assert_array_equal(ours[theirs != 255], theirs[theirs != 255])


class TestStaple:
    def test_is_that_of_the_maps(self):
        truth = np.zeros((1, 12, 12, 12), dtype=np.uint8)
        truth[0, 2:9, 2:9, 2:9], truth[0, 4:6, 4:6, 4:6] = 2, 4
        random = np.random.default_rng(2)
        maps = [np.where(random.random(truth.shape) < share, 0, truth).astype(np.uint8) for share in (0.05, 0.1, 0.3)]
        theirs = SimpleITK.GetArrayFromImage(
            SimpleITK.MultiLabelSTAPLE([SimpleITK.GetImageFromArray(one[0]) for one in maps], 255)
        )
        ours = StapleStages(stages=("a", "b")).apply(framed(maps)).voxels[0]
        assert (ours != theirs).mean() < 1e-3


@pytest.mark.parametrize("step", [VoteStages(stages=("a",)), StapleStages(stages=("a",))])
def test_votes_are_single_label_maps(step):
    labels = KnownFrame(1, frozenset({0, 1}))
    found = KnownFrame(1, frozenset({0, 2}))
    assert step.outcome(KnownFrame(1, labels.labels, {"a": found})).labels == {0, 1, 2}
    with pytest.raises(MisfitError, match="needs labels for the step"):
        step.outcome(KnownFrame(1, findings={"a": found}))
    with pytest.raises(MisfitError, match="expects one label map from stage 'a', got 2"):
        step.outcome(KnownFrame(1, labels.labels, {"a": KnownFrame(2, frozenset({0, 1}))}))


@pytest.mark.parametrize("kind", [JoinStages, AverageStages, VoteStages, StapleStages])
def test_findings_on_another_grid_are_refused(kind):
    frame = framed(label_maps(2, (3, 4, 5), 0))
    shifted = Geometry((3, 4, 5), np.diag([1.0, 1.0, 2.0, 1.0]))
    moved = Frame(frame.voxels, shifted, findings=frame.findings)
    with pytest.raises(PackageError, match="expected the finding of stage 'a' on the grid of the other stages"):
        kind(stages=("a",)).apply(moved)
