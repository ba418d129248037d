"""One case passes a network before a second one begins; afterwards nobody waits."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from brain_edge.errors import MemoryShortError
from brain_edge.jobs.batch.first_pass import FirstAlone

if TYPE_CHECKING:
    from collections.abc import Callable


def test_the_second_begins_when_the_first_has_passed():
    first, order, inside = FirstAlone(), [], threading.Event()

    def second() -> None:
        inside.wait(timeout=30)
        with first.turn():
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with first.turn() as passed:
        inside.set()
        thread.join(timeout=0.2)
        assert thread.is_alive()
        order.append("first")
        passed()
        thread.join(timeout=30)
        assert order == ["first", "second"]


def test_where_the_first_fails_the_next_one_is_the_first():
    first = FirstAlone()
    with pytest.raises(ValueError, match="refused"), first.turn():
        raise ValueError("refused")
    with first.turn() as passed:
        passed()
        passed()
        with first.turn():
            pass


def test_a_case_that_memory_refuses_beside_another_is_run_again_alone():
    first, order, refused = FirstAlone(), [], threading.Event()

    def second(passed: Callable[[], None]) -> str:
        order.append("second")
        if not refused.is_set():
            refused.set()
            raise MemoryShortError("beside the first")
        passed()
        return "mask"

    results: list[str] = []
    thread = threading.Thread(target=lambda: results.append(first.run(second)))
    with first.turn() as passed:
        passed()
        thread.start()
        assert refused.wait(timeout=30)
        thread.join(timeout=0.2)
        assert thread.is_alive()
        order.append("first ends")
    thread.join(timeout=30)
    assert (results, order) == (["mask"], ["second", "first ends", "second"])


def test_a_case_that_memory_refuses_alone_is_refused_at_once():
    tried = []

    def case(_passed: Callable[[], None]) -> None:
        tried.append("once")
        raise MemoryShortError("too large")

    with pytest.raises(MemoryShortError, match="too large"):
        FirstAlone().run(case)
    assert tried == ["once"]
