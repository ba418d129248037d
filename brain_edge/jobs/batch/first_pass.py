"""Let the first pass of a network in a process run alone.

OpenVINO's Python binding sets up its numpy tables on first use, behind a C++ lock that it takes while it holds the
Python lock. Two threads that arrive together block each other for ever (seen with OpenVINO 2026.4.1: one thread in
`__cxa_guard_acquire` with the Python lock, the other inside the guard and waiting for the Python lock). So the first
case passes a network before the second case begins.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from threading import Event, Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class FirstAlone:
    """Gate that admits one thread until it has passed a network, and then every thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._over = Event()

    @contextmanager
    def turn(self) -> Iterator[Callable[[], None]]:
        """Wait for the turn, and yield a function to call after the pass of the network.

        If a thread leaves without this call (a refused image, for example), the next thread is the first.
        """
        with ExitStack() as held:
            if not self._over.is_set():
                held.enter_context(self._lock)
            if self._over.is_set():  # before or during the wait
                held.close()

            def passed() -> None:
                self._over.set()
                held.close()

            yield passed
