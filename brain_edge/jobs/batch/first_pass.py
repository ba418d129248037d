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
from dataclasses import dataclass
from threading import Condition
from typing import TYPE_CHECKING, TypeVar

from brain_edge.errors import MemoryShortError
from brain_edge.machine.process import free_memory, peak_rss_bytes, rss_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Result = TypeVar("Result")


@dataclass(eq=False)
class _Visit:
    """One thread inside of the gate.

    Attributes:
        shared: True if another thread was inside at the same time.
        alone: True if no other thread may come in.
    """

    shared: bool
    alone: bool


class FirstAlone:
    """Gate that admits one thread until it has passed a network, and then every thread for which there is memory.

    Args:
        limit_bytes: limit of the user, in bytes; None for the memory that is free.
    """

    def __init__(self, limit_bytes: int | None = None) -> None:
        self._limit_bytes = limit_bytes
        self._changed = Condition()
        self._inside: list[_Visit] = []
        self._coming = 0
        self._needed_bytes: int | None = None

    def run(self, case: Callable[[Callable[[], None]], Result]) -> Result:
        """Run a case in its turn, and once more alone if memory was short while others were inside.

        Args:
            case: case, given the function to call after a pass of the network.

        Raises:
            MemoryShortError: memory does not suffice for this case alone.
        """
        visit = _Visit(shared=False, alone=False)
        try:
            with self.turn(visit) as passed:
                return case(passed)
        except MemoryShortError:
            if not visit.shared:
                raise
        with self.turn(_Visit(shared=False, alone=True)) as passed:
            return case(passed)

    @contextmanager
    def turn(self, visit: _Visit | None = None) -> Iterator[Callable[[], None]]:
        """Wait for the turn, and yield a function to call after a pass of the network.

        If the first thread leaves without this call (a refused image, for example), the next thread is the first.

        Args:
            visit: thread that waits.
        """
        mine = visit or _Visit(shared=False, alone=False)
        self._enter(mine)
        start, calls = rss_bytes() or 0, 0

        def passed() -> None:
            nonlocal calls
            calls += 1
            if calls == 1:
                self._change(coming=1, needed_bytes=peak_rss_bytes() - start)

        try:
            yield passed
        finally:
            self._change(coming=0 if calls else 1, leaving=mine)

    def _enter(self, mine: _Visit) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._may_enter(alone=mine.alone))
            for other in self._inside:
                other.shared = mine.shared = True
            self._inside.append(mine)
            self._coming += 1

    def _change(self, *, coming: int, needed_bytes: int | None = None, leaving: _Visit | None = None) -> None:
        with self._changed:
            self._inside = [visit for visit in self._inside if visit is not leaving]
            self._coming -= coming
            if self._needed_bytes is None:
                self._needed_bytes = needed_bytes
            self._changed.notify_all()

    def _may_enter(self, *, alone: bool) -> bool:
        """Return True if memory holds another case beside those whose network has not run yet."""
        if not self._inside:
            return True
        if alone or self._needed_bytes is None or any(visit.alone for visit in self._inside):
            return False
        free, held = free_memory(), rss_bytes()
        room = [] if free is None else [free.size_bytes]
        if self._limit_bytes is not None and held is not None:
            room.append(self._limit_bytes - held)
        return min(room, default=self._needed_bytes) >= self._needed_bytes * (self._coming + 1)
