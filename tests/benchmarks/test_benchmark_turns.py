"""Contenders of a benchmark run in turn: until enough rounds count, and no longer than patience lasts."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from benchmarks.harness.in_turn import Rounds, quiet_turns, time_ratios, timed_calls
from benchmarks.harness.sample import RunSample, median, quiet_rounds

QUIET, BUSY = (RunSample(latency_ms=100.0, others_cpu_ms=took) for took in (0.0, 1e6))


def turns(*taken: RunSample, limit: float | None = 0.1) -> tuple[str, list[list[RunSample]]]:
    """The order in which A and B ran, where A is quiet and B's samples are `taken`, and what they gave."""
    order, samples = [], iter(taken)

    def run(name: str) -> RunSample:
        order.append(name)
        return QUIET if name == "A" else next(samples)

    rounds = Rounds(counting=2, most=2, max_disturbance=limit, patience_s=0.0)
    found = quiet_turns([partial(run, "A"), partial(run, "B")], rounds, lambda _line: None)
    return "".join(order), found


def test_no_round_is_run_after_enough_count_and_all_are_kept():
    order, (first, second) = turns(QUIET, BUSY, QUIET)
    assert order == "ABABAB"
    assert second == [QUIET, BUSY, QUIET]
    assert quiet_rounds([first, second], 0.1, processors=2) == (0, 2)


def test_on_a_busy_machine_patience_ends():
    assert turns(*[BUSY] * 4)[0] == "ABABABAB"


def test_without_a_limit_every_round_counts():
    assert turns(*[BUSY] * 2, limit=None)[0] == "ABAB"


def test_calls_are_timed_in_turn_without_the_warm_up():
    order: list[str] = []
    found = timed_calls({name: partial(order.append, name) for name in "AB"}, rounds=3, warm_up=2)
    assert "".join(order) == "AB" * 5
    assert {name: len(of_one) for name, of_one in found.items()} == {"A": 3, "B": 3}


def test_which_of_two_requests_begins_changes_with_the_round():
    order: list[str] = []

    class Request:
        def __init__(self, name: str) -> None:
            self.name = name

        def infer(self, _given: object, **_options: bool) -> None:
            order.append(self.name)

    assert len(time_ratios(Request("A"), Request("B"), np.zeros(1, np.float32), rounds=3)) == 3
    assert "".join(order) == "ABBAAB"


def test_a_median_is_of_the_samples_that_have_the_figure():
    samples = [RunSample(latency_ms=1.0, cpu_ms=value) for value in (2.0, None, 4.0)]
    assert median(samples, "cpu_ms") == pytest.approx(3.0)
