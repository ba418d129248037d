"""`run` where something is short: memory, disk, open files, processes, streams; one sentence, or the right mask."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Final

from hunt.commands import OUT, RUN, differences, leftovers, start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from hunt.kill import Undisturbed

MIB: Final = 2**20
NOBODY: Final = 65534
CODES: Final = (1, 3, 6)
"""A failure, a refused input (one that cannot be opened), a batch."""


class NotTriedError(Exception):
    """This machine cannot be made short of it."""


@dataclass(frozen=True, kw_only=True)
class Shortage:
    """Something that is missing.

    Attributes:
        least, most: between which the amount is drawn.
        unit: of the amount, in words.
        before: called in the child before it becomes the program, with the amount.
        disk: makes the disk that results go to, with the amount.
        by: what the program is started by.
        silent: stderr is closed, and nothing can be said.
    """

    least: int
    most: int
    unit: str
    before: Callable[[int], None] = lambda _amount: None
    disk: Callable[[Path, int], AbstractContextManager[None]] = lambda _folder, _amount: nullcontext()
    by: Callable[[], tuple[str, ...]] = tuple
    silent: bool = False


def _limit(name: int, scale: int = 1) -> Callable[[int], None]:
    def before(amount: int) -> None:
        resource.setrlimit(name, (amount * scale, amount * scale))

    return before


def _as_nobody() -> tuple[str, ...]:
    """What starts a command as a user who may have few processes, as root may have any, and still reads all files.

    Raises:
        NotTriedError: we are root, and have nothing to become another user with.
    """
    if os.geteuid():
        return ()
    if (setpriv := shutil.which("setpriv")) is None:
        raise NotTriedError("setpriv of util-linux is not installed")
    kept = "+dac_override,+dac_read_search"
    ids = (f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    return (setpriv, *ids, f"--inh-caps={kept}", f"--ambient-caps={kept}", "--")


def _closed(*streams: int) -> Callable[[int], None]:
    def before(_amount: int) -> None:
        for stream in streams:
            os.close(stream)

    return before


@contextmanager
def _small_disk(folder: Path, kib: int) -> Iterator[None]:
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kib}k,mode=777", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        raise NotTriedError("no disk can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


SHORTAGES: Final[Mapping[str, Shortage]] = {
    "addresses": Shortage(least=700, most=3000, unit="MiB", before=_limit(resource.RLIMIT_AS, MIB)),
    "data": Shortage(least=150, most=2000, unit="MiB", before=_limit(resource.RLIMIT_DATA, MIB)),
    "file-size": Shortage(least=0, most=8, unit="KiB", before=_limit(resource.RLIMIT_FSIZE, 1024)),
    "open-files": Shortage(least=8, most=40, unit="files", before=_limit(resource.RLIMIT_NOFILE)),
    "processes": Shortage(least=1, most=8, unit="processes", before=_limit(resource.RLIMIT_NPROC), by=_as_nobody),
    "disk": Shortage(least=4, most=32, unit="KiB", disk=_small_disk),
    "stdin": Shortage(least=0, most=0, unit="streams", before=_closed(0)),
    "stdout": Shortage(least=0, most=0, unit="streams", before=_closed(1)),
    "stderr": Shortage(least=0, most=0, unit="streams", before=_closed(2), silent=True),
    "all-streams": Shortage(least=0, most=0, unit="streams", before=_closed(0, 1, 2), silent=True),
}


def starve_once(name: str, whole: Undisturbed, place: Path, seed: int, trial: int) -> list[str]:
    """Run where an amount that the seed decides is all that there is; what is wrong, in words.

    Raises:
        NotTriedError: this machine cannot be made short of it.
    """
    shortage = SHORTAGES[name]
    amount = Random(f"{name}-{seed}-{trial}").randint(shortage.least, shortage.most)  # noqa: S311 - no secret
    shutil.copytree(whole.given, place)
    with shortage.disk(place / OUT, amount):
        wrong = list(_wrong(shortage, amount, whole, place))
    return [f"{name}, {amount} {shortage.unit}: {each}" for each in wrong]


def _wrong(shortage: Shortage, amount: int, whole: Undisturbed, place: Path) -> Iterator[str]:
    with start(RUN, place, by=shortage.by(), preexec_fn=lambda: shortage.before(amount)) as run:
        _, said = run.communicate(timeout=120)
    yield from _ended(run, said.decode(errors="replace"), silent=shortage.silent)
    mask = {"mask.nii.gz": whole.right["mask.nii.gz"]}
    found = {path.name: path.read_bytes() for path in (place / OUT).iterdir() if not path.name.startswith(".")}
    yield from differences(found, mask, whole=run.returncode == 0)
    yield from (f"{left} is left" for left in leftovers(place))


def _ended(run: subprocess.Popen[bytes], said: str, *, silent: bool) -> Iterator[str]:
    """What is wrong with how it ended and what it said."""
    if run.returncode not in (0, *CODES):
        yield f"ended with {run.returncode}: {said[-300:]}"
    elif "internal error" in said or "Traceback" in said:
        yield f"called a bug: {said[-300:]}"
    elif run.returncode and not silent and sum(line.startswith("error: ") for line in said.splitlines()) != 1:
        yield f"expected one sentence, got {said[-300:]!r}"
