"""Zips that anybody may have damaged, or made to keep a machine busy."""

import lzma
import zipfile
import zlib
from typing import Final

BROKEN_ZIP: Final = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError, RuntimeError)
"""Also of names that are no text, and versions and methods that there are not; OSError may be of the disk as well."""

MOST_RATIO: Final = 100
"""Largest ratio of unpacked to packed bytes of a large file; images and weights compress less."""
LEAST_RATIO_BYTES: Final = 2**26
"""Unpacked bytes from which the ratio is limited; a small zip of empty slices may compress more."""


def unpacks_too_far(unpacked_bytes: int, size_bytes: int) -> bool:
    """Return True for an archive whose content is larger than that of any honest archive of this size."""
    return unpacked_bytes > LEAST_RATIO_BYTES + MOST_RATIO * size_bytes
