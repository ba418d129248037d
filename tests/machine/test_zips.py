"""Damaged zips are refused in words by everyone who reads one."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING

import pytest

from brain_edge.deploy.unpack import extract_member
from brain_edge.deploy.wheelhouse.wheels import read_wheel
from brain_edge.errors import InputError
from brain_edge.io.dicom import list_series
from brain_edge_conversion.weights.checkpoint import load_state_dict

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MEMBERS = ("data.pkl", "one.dcm", "tiny-1.dist-info/METADATA", "tiny/weights.bin")
CONTENT = bytes(range(256)) * 8
METHOD_AT, SIZE_AT, DATA_AT = 8, 18, 30
"""In the header before a member; its name follows."""

READERS: dict[str, Callable[[Path], object]] = {
    "DICOM": list_series,
    "checkpoint": load_state_dict,
    "wheel": read_wheel,
    "archive": lambda path: extract_member(path, "tiny/weights.bin", path.with_name("taken")),
}
METHODS = {"deflate": zipfile.ZIP_DEFLATED, "bzip2": zipfile.ZIP_BZIP2, "lzma": zipfile.ZIP_LZMA}


def zipped(path: Path, method: int, damage: Callable[[bytearray, int], None]) -> Path:
    """A zip whose members are all damaged, each from where its own header begins."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        for name in MEMBERS:
            archive.writestr(name, CONTENT)
        starts = [info.header_offset for info in archive.infolist()]
    content = bytearray(target.getvalue())
    for start in starts:
        damage(content, start)
    path.write_bytes(content)
    return path


def noise(content: bytearray, start: int) -> None:
    """Other bytes behind the name, where the method keeps what it needs."""
    first = start + DATA_AT + int.from_bytes(content[start + 26 : start + 28], "little") + 4
    content[first : first + 20] = b"\xff" * 20


def no_header(content: bytearray, start: int) -> None:
    content[start : start + 4] = b"none"


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("damage", [noise, no_header])
def test_damaged_members_are_refused(reader: str, method: str, damage: Callable[..., None], tmp_path: Path):
    with pytest.raises(InputError):
        READERS[reader](zipped(tmp_path / "a.zip", METHODS[method], damage))


@pytest.mark.parametrize("reader", READERS)
def test_members_that_end_too_soon_are_refused(reader: str, tmp_path: Path):
    """Stored, and said to be longer than the file."""
    path = zipped(tmp_path / "a.zip", zipfile.ZIP_STORED, lambda _content, _start: None)
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        at = archive.start_dir
    listed = content[at:].replace(len(CONTENT).to_bytes(4, "little"), (1 << 30).to_bytes(4, "little"))
    path.write_bytes(content[:at] + listed)
    with pytest.raises(InputError):
        READERS[reader](path)


def test_a_member_without_a_name_is_refused_as_no_dicom(tmp_path: Path):
    path = tmp_path / "study.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("", "one.dcm"):
            archive.writestr(zipfile.ZipInfo(name), CONTENT)
    with pytest.raises(InputError, match=r"study\.zip: file 1 of 2 in name order is not DICOM"):
        list_series(path)
