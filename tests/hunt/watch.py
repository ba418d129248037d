"""A worker, watched from outside: what it answers, how long it takes, what it holds, and how it dies."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hunt.judge import ROOT, Kind, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HANG_S: Final = 20.0
"""Longer than this no file may take."""
WARM_UP_S: Final = 180.0
MOST_BYTES: Final = 2 * 2**30
"""Of resident memory beyond that of a warm worker; what a file declares is not added: the valid ones are small."""
TABLE: Final = "hunt.readers"
LOOK_S: Final = 0.1


class Watch:
    """One worker at a time, started again when it has died.

    Args:
        seeds: folder of the valid folders, one of each reader.
        log: file that takes what readers print.
        table: module of the readers.
        hang_s: see `HANG_S`.
        most_bytes: see `MOST_BYTES`.
    """

    def __init__(
        self, seeds: Path, log: Path, table: str = TABLE, *, hang_s: float = HANG_S, most_bytes: int = MOST_BYTES
    ) -> None:
        self._seeds, self._log, self._table = seeds, log, table
        self._hang_s, self._most_bytes = hang_s, most_bytes
        self._worker: _Worker | None = None

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_error: object) -> None:
        self._end()

    def try_mutants(self, reader: str, seed: int, first: int, last: int) -> Iterator[Outcome]:
        """What became of each mutant from `first` to before `last`; faults of valid folders, number -1, before them."""
        number = first
        while number < last:
            for outcome in self._attempt({"reader": reader, "seed": seed, "first": number, "last": last}):
                yield outcome
                if outcome.number == -1:
                    return
                number = outcome.number + 1

    def try_again(self, reader: str, valid: str, folder: Path) -> Outcome:
        """What becomes of a mutant that was kept in a folder."""
        order = {"reader": reader, "first": 0, "last": 1, "folder": str(folder), "valid": valid}
        return next(self._attempt(order))

    def _attempt(self, order: Mapping[str, Any]) -> Iterator[Outcome]:
        """Answers of a worker until it has done all, or has died, which is the last of them."""
        if self._worker is None:
            self._worker = _Worker(self._log)
        worker, number = self._worker, -1
        worker.order({**order, "seeds": str(self._seeds / order["reader"]), "table": self._table})
        start, warm_bytes = order["first"], None
        while number < order["last"]:
            answer = worker.answer(WARM_UP_S if warm_bytes is None else self._hang_s, self._ceiling(warm_bytes))
            if isinstance(answer, str):
                self._end()
                yield Outcome(max(number, -1), Kind.FAULT, answer, worker.last_words())
                return
            if answer.number == -1 and answer.kind is Kind.FAULT:
                yield answer
                self._end()
                return
            if answer.number == -1:
                number, warm_bytes = start, answer.peak_bytes
                continue
            number = answer.number + 1
            yield answer
            if number == order["last"]:
                return

    def _ceiling(self, warm_bytes: int | None) -> int | None:
        return None if warm_bytes is None else warm_bytes + self._most_bytes

    def _end(self) -> None:
        if self._worker is not None:
            self._worker.kill()
        self._worker = None


class _Worker:
    """The process."""

    def __init__(self, log: Path) -> None:
        reading, writing = os.pipe()
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log
        with log.open("wb") as said:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "hunt.worker", str(writing)],
                cwd=log.parent,
                env=environment(),
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=said,
                pass_fds=[writing],
                start_new_session=True,
            )
        os.close(writing)
        self._answers, self._begun = reading, b""

    def order(self, order: Mapping[str, Any]) -> None:
        """Say what is to be read."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()

    def answer(self, most_s: float, ceiling_bytes: int | None) -> Outcome | str:
        """The next answer; or in words why there is none, and the worker must not be asked again."""
        end = time.monotonic() + most_s
        while b"\n" not in self._begun:
            if select.select([self._answers], [], [], LOOK_S)[0]:
                more = os.read(self._answers, 1 << 16)
                if not more:
                    return self._death()
                self._begun += more
            elif time.monotonic() > end:
                return f"hangs for more than {most_s:g} s"
            if ceiling_bytes is not None and self._resident_bytes() > ceiling_bytes:
                return f"holds more than {ceiling_bytes / 2**30:.1f} GiB"
        line, _, self._begun = self._begun.partition(b"\n")
        found = Outcome.of(json.loads(line))
        if ceiling_bytes is not None and found.peak_bytes > ceiling_bytes:
            return f"held {found.peak_bytes / 2**30:.1f} GiB"
        return found

    def last_words(self) -> str:
        """The end of what it has printed."""
        return self._log.read_bytes()[-400:].decode(errors="replace")

    def kill(self) -> None:
        """End it, and all that it has started."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        os.close(self._answers)

    def _death(self) -> str:
        code = self._process.wait()
        return f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"

    def _resident_bytes(self) -> int:
        try:
            pages = Path(f"/proc/{self._process.pid}/statm").read_text("ascii").split()[1]
        except OSError:  # it has just died, which its pipe says
            return 0
        return int(pages) * os.sysconf("SC_PAGE_SIZE")


def environment() -> dict[str, str]:
    """Of a child: our own code, one thread, and no file beside the sources."""
    ours = os.pathsep.join(map(str, (ROOT, ROOT / "conversion", ROOT / "tests")))
    return {**os.environ, "PYTHONPATH": ours, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
