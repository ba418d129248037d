"""SHA-256 of files, the one hash for packages, cohorts and downloads."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from brain_edge.errors import InputError
from brain_edge.machine.paths import require_regular

if TYPE_CHECKING:
    from pathlib import Path

Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$", max_length=64)]
"""SHA-256 as 64 hex digits in lower case, the only spelling that is written and compared."""


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 lower-case hex digits; the file is read in blocks.

    Raises:
        InputError: the file is missing or cannot be read.
    """
    try:
        with require_regular(path).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its path and permissions") from error


def is_sha256(text: str) -> bool:
    """Return True for 64 hex digits in lower case, the only spelling that is written and compared."""
    return re.fullmatch(r"[0-9a-f]{64}", text) is not None
