"""Unpack one file of a zip or tar.gz archive by its exact path: no links, no path traversal, a limited size."""

from __future__ import annotations

import difflib
import gzip
import re
import stat
import tarfile
import tempfile
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, cast

from brain_edge.errors import InputError, OutputError
from brain_edge.machine.cache_folder import CACHE_VARIABLE
from brain_edge.machine.paths import require_regular
from brain_edge.machine.zips import BROKEN_ZIP, MOST_RATIO, unpacks_too_far

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MEMBER_LIMIT_BYTES: Final = 512 * 2**20
"""Maximum size of an unpacked member; the largest weights in the table have 66 MB."""

_BLOCK_BYTES: Final = 2**20
_SEGMENT: Final = re.compile(r"[A-Za-z0-9_.+-]*[A-Za-z0-9_+-]")  # not `.`, not `..`, and safe on Windows


def extract_member(archive: Path, member: str, destination: Path, limit_bytes: int = MEMBER_LIMIT_BYTES) -> Path:
    """Unpack one regular file of a zip (a wheel) or tar.gz (an sdist) by its exact path, atomically.

    Raises:
        InputError: the archive is damaged or of another kind; the member is missing, occurs twice, is a link or
            a folder, or is larger than `limit_bytes`.
        OutputError: the destination cannot be written; an existing file stays untouched.
    """
    with (
        writing(destination),
        _open_member(archive, member) as (stream, size_bytes),
        scratch_beside(destination) as scratch,
    ):
        if size_bytes > limit_bytes:
            raise InputError(
                f"{archive}: expected at most {limit_bytes} bytes in {member}, got {size_bytes}; give another archive"
            )
        unpacked = scratch / "member"
        with unpacked.open("wb") as output:
            # neither zipfile nor tarfile reads beyond the size in the header, so the check above binds
            for block in _blocks(stream):
                output.write(block)
        unpacked.replace(destination)
    return destination


def holds_same_bytes(archive: Path, member: str, path: Path) -> bool:
    """Return True if `path` has the bytes of the archive's member; a cached file is compared, not trusted."""
    if not path.is_file():
        return False
    with _open_member(archive, member) as (stream, size_bytes), path.open("rb") as unpacked:
        same_size = path.stat().st_size == size_bytes
        return same_size and all(block == unpacked.read(len(block)) for block in _blocks(stream))


def check_member(member: str) -> None:
    """Refuse a path that is absolute, leaves the archive, or has characters that some file system lacks.

    Raises:
        InputError: the path is refused.
    """
    if not all(_SEGMENT.fullmatch(segment) for segment in member.split("/")):
        raise InputError(
            "expected a path inside the archive, of letters, digits and _ . + - between single slashes "
            f"and without `..`, got {member!r}"
        )


@contextmanager
def scratch_beside(path: Path) -> Iterator[Path]:
    """Yield a temporary folder on the file system of `path`, so that a finished file can be moved to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=path.parent) as scratch:
        yield Path(scratch)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an error of the file system in the block into an OutputError that names `path`."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"cannot write {path} ({error.strerror or error}); set {CACHE_VARIABLE} to another cache folder"
        ) from error


@contextmanager
def _open_member(archive: Path, member: str) -> Iterator[tuple[IO[bytes], int]]:
    """Yield a regular member as a stream, and its size in bytes; every fault of the archive is an InputError."""
    check_member(member)
    try:
        with require_regular(archive).open("rb") as stream:
            magic = stream.read(4)
    except OSError as error:
        raise InputError(
            f"{archive}: cannot be read ({error.strerror}); check its permissions, or copy it again"
        ) from error
    try:
        if magic == b"PK\x03\x04":
            with _open_zip_member(archive, member) as opened:
                yield opened
        elif magic[:2] == b"\x1f\x8b":
            with _open_tar_member(archive, member) as opened:
                yield opened
        else:
            raise InputError(f"{archive}: expected a wheel (zip) or an sdist (tar.gz), got neither")
    except (*BROKEN_ZIP, tarfile.TarError, gzip.BadGzipFile) as error:
        raise InputError(f"{archive}: the archive is damaged or truncated ({error}); fetch it again") from error


@contextmanager
def _open_zip_member(archive: Path, member: str) -> Iterator[tuple[IO[bytes], int]]:
    with zipfile.ZipFile(archive) as opened:
        found = [info for info in opened.infolist() if info.filename == member]
        _require_one(archive, member, len(found), opened.namelist())
        # the upper half of the external attributes is the Unix mode, or zero if no mode was stored
        kind = stat.S_IFMT(found[0].external_attr >> 16)
        _require_regular(archive, member, regular=kind in (0, stat.S_IFREG) and not found[0].is_dir())
        readable = found[0].compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        if found[0].flag_bits & 0x1 or not readable:
            raise InputError(
                f"{archive}: {member} is encrypted, or compressed by an unknown method; give another archive"
            )
        with opened.open(found[0]) as stream:
            yield stream, found[0].file_size


@contextmanager
def _open_tar_member(archive: Path, member: str) -> Iterator[tuple[IO[bytes], int]]:
    with tarfile.open(archive, "r:gz") as opened:
        found = [info for info in _modest(opened, archive) if info.name == member]
        _require_one(archive, member, len(found), opened.getnames())
        _require_regular(archive, member, regular=found[0].isreg())
        with cast(IO[bytes], opened.extractfile(found[0])) as stream:  # None only for a member that is not regular
            yield stream, found[0].size


def _modest(opened: tarfile.TarFile, archive: Path) -> Iterator[tarfile.TarInfo]:
    """Yield the members of an archive, and refuse it before more is unpacked than an honest archive holds."""
    unpacked = 0
    for info in opened:
        unpacked += info.size
        if unpacks_too_far(unpacked, archive.stat().st_size):
            raise InputError(f"{archive}: the archive unpacks to more than {MOST_RATIO} times its size; fetch it again")
        yield info


def _require_one(archive: Path, member: str, count: int, names: Iterable[str]) -> None:
    if count == 0:
        near = difflib.get_close_matches(member, list(names), n=3)
        hint = f"; similar names: {', '.join(near)}" if near else ""
        raise InputError(f"{archive}: expected a member {member}, found none{hint}")
    if count > 1:
        raise InputError(f"{archive}: expected one member {member}, got {count}")


def _require_regular(archive: Path, member: str, *, regular: bool) -> None:
    if not regular:
        raise InputError(f"{archive}: expected {member} as a regular file, got a link or a folder; name a file")


def _blocks(stream: IO[bytes]) -> Iterator[bytes]:
    return iter(lambda: stream.read(_BLOCK_BYTES), b"")
