"""Gate between the threads of a batch: the first case runs alone, and then as many at once as memory holds.

OpenVINO's Python binding sets up its numpy tables on first use, behind a C++ lock that it takes while it holds the
Python lock. Two threads that arrive together block each other for ever (seen with OpenVINO 2026.4.1: one thread in
`__cxa_guard_acquire` with the Python lock, the other inside the guard and waiting for the Python lock). So the first
case passes a network before the second case begins.

The first case also shows what a case takes. Cases that do not fit beside each other then wait, because each would be
judged as if it were alone, and the system would kill the process.
"""

from __future__ import annotations

from contextlib import contextmanager
from threading import Condition
from typing import TYPE_CHECKING

from brain_edge.machine.process import free_memory, peak_rss_bytes, rss_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class FirstAlone:
    """Gate that admits one thread until it has passed a network, and then every thread for which there is memory.

    Args:
        limit_bytes: limit of the user, in bytes; None for the memory that is free.
    """

    def __init__(self, limit_bytes: int | None = None) -> None:
        self._limit_bytes = limit_bytes
        self._changed = Condition()
        self._inside = 0
        self._coming = 0
        self._needed_bytes: int | None = None

    @contextmanager
    def turn(self) -> Iterator[Callable[[], None]]:
        """Wait for the turn, and yield a function to call after a pass of the network.

        If the first thread leaves without this call (a refused image, for example), the next thread is the first.
        """
        with self._changed:
            self._changed.wait_for(self._may_enter)
            self._inside, self._coming = self._inside + 1, self._coming + 1
        start, calls = rss_bytes() or 0, 0

        def passed() -> None:
            nonlocal calls
            calls += 1
            if calls == 1:
                self._leave(inside=0, needed_bytes=peak_rss_bytes() - start)

        try:
            yield passed
        finally:
            self._leave(inside=1, coming=0 if calls else 1)

    def _leave(self, *, inside: int, coming: int = 1, needed_bytes: int | None = None) -> None:
        with self._changed:
            self._inside, self._coming = self._inside - inside, self._coming - coming
            if self._needed_bytes is None:
                self._needed_bytes = needed_bytes
            self._changed.notify_all()

    def _may_enter(self) -> bool:
        """Return True if memory holds another case beside those whose network has not run yet."""
        if self._inside == 0 or self._needed_bytes is None:
            return self._inside == 0
        free, held = free_memory(), rss_bytes()
        room = [] if free is None else [free.size_bytes]
        if self._limit_bytes is not None and held is not None:
            room.append(self._limit_bytes - held)
        return min(room, default=self._needed_bytes) >= self._needed_bytes * (self._coming + 1)
