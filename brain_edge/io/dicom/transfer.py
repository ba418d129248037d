"""Transfer syntaxes: codecs that decode them, and messages about those that cannot be decoded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from brain_edge.errors import MissingExtraError
from brain_edge.io.dicom.instance import UID_PATTERN
from brain_edge.io.dicom.library import import_pydicom

if TYPE_CHECKING:
    from collections.abc import Iterator

_CODECS: Final = {
    "1.2.840.10008.1.2.4.50": "python-gdcm",
    "1.2.840.10008.1.2.4.51": "python-gdcm",
    "1.2.840.10008.1.2.4.57": "python-gdcm",
    "1.2.840.10008.1.2.4.70": "python-gdcm",
    "1.2.840.10008.1.2.4.80": "pyjpegls",
    "1.2.840.10008.1.2.4.81": "pyjpegls",
    "1.2.840.10008.1.2.4.90": "pylibjpeg-openjpeg",
    "1.2.840.10008.1.2.4.91": "pylibjpeg-openjpeg",
}
"""Package of the extra `dicom` that decodes each compressed transfer syntax."""


def transfer_problem(transfer_syntax: str) -> Iterator[str]:
    """Yield the reason why a transfer syntax can never be decoded here; a missing codec that exists is no reason."""
    if not UID_PATTERN.fullmatch(transfer_syntax):
        yield "expected a transfer syntax in the file, got none or an invalid one; export the series again"
        return
    uid = import_pydicom().uid.UID(transfer_syntax)
    if uid.is_private or not transfer_syntax.startswith("1.2.840.10008."):
        yield (
            "expected a standard transfer syntax, got a private one; "
            "export the series as Explicit VR Little Endian (uncompressed)"
        )
    elif uid.is_compressed and _decoder(transfer_syntax) is None:
        yield (
            f"expected a transfer syntax that can be decoded, got {uid.name}; "
            "export the series as Explicit VR Little Endian (uncompressed)"
        )


def require_codec(transfer_syntax: str) -> None:
    """Make sure that the codec of a compressed series is installed.

    Raises:
        MissingExtraError: the codec is not installed.
    """
    decoder = _decoder(transfer_syntax)
    if decoder is not None and not decoder.is_available:
        name = import_pydicom().uid.UID(transfer_syntax).name
        raise MissingExtraError(f"decoding {name}", _CODECS.get(transfer_syntax, "a codec"), "dicom")


def _decoder(transfer_syntax: str) -> Any:
    """Return pydicom's decoder, or None if it has none."""
    try:
        return import_pydicom().pixels.get_decoder(transfer_syntax)
    except NotImplementedError:
        return None
