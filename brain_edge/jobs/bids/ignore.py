"""`.bidsignore`: what lies in a dataset and is not BIDS. The patterns are those of `.gitignore`."""

from __future__ import annotations

import re
from dataclasses import dataclass

_PIECES = re.compile(r"\*\*/|/\*\*$|\*|\?|\[[^\]]+\]|.", re.DOTALL)
_TRANSLATED = {"**/": "(?:.*/)?", "/**": "/.*", "*": "[^/]*", "?": "[^/]"}


@dataclass(frozen=True)
class IgnoreRules:
    """Patterns in their order; the last one that fits decides.

    Attributes:
        rules: for each line, whether it ignores (`!` takes back), whether only folders are meant, and the pattern.
    """

    rules: tuple[tuple[bool, bool, re.Pattern[str]], ...] = ()

    @classmethod
    def read(cls, text: str) -> IgnoreRules:
        """The rules of a file; empty lines and comments are none."""
        lines = [line.strip() for line in text.splitlines()]
        return cls(tuple(_rule(line) for line in lines if line and not line.startswith("#")))

    def matches(self, relative: str, *, is_folder: bool = False) -> bool:
        """Whether a path within the dataset (with "/") is ignored, itself or with a folder that it lies in."""
        parts = relative.split("/")
        places = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
        return any(self._ignores(place, is_folder or place != relative) for place in places)

    def _ignores(self, relative: str, is_folder: bool) -> bool:
        ignored = False
        for ignores, only_folders, pattern in self.rules:
            if (is_folder or not only_folders) and pattern.fullmatch(relative):
                ignored = ignores
        return ignored


def _rule(line: str) -> tuple[bool, bool, re.Pattern[str]]:
    ignores = not line.startswith("!")
    pattern = line.removeprefix("!")
    only_folders = pattern.endswith("/")
    pattern = pattern.removesuffix("/")
    if "/" not in pattern:  # without a slash it fits at every depth
        pattern = f"**/{pattern}"
    return ignores, only_folders, re.compile(_translated(pattern.removeprefix("/")))


def _translated(pattern: str) -> str:
    return "".join(_piece(piece) for piece in _PIECES.findall(pattern))


def _piece(piece: str) -> str:
    if piece in _TRANSLATED:
        return _TRANSLATED[piece]
    if piece.startswith("[") and len(piece) > 1:
        return piece.replace("[!", "[^", 1)
    return re.escape(piece)
