"""Options of a run on this machine; none changes the meaning of a mask."""

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
        threads: number of inference threads; None for the number that the CPU, its affinity and the cgroup allow.
        streams: number of windows computed at once, at most one per thread; None for a number that measured fast.
            It changes how many threads share a window, and so the last bits of its output.
        cache_folder: folder for compiled graphs between processes; None keeps no graphs.
        cache_is_default: True if nobody named `cache_folder`: a folder that does not work is then no error, and only
            graphs are kept whose input has the same shape for every image.
        resident_graphs: number of compiled graphs that stay in memory. 1 uses the least memory for a single case;
            a batch through a cascade of two graphs needs 2 for speed.
        max_memory_bytes: peak memory of this process; None for all free memory. Streams and resident graphs are
            reduced to fit; a study that cannot fit is refused.
        stage_zero: folder of the stage-0 package; None looks beside the package.
        atlas: file of the atlas that a preparation names; None refuses a study that is to be registered to one.
        as_they_are: True to take images as they are, without the preparation of the package.
        prepared: folder that keeps prepared studies between runs; None keeps none.

    Raises:
        UsageError: a number below 1.
    """

    threads: int | None = None
    streams: int | None = None
    cache_folder: Path | None = None
    cache_is_default: bool = False
    resident_graphs: int = 1
    max_memory_bytes: int | None = None
    stage_zero: Path | None = None
    atlas: Path | None = None
    as_they_are: bool = False
    prepared: Path | None = None

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"expected at least 1 thread, got {self.threads}")
        if self.streams is not None and self.streams < 1:
            raise UsageError(f"expected streams of at least 1, got {self.streams}")
        if self.resident_graphs < 1:
            raise UsageError(f"expected resident_graphs of at least 1, got {self.resident_graphs}")


def parse_size(text: str, name: str) -> int:
    """Return the bytes of a size such as `800M`, `2G`, `1.5GiB` or `2000000000`; K, M, G, T are powers of 1024.

    Args:
        text: the size.
        name: name of the option, for the error.

    Raises:
        UsageError: the text is not a size.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None or float(match[1]) == 0:
        raise UsageError(f"{name}: expected a size such as 800M or 2G, got {text!r}")
    return int(float(match[1]) * 1024 ** " KMGT".index(match[2].upper() or " "))
