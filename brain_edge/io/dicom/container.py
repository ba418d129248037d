"""Container of DICOM files: a folder, one file, or a zip. A zip is never unpacked onto the disk.

Members of a zip are read into memory one at a time, so that their names (`../../etc/passwd`, links) have no effect.
Messages name a file by its place ("file 17 of 120 in name order"), because hospitals name exported files after
patients.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from brain_edge.errors import InputError
from brain_edge.machine.paths import files_below
from brain_edge.machine.zips import BROKEN_ZIP, MOST_RATIO, unpacks_too_far

if TYPE_CHECKING:
    from collections.abc import Iterator

MAXIMUM_FILES: Final = 100_000
"""Largest number of files of one study; a folder with more is probably a whole archive."""
MAXIMUM_MEMBER_BYTES: Final = 2 * 2**30
"""Largest member of a zip, checked before it is read: the largest enhanced series have about 1 GiB."""

_DICOM_SUFFIXES: Final = (".dcm", ".ima", ".dicom")
_HEAD_BYTES: Final = 132
_MAGIC: Final = b"DICM"
_ZIP: Final = b"PK\3\4"
_APPLE_DOUBLE: Final = b"\0\5\x16\7"
"""First bytes of a `._` file, in which macOS keeps the attributes of the file beside it (RFC 1740)."""
_MACOS_FOLDER: Final = "__MACOSX/"
"""Folder of such files in a zip of the Finder."""
_DEFLATED: Final = b"1.2.840.10008.1.2.1.99"
"""Transfer syntax of a data set that is deflated as a whole."""
_META_START: Final = 144
"""First byte of the file meta information after the element that states its length."""
_META_BYTES: Final = 1024
_BLOCK_BYTES: Final = 2**20
_BARE: Final = re.compile(
    rb"[\x02\x08]\0[\0-\x18]\0(?:[A-Z]{2}|.[\0-\x03]\0\0)|\0[\x02\x08]\0[\0-\x18](?:[A-Z]{2}|\0\0[\0-\x03].)", re.DOTALL
)
"""First bytes of a data set without preamble (ACR-NEMA, some archives): a low element of group 0002 or 0008."""


@dataclass(frozen=True)
class DicomPart:
    """One file that may be DICOM.

    Attributes:
        name: path below the container ("" if the container is the file itself); not for messages.
        place: name of the file in messages, such as "file 17 of 120 in name order".
    """

    name: str
    place: str

    @property
    def looks_like_dicom(self) -> bool:
        """True if the file name announces DICOM; a file with such a name must not be skipped."""
        return self.name.lower().endswith(_DICOM_SUFFIXES) or not self.name


class Container:
    """An opened folder, file or zip; made by `open_container`."""

    def __init__(self, root: Path, parts: tuple[DicomPart, ...], archive: zipfile.ZipFile | None) -> None:
        self.root = root
        self.parts = parts
        self._archive = archive

    @contextmanager
    def stream(self, part: DicomPart) -> Iterator[BinaryIO]:
        """Open a seekable stream of the bytes of one part.

        Raises:
            InputError: the part cannot be read, or a member of a zip is damaged, encrypted or too large.
        """
        try:
            if self._archive is None:
                with self._path(part).open("rb") as stream:
                    yield self._checked(stream, part)
            else:
                yield self._checked(io.BytesIO(self._member(self._archive, part)), part)
        except OSError as error:
            raise InputError(
                f"{self.root}: {part.place} could not be read: {error.strerror}; copy the file again"
            ) from error

    def is_dicom(self, part: DicomPart) -> bool:
        """Return True if a part begins like a DICOM file (PS3.10 section 7.1), with or without preamble."""
        if self._archive is None:
            # a broken link, which reading reports
            return _is_dicom(path) if (path := self._path(part)).exists() else part.looks_like_dicom
        try:
            with self._archive.open(part.name) as stream:
                return _begins_as_dicom(stream.read(_HEAD_BYTES))
        except (*BROKEN_ZIP, OSError):
            return part.looks_like_dicom  # damaged or encrypted, which reading reports

    def _checked(self, stream: BinaryIO, part: DicomPart) -> BinaryIO:
        if _inflates_too_far(stream):
            raise _bomb(f"{self.root}: {part.place}")
        return _with_preamble(stream)

    def _path(self, part: DicomPart) -> Path:
        return self.root / part.name if part.name else self.root

    def _member(self, archive: zipfile.ZipFile, part: DicomPart) -> bytes:
        info = archive.getinfo(part.name)
        if info.file_size > MAXIMUM_MEMBER_BYTES:
            raise InputError(
                f"{self.root}: {part.place} has {info.file_size} bytes, more than the limit of "
                f"{MAXIMUM_MEMBER_BYTES}; unpack the zip and give the folder"
            )
        if info.flag_bits & 0x1:
            raise InputError(f"{self.root}: {part.place} is encrypted; unpack the zip and give the folder")
        try:
            return archive.read(info)
        except (*BROKEN_ZIP, OSError) as error:
            raise InputError(f"{self.root}: {part.place} is damaged in the zip; copy or export it again") from error


@contextmanager
def open_container(root: Path | str) -> Iterator[Container]:
    """Open a folder (with its subfolders), a zip, or a single file, and list its files in name order.

    Raises:
        InputError: the path does not exist, holds too many files, or is a damaged zip.
    """
    root = Path(root)
    with ExitStack() as stack:
        archive = None
        if root.is_dir():
            paths = (path for path in files_below(root) if not _is_apple_double(path))
            names = sorted(str(path.relative_to(root)) for path in islice(paths, MAXIMUM_FILES + 1))
        elif not root.is_file():
            raise InputError(
                f"{root}: expected a folder, a DICOM file or a zip, but there is no such file; check the path"
            )
        elif _is_zip(root):
            try:
                archive = stack.enter_context(zipfile.ZipFile(root))
            except (*BROKEN_ZIP, OSError) as error:
                raise InputError(f"{root}: the zip is damaged or truncated; copy it again") from error
            members = [info for info in archive.infolist() if not info.filename.endswith("/")]
            if unpacks_too_far(sum(info.file_size for info in members), root.stat().st_size):
                raise _bomb(f"{root}: the zip")
            names = sorted(info.filename for info in members if not _is_apple_member(archive, info))
            if len(set(names)) < len(names):
                raise InputError(f"{root}: the zip holds several files of one name; unpack it and give the folder")
        else:
            names = [""]
        if len(names) > MAXIMUM_FILES:
            raise InputError(f"{root}: expected at most {MAXIMUM_FILES} files, got more; give the folder of one study")
        parts = [DicomPart(name, f"file {k} of {len(names)} in name order") for k, name in enumerate(names, start=1)]
        yield Container(root, (DicomPart("", "the file"),) if names == [""] else tuple(parts), archive)


def holds_dicom(path: Path | str) -> bool:
    """Return True for a DICOM file, and for a folder or zip that contains one; needs no extra.

    Raises:
        InputError: see `open_container`.
    """
    with open_container(path) as container:
        return any(container.is_dicom(part) for part in container.parts)


def _is_zip(path: Path) -> bool:
    """Return True for a zip, also for a truncated one, of which only the beginning tells; no DICOM file is one."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    return not _begins_as_dicom(head) and (head.startswith(_ZIP) or zipfile.is_zipfile(path))


def _is_dicom(path: Path) -> bool:
    """Return True for a DICOM file, also for one that ends with a zip."""
    with path.open("rb") as stream:
        return _begins_as_dicom(stream.read(_HEAD_BYTES))


def _is_apple_double(path: Path) -> bool:
    if not path.name.startswith("._") or not path.exists():
        return False
    with path.open("rb") as stream:
        return stream.read(len(_APPLE_DOUBLE)) == _APPLE_DOUBLE


def _is_apple_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bool:
    if info.filename.startswith(_MACOS_FOLDER):
        return True
    if not info.filename.rpartition("/")[2].startswith("._"):
        return False
    try:
        with archive.open(info) as stream:
            return stream.read(len(_APPLE_DOUBLE)) == _APPLE_DOUBLE
    except (*BROKEN_ZIP, OSError):
        return False  # damaged or encrypted, which reading reports


def _begins_as_dicom(head: bytes) -> bool:
    return head[128:] == _MAGIC or _BARE.match(head) is not None


def _bomb(what: str) -> InputError:
    return InputError(f"{what} unpacks to more than {MOST_RATIO} times its size, as no DICOM does; export it again")


def _inflates_too_far(stream: BinaryIO) -> bool:
    """Return True for a data set that is deflated as a whole and is too large; pydicom would inflate it at once.

    The data set follows the file meta information, whose length is its first element (PS3.10 section 7.1).
    """
    head = stream.read(_META_BYTES)
    stream.seek(0)
    if head[128:132] != _MAGIC or _DEFLATED not in head:
        return False
    stream.seek(_META_START + int.from_bytes(head[_META_START - 4 : _META_START], "little"))
    inflater, unpacked = zlib.decompressobj(-zlib.MAX_WBITS), 0
    with suppress(zlib.error):  # damaged, which reading reports
        while block := inflater.unconsumed_tail or stream.read(_BLOCK_BYTES):
            unpacked += len(inflater.decompress(block, _BLOCK_BYTES))
            if unpacked > MAXIMUM_MEMBER_BYTES or unpacks_too_far(unpacked, stream.tell()):
                return True
    stream.seek(0)
    return False


def _with_preamble(stream: BinaryIO) -> BinaryIO:
    """Return the stream, or, without preamble, a copy with a preamble and the transfer syntax found from its bytes."""
    head = stream.read(_HEAD_BYTES)
    stream.seek(0)
    if head[128:] == _MAGIC or not _BARE.match(head):
        return stream
    is_big = head[0] == 0
    syntax = b"1.2.840.10008.1.2" + (b".2" if is_big else b".1\0" if head[4:6].isalpha() else b"\0")
    meta = b"" if 2 in head[:2] else b"\x02\0\x10\0UI" + len(syntax).to_bytes(2, "little") + syntax
    return io.BytesIO(bytes(128) + _MAGIC + meta + stream.read())
