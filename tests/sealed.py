"""Child processes without a route to anywhere, with an empty home folder and every network call on record."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SILENCING = ("CI", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")
"""`CI` silences OpenVINO's telemetry, and what this process may have set onnxruntime's, so that a test would prove
nothing; the others lead out of the home folder."""

INTERNET = re.compile(
    r"^\d+ +(?!socket\()(?!bind\(.*\bhtons\(0\).*(?:\"::1\"|\"127\.0\.0\.1\"))(\w+)\(.*\bAF_INET6?\b.*$", re.MULTILINE
)
"""A call of strace's record that names an internet address.

A socket alone reaches nobody. `urllib3`, which pydicom imports where it is installed, binds one to no port of loopback
to learn whether this machine has IPv6.
"""

WITHOUT_ROUTES = ("unshare", "--net", "--")
"""A network of its own with one interface, loopback, which is down: nothing can be reached, not even this machine."""


@dataclass(frozen=True)
class Heard:
    """What a sealed process did.

    Attributes:
        code, out, err: how it ended.
        internet: calls about internet addresses, as strace writes them.
        home: what it left in its home folder.
    """

    code: int
    out: str
    err: str
    internet: tuple[str, ...]
    home: tuple[str, ...]


def require_namespaces() -> None:
    """Skip where no network without routes can be made."""
    reason = _why_no_namespaces()
    if reason:
        pytest.skip(f"cannot make a network without routes here: {reason}")


def require_strace() -> None:
    """Skip where system calls cannot be recorded."""
    reason = _why_no_strace()
    if reason:
        pytest.skip(f"needs strace (Debian package strace): {reason}")


@cache
def _why_no_namespaces() -> str:
    return _failure([*WITHOUT_ROUTES, "true"])


@cache
def _why_no_strace() -> str:
    return _failure(["strace", "-o", os.devnull, "true"])


def _failure(command: Sequence[str]) -> str:
    if shutil.which(command[0]) is None:
        return f"there is no {command[0]}"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stderr.strip() if done.returncode else ""


def sealed_environment(home: Path, **variables: str) -> dict[str, str]:
    """The environment of a process that is to behave as on a workstation, with an own home folder."""
    kept = {name: value for name, value in os.environ.items() if name not in SILENCING}
    return kept | {"HOME": str(home), "USERPROFILE": str(home), "OMP_NUM_THREADS": "1"} | variables


def listen(command: Sequence[object], place: Path, **variables: str) -> Heard:
    """Run a command without routes and with every network call recorded, and tell what it did.

    Args:
        command: program and arguments.
        place: an empty folder of this test, for the record and the home folder.
        variables: of the environment, beside those that are there.
    """
    require_namespaces()
    require_strace()
    home, record = place / "home", place / "network.strace"
    home.mkdir()
    # %network: socket, connect, sendto and all that is like them; -f: of every thread and child, too
    recorded = ["strace", "-f", "-qq", "-e", "trace=%network", "-o", record]
    done = subprocess.run(
        [*WITHOUT_ROUTES, *map(str, [*recorded, *command])],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=sealed_environment(home, **variables),
        check=False,
        timeout=500,
    )
    internet = tuple(found.group() for found in INTERNET.finditer(record.read_text(encoding="utf-8", errors="replace")))
    left = tuple(path.relative_to(home).as_posix() for path in sorted(home.rglob("*")))
    return Heard(done.returncode, done.stdout, done.stderr, internet, left)
