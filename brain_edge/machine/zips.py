"""What Python raises of a zip that anybody may have damaged."""

import lzma
import zipfile
import zlib
from typing import Final

BROKEN_ZIP: Final = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError, RuntimeError)
"""Also of names that are no text, and versions and methods that there are not; OSError may be of the disk as well."""
