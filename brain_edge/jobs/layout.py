"""Folders of a batch: where the results of a case lie, by the name of the case alone."""

from __future__ import annotations

import hashlib
import re
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_SUBJECT: Final = re.compile(r"(sub-[A-Za-z0-9]+)(?:_.*)?")


class Layout(StrEnum):
    """Layout of the results below the output folder."""

    FLAT = "flat"
    """All results lie in the output folder itself: the default for images and folders of images."""
    FOLDERS = "folders"
    """Subject `sub-01` has a folder `sub-01`; other cases share 256 folders by hash: the default for a list of cases,
    because 100,000 cases are 300,000 files."""

    def folder(self, case: str) -> str:
        """Return the name of the folder of a case; empty where the results lie in the output folder itself."""
        if self is Layout.FLAT:
            return ""
        subject = _SUBJECT.fullmatch(case)
        return subject[1] if subject else hashlib.sha256(case.encode("utf-8", "surrogateescape")).hexdigest()[:2]

    def place(self, root: Path, case: str) -> Path:
        """Return the folder of the results of a case."""
        return _below(root, self.folder(case))


@lru_cache(maxsize=4096)
def _below(root: Path, name: str) -> Path:
    return root / name if name else root


def is_case_folder(name: str) -> bool:
    """Return True if a folder has a name that `Layout.FOLDERS` gives."""
    return re.fullmatch(r"[0-9a-f]{2}|sub-[A-Za-z0-9]+", name) is not None
