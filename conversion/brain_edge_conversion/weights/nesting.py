"""Nesting depth of the code in a TorchScript archive: PyTorch parses code by recursion, and crashes on many levels."""

from __future__ import annotations

import io
import re
import zipfile
from typing import TYPE_CHECKING, Final

from brain_edge.errors import WeightsError
from brain_edge.machine.zips import BROKEN_ZIP

if TYPE_CHECKING:
    from pathlib import Path

MOST_LEVELS: Final = 500
"""Largest number of nested brackets, of nested blocks, or of signs before one value; programs have a few dozen."""
_BRACKET: Final = re.compile(rb"[(\[{]|[)\]}]")
_SIGNS: Final = re.compile(rb"(?:[-+~(\[{ ]|not ){%d}" % (2 * MOST_LEVELS))


def require_shallow(program: bytes, path: Path) -> None:
    """Refuse an archive whose code is nested more deeply than that of any real program.

    Raises:
        WeightsError: the code is nested too deeply, or the zip is damaged.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(program)) as archive:
            codes = [archive.read(name) for name in archive.namelist() if name.endswith(".py")]
    except (*BROKEN_ZIP, OSError) as error:
        raise WeightsError(f"{path}: the TorchScript archive is damaged ({error})") from error
    if any(_is_deep(code) for code in codes):
        raise WeightsError(
            f"{path}: the TorchScript archive is damaged (its code has more than {MOST_LEVELS} levels, on which "
            "PyTorch crashes)"
        )


def _is_deep(code: bytes) -> bool:
    depth = 0
    for found in _BRACKET.finditer(code):
        depth = depth + 1 if found[0] in b"([{" else max(0, depth - 1)
        if depth > MOST_LEVELS:
            return True
    return _SIGNS.search(code) is not None
