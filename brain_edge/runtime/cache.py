"""Cache of compiled graphs between processes, in one folder; every entry is verified.

OpenVINO's own cache loads an entry whose bytes have changed and computes with it (docs/decisions/0014). This cache
therefore has its own entries, one file each: a file names its source and its target, and contains the SHA-256 of
OpenVINO's export. An entry that does not match is compiled again and replaced.
"""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from brain_edge.errors import InputError, OutputError
from brain_edge.machine.atomic import atomic_file, remove_leftovers, require_no_file, require_writable_folder
from brain_edge.machine.json import decode_json
from brain_edge.machine.process import free_memory
from brain_edge.spec import canonical_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SUFFIX: Final = ".compiled"
MAGIC: Final = b"brain-edge compiled graph 1\n"
MOST_HEADER_BYTES: Final = 2**16


class GraphKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that a compiled graph depends on; an entry is used only if every field is equal.

    Attributes:
        package_digest: digest of the package that contains the graph.
        model: name of the model, for readers of a list.
        graph: name of the graph.
        graph_sha256: hashes of its `.xml` and its `.bin`.
        shape: shape of the input (1, C, I, J, K).
        program: version of brain-edge, which rewrites some graphs before they are compiled.
        openvino: version of OpenVINO.
        isa: name and flags of the CPU, and the instruction set limit.
        properties: precision, threads, streams and other properties, as given to OpenVINO.
    """

    package_digest: str
    model: str
    graph: str
    graph_sha256: tuple[str, str]
    shape: tuple[int, ...]
    program: str
    openvino: str
    isa: str
    properties: dict[str, str]

    @property
    def file_name(self) -> str:
        """File name of the entry: the hash of the key."""
        return hashlib.sha256(canonical_json(self)).hexdigest()[:40] + SUFFIX


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The second line of an entry."""

    key: GraphKey
    blob_sha256: str
    blob_bytes: int


@dataclass(frozen=True)
class CacheEntry:
    """A file of the cache.

    Attributes:
        path: path of the file.
        size_bytes: size of the file in bytes.
        key: key of the entry, or None if it cannot be read.
    """

    path: Path
    size_bytes: int
    key: GraphKey | None


def require_cache_folder(folder: Path) -> None:
    """Create a folder for compiled graphs if it is missing, and make sure that it is writable.

    Raises:
        UsageError: the path is a file.
        OutputError: the folder cannot be created, or is not writable.
    """
    require_no_file(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        require_writable_folder(folder)
    except (OSError, OutputError) as error:
        raise OutputError(
            f"{folder}: compiled graphs cannot be stored in this folder ({error}); "
            "name another folder, or run without a cache"
        ) from error


def load(folder: Path, key: GraphKey) -> bytes | None:
    """Load OpenVINO's export for this key; None if there is no such entry or it is damaged."""
    path = folder / key.file_name
    if not path.is_file():  # a pipe would never end
        return None
    try:
        with path.open("rb") as file:
            head = file.read(MOST_HEADER_BYTES)
            header = _header(head)
            if header is None or header.key != key:
                return None
            start, free = head.index(b"\n", len(MAGIC)) + 1, free_memory()
            too_large = free is not None and header.blob_bytes > free.size_bytes
            if too_large or path.stat().st_size != start + header.blob_bytes:
                return None
            file.seek(start)
            blob = file.read()
            _mark_as_used(path)
    except OSError:
        return None
    return blob if hashlib.sha256(blob).hexdigest() == header.blob_sha256 else None


def _mark_as_used(path: Path) -> None:
    """Set the time of the last access, which a disk may not keep by itself; the time of the last change stays."""
    with suppress(OSError):  # an entry of another user
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))


def store(folder: Path, key: GraphKey, blob: bytes) -> None:
    """Write an entry atomically, replacing an existing one.

    Raises:
        OutputError: the entry cannot be written.
    """
    remove_leftovers([folder / key.file_name])
    header = _Header(key, hashlib.sha256(blob).hexdigest(), len(blob))
    with atomic_file(folder / key.file_name) as partial, partial.open("wb") as file:
        file.writelines([MAGIC, canonical_json(header), b"\n", blob])


def remove_oldest(folder: Path, limit_bytes: int, newest: GraphKey) -> None:
    """Remove the entries that were not used for longest until the rest is small enough; the newest entry stays."""
    total_bytes, found = 0, []
    for path in folder.glob(f"*{SUFFIX}"):
        with suppress(FileNotFoundError):  # another process removes, too
            found.append((path, path.stat()))
    found = [each for each in found if each[0].name != newest.file_name]
    for path, status in sorted(found, key=lambda each: each[1].st_atime_ns, reverse=True):
        total_bytes += status.st_size
        if total_bytes > limit_bytes:
            path.unlink(missing_ok=True)


def entries(folder: Path) -> Iterator[CacheEntry]:
    """Yield the entries of a cache by file name; only their headers are read.

    Raises:
        InputError: the folder does not exist.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder of compiled graphs, found no such folder; check the path")
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        if not path.is_file():
            continue
        with path.open("rb") as file:
            header = _header(file.read(MOST_HEADER_BYTES))
        yield CacheEntry(path, path.stat().st_size, None if header is None else header.key)


def clear(folder: Path) -> list[CacheEntry]:
    """Remove every entry, and nothing else; return the removed entries.

    Raises:
        InputError: the folder does not exist.
        OutputError: an entry cannot be removed.
    """
    removed = []
    for entry in list(entries(folder)):
        try:
            entry.path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{entry.path}: could not be removed: {error.strerror}") from error
        removed.append(entry)
    return removed


def _header(content: bytes) -> _Header | None:
    """Return the header of an entry, or None if the file is not an entry of this cache."""
    line, newline, _ = content[len(MAGIC) : MOST_HEADER_BYTES].partition(b"\n")
    if not content.startswith(MAGIC) or not newline:
        return None
    try:
        return decode_json(line, _Header)
    except msgspec.DecodeError:
        return None
