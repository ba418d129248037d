"""Shards of equal work, and the line of time over size by which work is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brain_edge.cluster.division import Work, divided, fitted
from brain_edge.errors import UsageError

WORK = st.lists(st.floats(0.1, 100), min_size=1, max_size=40)


@given(WORK, st.data())
def test_shards_differ_by_one_case_at_most(work: list[float], data: st.DataObject):
    count = data.draw(st.integers(1, len(work)))
    places = divided(work, count)
    loads = [
        sum(each for each, place in zip(work, places, strict=True) if place == shard + 1) for shard in range(count)
    ]
    assert set(places) == set(range(1, count + 1))
    assert max(loads) - min(loads) <= max(work) + 1e-9
    assert max(loads) <= sum(work) / count + max(work) + 1e-9


def test_equal_cases_are_spread_evenly():
    assert np.bincount(divided([1.0] * 60, 8))[1:].tolist() == [8, 8, 8, 8, 7, 7, 7, 7]


@pytest.mark.parametrize("count", [0, 3])
def test_there_is_a_case_for_each_shard(count: int):
    with pytest.raises(UsageError, match=rf"expected 1 to 2 shards for 2 case\(s\), got {count}"):
        divided([1.0, 2.0], count)


def test_the_line_is_that_of_numpy():
    samples = [(100, 2.0), (300, 3.1), (700, 4.9)]
    slope, intercept = np.polyfit([size for size, _ in samples], [taken for _, taken in samples], 1)
    found = fitted(samples)
    assert (found.per_byte_s, found.fixed_s) == pytest.approx((slope, intercept))
    assert found.seconds(500) == pytest.approx(intercept + 500 * slope)


@pytest.mark.parametrize(
    ("samples", "work"),
    [
        ([(100, 2.0)], Work(2.0, 0.0)),
        ([(100, 2.0), (200, 1.0)], Work(1.5, 0.0)),
        ([(100, 1.0), (200, 4.0)], Work(0.0, 0.018)),
    ],
)
def test_no_part_of_the_line_is_negative(samples: list[tuple[int, float]], work: Work):
    found = fitted(samples)
    assert (found.fixed_s, found.per_byte_s) == pytest.approx((work.fixed_s, work.per_byte_s))
