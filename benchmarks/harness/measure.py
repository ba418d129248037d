"""One process, measured from outside (time) and by itself (memory)."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from brain_edge.errors import BrainEdgeError

from .load import busy_cpu_ms, load_average
from .sample import RunSample

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

LOOK_S: Final = 1.0
"""How long the machine is watched at a time."""

LAST_LINES: Final = 8
"""How much of the stderr of a process that failed is shown."""
MOST_WORDS: Final = 2000
"""Letters of it, where that is longer."""


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
    precision: str = "f32"
    package_digest: str | None = None


class _Report(msgspec.Struct):
    """What of a contender's stdout is read; `brain-edge run --json` says much more."""

    peak_rss_bytes: int
    elapsed_ms: dict[str, float] = {}


def wait_until_idle(share: float, patience_s: float) -> None:
    """Wait until other programs take at most a share of the machine, but not longer than the patience."""
    processors = os.cpu_count() or 1
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        before = busy_cpu_ms()
        time.sleep(LOOK_S)
        after = busy_cpu_ms()
        if before is None or after is None or after - before <= share * LOOK_S * 1000 * processors:
            return


class OutOfMemoryError(BrainEdgeError):
    """A contender ended for want of memory."""


NO_MEMORY: Final = (
    *("alloc", "memoryerror", "not enough memory", "out of memory", "could not create a memory", "failed to map"),
    *("can't start new thread", "resource temporarily unavailable", "could not create a primitive", "does not fit"),
    "mib of memory, and",
)
"""What programs say that were refused memory, in small letters: Python, NumPy, C++, PyTorch, OpenVINO, oneDNN, the
loader, a thread's stack, and our own refusal before the work."""


def output_of(command: Sequence[str], failed: str, environment: Mapping[str, str] | None = None) -> str:
    """What a program prints.

    Args:
        command: of the whole process.
        failed: what it means that it failed, in words that its own end follow.
        environment: all of its variables; None for those of this process.

    Raises:
        BrainEdgeError: it failed.
    """
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BrainEdgeError(f"{failed}{done.stderr.strip()[-MOST_WORDS:] or 'it said nothing'}")
    return done.stdout


def run(contender: Contender, limit_bytes: int | None = None) -> RunSample:
    """Run a contender once, on request under a limit of its data (RLIMIT_DATA: heap, private mappings, stacks).

    What the system accounts to a child (`ru_maxrss`) includes what its parent had in memory when it started the
    child, so a small child of a large parent looks large; hence the child's own word.

    Raises:
        OutOfMemoryError: it failed under the limit and says, or its signal says, that memory was missing.
        BrainEdgeError: it failed, or printed something else than its report.
    """
    load, used, busy = load_average(), children_cpu_ms(), busy_cpu_ms()
    start = time.perf_counter()
    done = subprocess.run(
        contender.command,
        env=dict(contender.environment),
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=None
        if limit_bytes is None
        else partial(resource.setrlimit, resource.RLIMIT_DATA, (limit_bytes, limit_bytes)),
    )
    latency_ms = (time.perf_counter() - start) * 1000
    cpu_ms, busy_after = children_cpu_ms() - used, busy_cpu_ms()
    if done.returncode != 0:
        last = "\n".join(done.stderr.strip().splitlines()[-LAST_LINES:])
        what = f"{contender.name} failed with exit code {done.returncode}:\n{without_folders(last)}"
        # a signal under a limit is a library that did not look at what it was given
        lacked = done.returncode < 0 or any(words in done.stderr.lower() for words in NO_MEMORY)
        if limit_bytes is not None and lacked:
            raise OutOfMemoryError(what)
        raise BrainEdgeError(what)
    report = _report(contender, done.stdout)
    return RunSample(
        latency_ms=latency_ms,
        cpu_ms=cpu_ms,
        peak_rss_bytes=report.peak_rss_bytes,
        others_cpu_ms=None if busy is None or busy_after is None else max(0.0, busy_after - busy - cpu_ms),
        load_average=load,
        elapsed_ms=report.elapsed_ms,
    )


def without_folders(words: str) -> str:
    """A message with the names of its files alone: it is recorded, and where somebody's files lie is theirs."""
    traced = re.sub(r'File "[^"\n]*[/\\\\]([^"\n]+)"', r'File "\1"', words)
    return re.sub(r"(?<!\S)/(?:[^\s/]+/)+(?=[^\s/])", "", traced)


def _report(contender: Contender, stdout: str) -> _Report:
    try:
        return msgspec.json.decode(stdout, type=_Report)
    except msgspec.DecodeError as error:
        raise BrainEdgeError(
            f"{contender.name}: expected JSON with peak_rss_bytes on stdout ({error}), got {stdout[:200]!r}"
        ) from error


def children_cpu_ms() -> float:
    """User and system time of all processes that this one has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (used.ru_utime + used.ru_stime) * 1000
