"""A question to a child process: one line of JSON in, the answer out, and the child ends when its parent does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, cast

import msgspec

from brain_edge.errors import BrainEdgeError
from brain_edge.machine.options import RuntimeOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

INTERRUPTED: Final = 130


CRASHES: Final = frozenset({signal.SIGSEGV, signal.SIGABRT, signal.SIGILL, signal.SIGFPE})
"""Signals that a process sends itself; others are sent by somebody who wants its end."""


class CrashError(BrainEdgeError):
    """A library has failed in a way that is none of its errors; what it was given is not to be tried again."""


class ChildOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a child needs of the runtime options of its parent; part of a job.

    Attributes:
        threads: inference threads.
        stage_zero: folder of the package that runs first.
    """

    threads: int | None
    stage_zero: str | None

    @classmethod
    def of(cls, options: RuntimeOptions) -> ChildOptions:
        """In the parent."""
        return cls(threads=options.threads, stage_zero=None if options.stage_zero is None else str(options.stage_zero))

    def options(self, resident_graphs: int = 1) -> RuntimeOptions:
        """In the child."""
        zero = None if self.stage_zero is None else Path(self.stage_zero)
        return RuntimeOptions(threads=self.threads, resident_graphs=resident_graphs, stage_zero=zero)


def ask_child(module: str, job: msgspec.Struct, what: str, environment: Mapping[str, str] | None = None) -> bytes:
    """Run a module as a child process with a job; all that it says.

    Args:
        module: run as `python -m`; it reads its job with `job_from_parent`.
        job: what it is to do.
        what: it does, for the error.
        environment: variables beyond those of this process.

    Raises:
        CrashError: the child has crashed.
        BrainEdgeError: it failed in another way; carries its last line.
    """
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, **(environment or {})},
        ) as child,
    ):
        answer, _ = _asked(child, msgspec.json.encode(job) + b"\n"), child.wait()
        if child.returncode != 0:
            kind = CrashError if -child.returncode in CRASHES else BrainEdgeError
            raise kind(f"{what} failed (exit {child.returncode}): {_last_line(errors)}")
    return answer


def job_from_parent() -> bytes:
    """In the child: the job; from now on this process ends when its parent does."""
    job = sys.stdin.buffer.readline()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    return job


def _asked(child: subprocess.Popen[bytes], job: bytes) -> bytes:
    """Give the child its job and wait for all that it says.

    Its stdin stays open meanwhile: a child that reads its end knows that this process is gone.
    """
    to_child, from_child = cast("IO[bytes]", child.stdin), cast("IO[bytes]", child.stdout)
    try:
        to_child.write(job)
        to_child.flush()
    except BrokenPipeError:
        return b""  # it has failed already; its exit code and its last line say why
    answer = from_child.read()
    to_child.close()
    return answer


def _last_line(errors: IO[bytes]) -> str:
    errors.seek(0)
    return (errors.read().decode(errors="replace").strip().splitlines() or ["it does not say why"])[-1]


def _end_with_parent() -> None:
    """Wait for the end of stdin, which comes early only if the parent was killed; nobody wants the answer then."""
    # not through sys.stdin, whose lock a thread must not hold when the interpreter ends
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(INTERRUPTED)
