"""Run pip in a separate process, the only way in which brain_edge downloads anything."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_LAST_LINES: Final = 8


def run_pip(*arguments: str, python: str | Path = sys.executable, **variables: str) -> str | None:
    """Run pip; return None on success, else the last lines of its output.

    Args:
        arguments: arguments of pip.
        python: Python whose pip runs.
        variables: environment variables, in addition to those of this process.
    """
    # -P: a pip.py in the working folder must not run as pip
    done = subprocess.run(
        [str(python), "-P", "-m", "pip", "--no-input", *arguments],
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, **variables},
    )
    if done.returncode == 0:
        return None
    lines = [f"  {line.strip()}" for line in done.stdout.splitlines() if line.strip()]
    return "\n".join(lines[-_LAST_LINES:])
