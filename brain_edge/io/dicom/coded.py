"""Sides that a compressed frame states itself, compared with the header before a codec allocates what they promise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from brain_edge.errors import InputError
from brain_edge.io.dicom.library import import_pydicom

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

JPEG_FAMILY: Final = "1.2.840.10008.1.2.4."
"""Start of the transfer syntaxes whose frames state their sides: JPEG, JPEG-LS and JPEG 2000."""
_PIXELS: Final = ["PixelData"]
_JPEG_2000: Final = b"\xff\x4f\xff\x51"
_BOXES: Final = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
_MOST_BOX_BYTES: Final = 2**16
_FRAME_MARKERS: Final = frozenset({0xF7, *range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""Markers before the sides of a JPEG (ITU T.81, table B.1) and a JPEG-LS frame (ITU T.87)."""


def require_stated_sides(stream: BinaryIO, sides: tuple[int, int]) -> None:
    """Refuse a file of which a compressed frame is larger than the header says; leave the stream at its start.

    Args:
        stream: a DICOM file of a transfer syntax of `JPEG_FAMILY`.
        sides: rows and columns by the header.

    Raises:
        InputError: a frame has other sides, or states none.
    """
    pydicom = import_pydicom()
    content = pydicom.dcmread(stream, specific_tags=_PIXELS).PixelData
    stream.seek(0)
    for found in _stated(pydicom.encaps.generate_fragments(content)):
        if found != sides:
            size = "no size" if found is None else f"{found[0]} x {found[1]}"
            raise InputError(
                f"expected compressed frames of {sides[0]} x {sides[1]} by the header, got {size}; export it again"
            )


def _stated(fragments: Any) -> Iterator[tuple[int, int] | None]:
    """Yield the rows and columns of each frame, which begins with a fragment; None where none are found there."""
    for fragment in fragments:
        if fragment.startswith(b"\xff\xd8"):
            yield _jpeg_sides(fragment)
        elif fragment.startswith((_JPEG_2000, _BOXES)):
            yield _jpeg_2000_sides(fragment)


def _jpeg_sides(frame: bytes) -> tuple[int, int] | None:
    place = 2
    while place + 9 <= len(frame) and frame[place] == 0xFF:
        marker = frame[place + 1]
        if marker == 0xFF:  # fill byte
            place += 1
        elif marker in _FRAME_MARKERS:
            return _number(frame, place + 5, 2), _number(frame, place + 7, 2)
        else:
            place += 2 + _number(frame, place + 2, 2)
    return None


def _jpeg_2000_sides(frame: bytes) -> tuple[int, int] | None:
    """Return the sides of the image area (ITU T.800, A.5.1)."""
    place = frame.find(_JPEG_2000, 0, _MOST_BOX_BYTES)
    if place < 0 or place + 24 > len(frame):
        return None
    across, down, left, top = (_number(frame, place + 8 + 4 * which, 4) for which in range(4))
    return down - top, across - left


def _number(frame: bytes, place: int, size: int) -> int:
    return int.from_bytes(frame[place : place + size], "big")
