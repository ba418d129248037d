"""The first pass of a network in a process, alone.

OpenVINO's Python binding sets up its tables for numpy at their first use, behind a C++ lock that it takes while it
holds Python's. Two threads that come there together wait for each other for ever (seen with OpenVINO 2026.4.1: one in
`__cxa_guard_acquire` with Python's lock, the other inside the guard and waiting for Python's). So one case has
passed a network before a second one begins.
"""

from __future__ import annotations

from contextlib import contextmanager
from threading import Event, Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class FirstAlone:
    """Lets one thread through until it has passed, and then everybody."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._over = Event()

    @contextmanager
    def turn(self) -> Iterator[Callable[[], None]]:
        """Wait for the turn; what is yielded is to be called when the network was passed.

        Where a thread leaves without that, because its image is refused for instance, the next one is the first.
        """
        if self._over.is_set():
            yield _nothing
            return
        self._lock.acquire()
        holds = [True]

        def passed() -> None:
            self._over.set()
            release()

        def release() -> None:
            if holds:
                holds.clear()
                self._lock.release()

        try:
            if self._over.is_set():
                release()
            yield passed
        finally:
            release()


def _nothing() -> None:
    pass
