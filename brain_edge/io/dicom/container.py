"""Where DICOM files lie: a folder, one file, or a zip. Nothing is ever unpacked onto the disk.

Members of a zip are read into memory one at a time, so their names (`../../etc/passwd`, links) lead nowhere.
A file is named in messages by its place ("file 17 of 120 in name order"), because hospitals name exported
files after patients.
"""

from __future__ import annotations

import io
import re
import zipfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from brain_edge.errors import InputError
from brain_edge.machine.paths import files_below
from brain_edge.machine.zips import BROKEN_ZIP

if TYPE_CHECKING:
    from collections.abc import Iterator

MAXIMUM_FILES: Final = 100_000
"""More files than this are no study of a head; the folder is probably a whole archive."""
MAXIMUM_MEMBER_BYTES: Final = 2 * 2**30
"""A larger member of a zip is refused before it is read: the largest enhanced series have about 1 GiB."""
MOST_RATIO: Final = 100
LEAST_RATIO_BYTES: Final = 2**26
"""A zip that unpacks to more is no study but keeps the machine busy; small ones may, being empty slices."""

_DICOM_SUFFIXES: Final = (".dcm", ".ima", ".dicom")
_HEAD_BYTES: Final = 132
_MAGIC: Final = b"DICM"
_BARE: Final = re.compile(
    rb"[\x02\x08]\0[\0-\x18]\0(?:[A-Z]{2}|.[\0-\x03]\0\0)|\0[\x02\x08]\0[\0-\x18](?:[A-Z]{2}|\0\0[\0-\x03].)", re.DOTALL
)
"""A data set without preamble, as ACR-NEMA and some archives store it: it begins low in the group 0002 or 0008."""


@dataclass(frozen=True)
class DicomPart:
    """One file that may be DICOM.

    Attributes:
        name: path below the container ("" where the container is the file itself); not for messages.
        place: what messages call it.
    """

    name: str
    place: str

    @property
    def looks_like_dicom(self) -> bool:
        """True where the name promises DICOM, so that a file that is not must not be passed over."""
        return self.name.lower().endswith(_DICOM_SUFFIXES) or not self.name


class Container:
    """An opened folder, file or zip; made by `open_container`."""

    def __init__(self, root: Path, parts: tuple[DicomPart, ...], archive: zipfile.ZipFile | None) -> None:
        self.root = root
        self.parts = parts
        self._archive = archive

    @contextmanager
    def stream(self, part: DicomPart) -> Iterator[BinaryIO]:
        """A seekable stream of the bytes of one part.

        Raises:
            InputError: it cannot be read, or a member of a zip is damaged, encrypted or too large.
        """
        try:
            if self._archive is None:
                with self._path(part).open("rb") as stream:
                    yield _with_preamble(stream)
            else:
                yield _with_preamble(io.BytesIO(self._member(self._archive, part)))
        except OSError as error:
            raise InputError(
                f"{self.root}: {part.place} could not be read: {error.strerror}; fetch or copy it again"
            ) from error

    def is_dicom(self, part: DicomPart) -> bool:
        """True where a part begins as a DICOM file does (PS3.10 section 7.1), or as one without preamble."""
        if self._archive is None:
            # a link that leads nowhere: reading it will say so
            return _is_dicom(path) if (path := self._path(part)).exists() else part.looks_like_dicom
        try:
            with self._archive.open(part.name) as stream:
                return _begins_as_dicom(stream.read(_HEAD_BYTES))
        except (*BROKEN_ZIP, OSError):
            return part.looks_like_dicom  # damaged or encrypted: reading it will say so

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
    """List the files of a folder (and of those below), of a zip, or the one file itself, in name order.

    Raises:
        InputError: there is nothing, too much, or a damaged zip.
    """
    root = Path(root)
    with ExitStack() as stack:
        archive = None
        if root.is_dir():
            names = sorted(str(path.relative_to(root)) for path in islice(files_below(root), MAXIMUM_FILES + 1))
        elif not root.is_file():
            raise InputError(f"{root}: expected a folder, a DICOM file or a zip; there is no such file")
        elif zipfile.is_zipfile(root) and not _is_dicom(root):
            try:
                archive = stack.enter_context(zipfile.ZipFile(root))
            except (*BROKEN_ZIP, OSError) as error:
                raise InputError(f"{root}: the zip is damaged or truncated; copy it again") from error
            members = [info for info in archive.infolist() if not info.filename.endswith("/")]
            if sum(info.file_size for info in members) > LEAST_RATIO_BYTES + MOST_RATIO * root.stat().st_size:
                raise InputError(f"{root}: the zip unpacks to more than {MOST_RATIO} times its size, as no DICOM does")
            names = sorted(info.filename for info in members)
            if len(set(names)) < len(names):
                raise InputError(f"{root}: the zip holds several files of one name, of which one only can be read")
        else:
            names = [""]
        if len(names) > MAXIMUM_FILES:
            raise InputError(f"{root}: more than {MAXIMUM_FILES} files are no study; give the folder of one study")
        parts = [DicomPart(name, f"file {k} of {len(names)} in name order") for k, name in enumerate(names, start=1)]
        yield Container(root, (DicomPart("", "the file"),) if names == [""] else tuple(parts), archive)


def holds_dicom(path: Path | str) -> bool:
    """True for a DICOM file, and for a folder or zip with one somewhere in it; needs no extra.

    Raises:
        InputError: as `open_container`.
    """
    with open_container(path) as container:
        return any(container.is_dicom(part) for part in container.parts)


def _is_dicom(path: Path) -> bool:
    """True for a DICOM file, which may hold a zip at its end and is still no zip."""
    with path.open("rb") as stream:
        return _begins_as_dicom(stream.read(_HEAD_BYTES))


def _begins_as_dicom(head: bytes) -> bool:
    return head[128:] == _MAGIC or _BARE.match(head) is not None


def _with_preamble(stream: BinaryIO) -> BinaryIO:
    """The stream; of a data set without preamble a copy with what it lacks, its transfer syntax read off its bytes."""
    head = stream.read(_HEAD_BYTES)
    stream.seek(0)
    if head[128:] == _MAGIC or not _BARE.match(head):
        return stream
    is_big = head[0] == 0
    syntax = b"1.2.840.10008.1.2" + (b".2" if is_big else b".1\0" if head[4:6].isalpha() else b"\0")
    meta = b"" if 2 in head[:2] else b"\x02\0\x10\0UI" + len(syntax).to_bytes(2, "little") + syntax
    return io.BytesIO(bytes(128) + _MAGIC + meta + stream.read())
