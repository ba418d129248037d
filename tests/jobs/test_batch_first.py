"""One case passes a network before a second one begins; afterwards nobody waits."""

from __future__ import annotations

import threading

import pytest

from brain_edge.jobs.batch.first_pass import FirstAlone


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
