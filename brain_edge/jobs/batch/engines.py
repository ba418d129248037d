"""Engine of a batch by the names that a user types.

The engines lie in `brain_edge.cluster` and are found by name, so that a batch in threads of this process loads none.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Final

from brain_edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from brain_edge.jobs.batch.options import Engine

THREADS: Final = "threads"
AUTO: Final = "auto"
DASK: Final = "dask"
ENGINES: Final = (THREADS, "processes", DASK)


@dataclass(frozen=True)
class EngineChoice:
    """Engine as typed.

    Attributes:
        name: name of the engine; None for threads of this process.
        scheduler: address of a scheduler of Dask.
        workers: number of processes of an engine on this machine.
        is_auto: the fastest way on this machine is measured.
    """

    name: str | None
    scheduler: str | None
    workers: int | None
    is_auto: bool

    def engine(self, tell: Callable[[str], None]) -> Engine | None:
        """Return the engine; None for threads of this process.

        Args:
            tell: function that receives messages for the user.

        Raises:
            UsageError: there is no such engine, or an option has no effect with it.
        """
        self._require_effect()
        name = AUTO if self.is_auto else self.name or THREADS
        if name == THREADS:
            return None
        module = import_module(f"brain_edge.cluster.{name}")
        found: Engine = module.engine(scheduler=self.scheduler, workers=self.workers, tell=tell)
        return found

    def _require_effect(self) -> None:
        name = self.name or THREADS
        if name not in ENGINES:
            raise UsageError(f"expected an engine ({', '.join(ENGINES)}), got {name!r}; correct it")
        if self.is_auto and self.name is not None:
            raise UsageError("--engine has no effect with --at-once auto; remove it")
        if self.scheduler is not None and name != DASK:
            raise UsageError(f"--scheduler has no effect with the engine {name}; remove it, or give --engine dask")
        if self.workers is not None and self.scheduler is not None:
            raise UsageError("--workers has no effect with --scheduler; remove it")
        if self.workers is not None and name == THREADS:
            raise UsageError(f"--workers has no effect with the engine {name}; remove it, or give --engine processes")
