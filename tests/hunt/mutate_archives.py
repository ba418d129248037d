"""Damage to what holds other files: members that are exchanged, missing, there twice, damaged, or larger than said."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib
from functools import cache
from typing import TYPE_CHECKING, Final

from hunt.mutate_bytes import INTEGERS

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    Inner = Callable[[str, bytes, Random, bytes], bytes]

ZIP_MAGIC: Final = b"PK\x03\x04"
GZIP_MAGIC: Final = b"\x1f\x8b"
_LOCAL: Final = (4, 6, 8, 14, 18, 22, 26, 28)
_CENTRAL: Final = (4, 6, 8, 10, 16, 20, 24, 28, 30, 32, 38, 42)
_END: Final = (4, 8, 10, 12, 16, 20)
_FIELDS: Final = ((ZIP_MAGIC, _LOCAL), (b"PK\x01\x02", _CENTRAL), (b"PK\x05\x06", _END))
"""Signatures of a zip's headers, and where the fields of each begin."""
BOMB_BYTES: Final = 3 * 2**30
LARGEST_GZIP_BYTES: Final = 2**20
"""Of a valid file."""


def zip_field(content: bytes, random: Random) -> bytes:
    """One field of a header: version, flags, method, checksum, sizes, lengths, offsets."""
    signature, fields = random.choice(_FIELDS)
    places = [place for place in range(len(content)) if content.startswith(signature, place)] if signature else []
    if not places:
        return content
    start = random.choice(places) + random.choice(fields)
    size = random.choice((2, 4))
    number = (random.choice((*INTEGERS, 8, 9, 12, 14, 93, 99)) % 2 ** (8 * size)).to_bytes(size, "little")
    return content[:start] + number + content[start + size :]


def zip_members(content: bytes, random: Random, inner: Inner) -> bytes:
    """The same archive, whole, in which one member is damaged, exchanged, missing, there twice or called otherwise."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [(info, archive.read(info)) for info in archive.infolist()]
    except Exception:  # noqa: BLE001 - what is damaged already stays as it is
        return content
    if not members:
        return content
    place = random.randrange(len(members))
    info, data = members[place]
    other = random.choice(members)[1]
    how = random.random()
    if how < 0.6:
        members[place] = (info, inner(info.filename, data, random, other))
    elif how < 0.7:
        members[place] = (info, other)
    elif how < 0.8:
        del members[place]
    elif how < 0.9:
        members.append((info, other))
    else:
        members[place] = (_named(info, random.choice(("", "../x", "/x", "x" * 70_000, "\u00e9", "x/"))), data)
    return _zipped(members)


def _named(info: zipfile.ZipInfo, name: str) -> zipfile.ZipInfo:
    other = zipfile.ZipInfo(name, info.date_time)
    other.compress_type = info.compress_type
    return other


def _zipped(members: list[tuple[zipfile.ZipInfo, bytes]]) -> bytes:
    """A whole zip of these members."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for info, data in members:
            copy = zipfile.ZipInfo(info.filename[:60_000], info.date_time)
            copy.compress_type, copy.external_attr = info.compress_type, info.external_attr
            archive.writestr(copy, data)
    return target.getvalue()


def inside_gzip(content: bytes, random: Random, inner: Inner) -> bytes:
    """What is compressed, damaged and compressed again; rarely, more of it than is said."""
    if len(content) > LARGEST_GZIP_BYTES:  # endless already
        return content
    try:
        data = gzip.decompress(content)
    except (OSError, EOFError, zlib.error):
        return content
    if random.random() < 0.002:
        return _endless(data)
    return gzip.compress(inner("", data, random, data), 1, mtime=0)


def _endless(data: bytes) -> bytes:
    """A gzip stream that goes on with gigabytes of zeros; its checksum, which nobody sees before the end, is none."""
    compressor = zlib.compressobj(1, zlib.DEFLATED, -15)
    head = compressor.compress(data) + compressor.flush(zlib.Z_FULL_FLUSH)
    end = struct.pack("<II", 0, (len(data) + BOMB_BYTES) % 2**32)
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + head + _zeros() * (BOMB_BYTES // 2**20) + b"\x03\0" + end


@cache
def _zeros() -> bytes:
    """A mebibyte of zeros, deflated, on which another one can follow."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    return compressor.compress(bytes(2**20)) + compressor.flush(zlib.Z_FULL_FLUSH)
