"""How the suite times: always pedantic, with the conditions beside the samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from brain_edge.machine.description import this_machine

from .load import load_average
from .measure import run
from .sample import median

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .measure import Contender
    from .sample import RunSample


@dataclass(frozen=True)
class Timing:
    """Times one thing, and keeps with it what it depends on.

    Attributes:
        benchmark: the fixture of pytest-benchmark, which has no types.
        threads: of what is measured.
    """

    benchmark: Any
    threads: int

    def call(self, function: Callable[[], object], *, rounds: int, **facts: object) -> None:
        """Time a call in this process."""
        self._note(facts)
        self.benchmark.pedantic(function, rounds=rounds, iterations=1)

    def process(self, contender: Contender, *, rounds: int) -> None:
        """Time a whole process; keep also its processor time, peak memory and stages, every sample."""
        samples: list[RunSample] = []
        self._note({"precision": contender.precision, "package_digest": contender.package_digest})
        self.benchmark.pedantic(lambda: samples.append(run(contender)), rounds=rounds, iterations=1)
        self.benchmark.extra_info["samples"] = msgspec.to_builtins(samples)
        self.benchmark.extra_info["peak_rss_bytes"] = median(samples, "peak_rss_bytes")

    def _note(self, facts: Mapping[str, object]) -> None:
        machine = this_machine()
        self.benchmark.extra_info.update(
            threads=self.threads, isa=machine.isa, machine=machine.name, load_average=load_average(), **facts
        )
