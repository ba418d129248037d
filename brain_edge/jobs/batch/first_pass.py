"""The first pass of a network in a process, alone.

OpenVINO's Python binding sets up its tables for numpy at their first use, behind a C++ lock that it takes while it
holds Python's. Two threads that come there together wait for each other for ever (seen with OpenVINO 2026.4.1: one in
`__cxa_guard_acquire` with Python's lock, the other inside the guard and waiting for Python's). So one case has
passed a network before a second one begins.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
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
        with ExitStack() as held:
            if not self._over.is_set():
                held.enter_context(self._lock)
            if self._over.is_set():  # before, or while this one has waited
                held.close()

            def passed() -> None:
                self._over.set()
                held.close()

            yield passed
