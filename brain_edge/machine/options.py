"""How a package is run on this machine: nothing here changes what a mask means."""

from __future__ import annotations

import re
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
        streams: windows of a volume that are computed at the same time, at most one per thread; None takes what was
            measured to be fast. It changes how many threads share a window, and so the last bits of its output.
        cache_folder: where compiled graphs are kept between processes; None keeps none.
        resident_graphs: how many compiled graphs stay in memory. 1 spends the least memory on a single case;
            a batch of cases through a cascade of two wants 2.
        max_memory_bytes: of this process at its peak; None takes what the machine has to give. Streams and resident
            graphs are reduced to fit; a study that cannot fit is refused.
        stage_zero: folder of the package that the package names as its stage 0; None looks beside it.

    Raises:
        UsageError: a number below 1.
    """

    threads: int | None = None
    streams: int | None = None
    cache_folder: Path | None = None
    resident_graphs: int = 1
    max_memory_bytes: int | None = None
    stage_zero: Path | None = None

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"expected at least 1 thread, got {self.threads}")
        if self.streams is not None and self.streams < 1:
            raise UsageError(f"expected at least 1 stream, got {self.streams}")
        if self.resident_graphs < 1:
            raise UsageError(f"expected at least 1 resident graph, got {self.resident_graphs}")


def parse_size(text: str, name: str) -> int:
    """Bytes of a size such as `800M`, `2G`, `1.5GiB` or `2000000000`; K, M, G, T are powers of 1024.

    Args:
        text: the size.
        name: of the option, for the refusal.

    Raises:
        UsageError: it is none.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None or float(match[1]) == 0:
        raise UsageError(f"{name}: expected a size such as 800M or 2G, got {text!r}")
    return int(float(match[1]) * 1024 ** " KMGT".index(match[2].upper() or " "))
