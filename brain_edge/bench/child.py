"""Ask a child process: one line of JSON in, the answer out; the child ends when its parent ends."""

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
"""Signals of a crash; any other signal comes from somebody who ends the process."""


class CrashError(BrainEdgeError):
    """A library has crashed instead of raising an error; its input must not be tried again."""


class ChildOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Runtime options that a parent gives to its child; part of a job.

    Attributes:
        threads: number of inference threads.
        stage_zero: folder of the package that runs first.
        atlas: file of the atlas of a preparation.
        prepared: folder of studies that were prepared already.
        as_they_are: True to take images as they are.
        max_memory_bytes: limit of the user, in bytes.
    """

    threads: int | None
    stage_zero: str | None
    atlas: str | None = None
    prepared: str | None = None
    as_they_are: bool = False
    max_memory_bytes: int | None = None

    @classmethod
    def of(cls, options: RuntimeOptions) -> ChildOptions:
        """Return the options of a child (called in the parent)."""
        return cls(
            threads=options.threads,
            stage_zero=_text(options.stage_zero),
            atlas=_text(options.atlas),
            prepared=_text(options.prepared),
            as_they_are=options.as_they_are,
            max_memory_bytes=options.max_memory_bytes,
        )

    def options(self, resident_graphs: int = 1) -> RuntimeOptions:
        """Return the runtime options (called in the child)."""
        return RuntimeOptions(
            threads=self.threads,
            resident_graphs=resident_graphs,
            stage_zero=_path(self.stage_zero),
            atlas=_path(self.atlas),
            prepared=_path(self.prepared),
            as_they_are=self.as_they_are,
            max_memory_bytes=self.max_memory_bytes,
        )


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def ask_child(module: str, job: msgspec.Struct, what: str, environment: Mapping[str, str] | None = None) -> bytes:
    """Run a module as a child process with a job, and return its output.

    Args:
        module: module to run as `python -m`; it reads its job with `job_from_parent`.
        job: job of the child.
        what: name of the job, for the error.
        environment: variables in addition to those of this process.

    Raises:
        CrashError: the child has crashed.
        BrainEdgeError: the child failed in another way; the message has its last line.
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
    """Read the job in the child; from now on this process ends when its parent ends."""
    job = sys.stdin.buffer.readline()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    return job


def _asked(child: subprocess.Popen[bytes], job: bytes) -> bytes:
    """Send the child its job, and return all its output.

    Its stdin stays open meanwhile: a child that reads the end of stdin knows that this process is gone.
    """
    to_child, from_child = cast("IO[bytes]", child.stdin), cast("IO[bytes]", child.stdout)
    try:
        to_child.write(job)
        to_child.flush()
    except BrokenPipeError:
        return b""  # the child has failed already; its exit code and its last line give the reason
    answer = from_child.read()
    to_child.close()
    return answer


def _last_line(errors: IO[bytes]) -> str:
    errors.seek(0)
    return (errors.read().decode(errors="replace").strip().splitlines() or ["no message"])[-1]


def _end_with_parent() -> None:
    """Wait for the end of stdin, which comes early only if the parent was killed; then nobody needs the answer."""
    # not through sys.stdin, whose lock a thread must not hold when the interpreter ends
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(INTERRUPTED)
