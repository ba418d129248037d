"""Networks that wait in processes of their own, so that engines are measured in turn: the program `network_server`."""

from __future__ import annotations

import subprocess
import tempfile
from typing import TYPE_CHECKING, Final

import msgspec

from benchmarks import program
from brain_edge.errors import BrainEdgeError

from .load import busy_cpu_ms, load_average
from .sample import RunSample

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LONGEST_REASON: Final = 300


class Server:
    """A network that waits in a process of its own.

    Args:
        name: of the engine.
        network: of the zoo.
        source, target: its input, and the file for its answer.
        graphs: folder of the network's graphs.
        threads: that it computes with.
        environment: all of its environment variables.
    """

    def __init__(
        self,
        name: str,
        network: str,
        source: Path,
        target: Path,
        *,
        graphs: Path | None,
        threads: int,
        environment: Mapping[str, str],
    ) -> None:
        self.name = name
        self.target = target
        options = ["--engine", name, "--threads", threads, *(["--graphs", graphs] if graphs else [])]
        # what it says is read only where it has failed, and a pipe that nobody reads would stop it
        self._said = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            program("network_server", network, source, target, *options),
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
        )

    def __enter__(self) -> Server:
        """Wait until the network is warm, so that no two of them start at the same time.

        Raises:
            BrainEdgeError: the process has ended instead.
        """
        try:
            self._read()
        except BaseException:
            self._process.kill()
            self._process.communicate()
            self._said.close()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        self._process.communicate()
        self._said.close()

    def run(self) -> RunSample:
        """Run the network once.

        Raises:
            BrainEdgeError: the process has ended.
        """
        load, busy = load_average(), busy_cpu_ms()
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        seen = msgspec.json.decode(self._read())
        after = busy_cpu_ms()
        others = None if busy is None or after is None else max(0.0, after - busy - seen["cpu_ms"])
        return RunSample(**seen, load_average=load, others_cpu_ms=others)

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            raise BrainEdgeError(f"{self.name} ended with exit code {code}: {self._last_words()}")
        return line

    def _last_words(self) -> str:
        self._said.seek(0)
        lines = [line.strip() for line in self._said if line.strip()]
        # PyTorch ends its errors with advice; the sentence that names the error stands before it
        named = [line for line in lines if "Error" in line.partition(":")[0]]
        return (named[-1] if named else lines[-1] if lines else "it said nothing")[:LONGEST_REASON]
