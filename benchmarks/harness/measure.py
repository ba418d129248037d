"""One process, measured from outside (time) and by itself (memory)."""

from __future__ import annotations

import resource
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from brain_edge.errors import BrainEdgeError
from harness.machine import load_average

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

LAST_LINES: Final = 8
"""How much of the stderr of a process that failed is shown."""


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A program that makes a mask, as one command.

    Attributes:
        name: in tables.
        command: the whole process. It prints JSON with its `peak_rss_bytes` (VmHWM) on stdout, and nothing else.
        environment: all of its environment variables.
        mask: the file that it writes.
        precision: in which it computes, in words.
        package_digest: of the package that it runs, None for a published program.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    mask: Path
    precision: str
    package_digest: str | None = None


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One cold process.

    Attributes:
        latency_ms: from its start to its end, as the user waits.
        cpu_ms: user and system time of it and its children, which hardly feels other programs on the machine.
        peak_rss_bytes: greatest resident memory, read by the process itself when it has finished.
        load_average: of the last minute, when it was started.
        elapsed_ms: per stage, where the program says.
    """

    latency_ms: float
    cpu_ms: float
    peak_rss_bytes: int
    load_average: float | None
    elapsed_ms: dict[str, float] = {}


class _Report(msgspec.Struct):
    """What of a contender's stdout is read; `brain-edge run --json` says much more."""

    peak_rss_bytes: int
    elapsed_ms: dict[str, float] = {}


def run(contender: Contender) -> Sample:
    """Run a contender once.

    What the system accounts to a child (`ru_maxrss`) includes what its parent had in memory when it started the
    child, so a small child of a large parent looks large; hence the child's own word.

    Raises:
        BrainEdgeError: it failed, or printed something else than its report.
    """
    load, used = load_average(), _cpu_ms()
    start = time.perf_counter()
    done = subprocess.run(
        contender.command, env=dict(contender.environment), capture_output=True, text=True, check=False
    )
    latency_ms = (time.perf_counter() - start) * 1000
    if done.returncode != 0:
        last = "\n".join(done.stderr.strip().splitlines()[-LAST_LINES:])
        raise BrainEdgeError(f"{contender.name} failed with exit code {done.returncode}:\n{last}")
    report = _report(contender, done.stdout)
    return Sample(
        latency_ms=latency_ms,
        cpu_ms=_cpu_ms() - used,
        peak_rss_bytes=report.peak_rss_bytes,
        load_average=load,
        elapsed_ms=report.elapsed_ms,
    )


def _report(contender: Contender, stdout: str) -> _Report:
    try:
        return msgspec.json.decode(stdout, type=_Report)
    except msgspec.DecodeError as error:
        raise BrainEdgeError(
            f"{contender.name}: expected JSON with peak_rss_bytes on stdout ({error}), got {stdout[:200]!r}"
        ) from error


def _cpu_ms() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (used.ru_utime + used.ru_stime) * 1000
