"""Starts of networks, each a process of its own that is gone when the next one runs: the program `network_start`."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from benchmarks import program
from brain_edge.errors import BrainEdgeError

from .engines import ENGINES
from .sample import RunSample

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LONGEST_REASON: Final = 300


@dataclass(frozen=True, kw_only=True)
class NetworkStart:
    """An engine on a network.

    Attributes:
        name: of the engine.
        subject: of the zoo, or a trained network.
        folder: of its input and graphs.
        target: the file for its answer.
        threads: that it computes with.
        environment: all variables of the cell.
    """

    name: str
    subject: str
    folder: Path
    target: Path
    threads: int
    environment: Mapping[str, str]

    def run(self, passes: int) -> RunSample:
        """Start the process once; its answer lies in the target afterwards.

        Raises:
            BrainEdgeError: it failed; its own words say why.
        """
        options = ["--engine", self.name, "--threads", self.threads, "--passes", passes]
        done = subprocess.run(
            program("network_start", self.subject, self.folder, self.target, *options),
            env=dict(self.environment) | ENGINES[self.name].variables(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise BrainEdgeError(f"exit code {done.returncode}: {last_words(done.stderr)}")
        return msgspec.json.decode(done.stdout, type=RunSample)


def last_words(said: str) -> str:
    """The sentence of a traceback that names the error: PyTorch ends its errors with advice."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    named = [line for line in lines if "Error" in line.partition(":")[0]]
    return (named[-1] if named else lines[-1] if lines else "it said nothing")[:LONGEST_REASON]
