"""How deeply the code of a TorchScript archive is nested: PyTorch parses it by recursion, and dies of too much."""

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
"""Of brackets within brackets, blocks within blocks, or signs before one value; programs have a few dozen."""
_BRACKET: Final = re.compile(rb"[(\[{]|[)\]}]")
_SIGNS: Final = re.compile(rb"(?:[-+~(\[{ ]|not ){%d}" % (2 * MOST_LEVELS))


def require_shallow(program: bytes, path: Path) -> None:
    """Refuse an archive whose code nobody has written.

    Raises:
        WeightsError: it is nested too deeply, or its zip is damaged.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(program)) as archive:
            codes = [archive.read(name) for name in archive.namelist() if name.endswith(".py")]
    except (*BROKEN_ZIP, OSError) as error:
        raise WeightsError(f"{path}: the TorchScript archive is damaged ({error})") from error
    if any(_is_deep(code) for code in codes):
        raise WeightsError(
            f"{path}: the TorchScript archive is damaged (its code has more than {MOST_LEVELS} levels, of which "
            "PyTorch would die)"
        )


def _is_deep(code: bytes) -> bool:
    depth = 0
    for found in _BRACKET.finditer(code):
        depth = depth + 1 if found[0] in b"([{" else max(0, depth - 1)
        if depth > MOST_LEVELS:
            return True
    return _SIGNS.search(code) is not None
