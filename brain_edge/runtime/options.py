"""How a package is run on this machine: nothing here changes what a mask means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from brain_edge.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class RuntimeOptions:
    """Options of the runtime.

    Attributes:
        threads: inference threads; None takes what the CPU, its affinity and the cgroup allow.
        cache_folder: where OpenVINO keeps compiled graphs between processes; None keeps none.
        resident_graphs: how many compiled graphs stay in memory. 1 spends the least memory on a single case;
            a batch of cases through a cascade of two wants 2.

    Raises:
        UsageError: a number below 1.
    """

    threads: int | None = None
    cache_folder: Path | None = None
    resident_graphs: int = 1

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"expected at least 1 thread, got {self.threads}")
        if self.resident_graphs < 1:
            raise UsageError(f"expected at least 1 resident graph, got {self.resident_graphs}")
