"""Shards: each case is in exactly one, whatever else is in the folder."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brain_edge.errors import UsageError
from brain_edge.jobs.batch import Shard
from brain_edge.jobs.batch.shard import parse_shard

CASES = st.sets(st.text(min_size=1), max_size=40)


@given(cases=CASES, count=st.integers(1, 20))
def test_shards_are_disjoint_and_complete(cases, count):
    shards = [Shard(number, count) for number in range(1, count + 1)]
    parts = [{case for case in cases if shard.holds(case)} for shard in shards]
    assert sum(map(len, parts)) == len(cases)
    assert set().union(*parts) == cases


@given(cases=CASES, more=CASES, count=st.integers(1, 20))
def test_a_case_stays_in_its_shard_when_others_come(cases, more, count):
    shard = Shard(1, count)
    assert {case for case in cases if shard.holds(case)} <= {case for case in cases | more if shard.holds(case)}


def test_a_shard_holds_the_same_cases_on_every_machine():
    """By CRC-32 of the name, modulo the number of shards: not by Python's hash, which differs in each process."""
    assert [case for case in ("a", "b", "c", "d", "e", "f") if Shard(1, 2).holds(case)] == ["d", "e", "f"]


def test_shards_of_many_cases_are_of_about_one_size():
    sizes = [sum(Shard(number, 4).holds(f"sub-{case:04}") for case in range(1000)) for number in range(1, 5)]
    assert min(sizes) > 200


@pytest.mark.parametrize("text", ["", "1", "1/", "/2", "1/0", "a/b", "-1/2", "1/2/3", "1.0/2"])
def test_another_spelling_is_refused(text):
    with pytest.raises(UsageError, match=r"expected a shard such as 1/4 \(the first of four\), got"):
        parse_shard(text)


@pytest.mark.parametrize("text", ["0/2", "3/2"])
def test_a_part_that_is_none_is_refused(text):
    with pytest.raises(UsageError, match=f"expected a shard from 1/2 to 2/2, got {text}"):
        parse_shard(text)
    assert str(parse_shard("2/2")) == "2/2"
