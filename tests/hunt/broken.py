"""Readers that are wrong in every way that the hunt must notice; the tests of the hunt hunt them."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Final

import numpy as np

from brain_edge.errors import InputError
from hunt.reader import Case, Reader

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

VALID: Final = b"valid\n" * 10


def _make(root: Path) -> None:
    (root / "one").mkdir()
    (root / "one" / "file.txt").write_bytes(VALID)


def _wrong(act: Callable[[], object]) -> Callable[[Case], None]:
    """A reader that does something wrong with a damaged file, and refuses one of two rightly."""

    def read(case: Case) -> None:
        content = (case.folder / "file.txt").read_bytes()
        if content == VALID:
            return
        if len(content) % 2:
            raise InputError(f"{case.folder}: expected a valid file")
        act()

    return read


def _raise() -> None:
    raise ValueError("outside of the tree")


def _die() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def _hold() -> int:
    return int(np.ones(2**28, np.uint8).sum())


def _ask() -> int:
    return np.empty(2**40, np.uint8).size


READERS: Final[Mapping[str, Reader]] = {
    "raises": Reader(make=_make, read=_wrong(_raise), in_ci=1),
    "dies": Reader(make=_make, read=_wrong(_die), in_ci=1),
    "hangs": Reader(make=_make, read=_wrong(lambda: time.sleep(60)), in_ci=1),
    "holds": Reader(make=_make, read=_wrong(_hold), in_ci=1),
    "asks": Reader(make=_make, read=_wrong(_ask), in_ci=1),
    "right": Reader(make=_make, read=_wrong(lambda: None), in_ci=1),
}
