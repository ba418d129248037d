"""Small files that would unpack to gigabytes are refused before they do, and the memory of this process stays."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import tarfile
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
import pytest
import torch
from dicom_series import SHAPE, Series

from brain_edge.deploy.unpack import extract_member
from brain_edge.deploy.wheelhouse.wheels import read_wheel
from brain_edge.errors import InputError
from brain_edge.io.dicom import list_series, read_series
from brain_edge.io.nifti import read_volume
from brain_edge.jobs.record import read_case_record
from brain_edge.machine.paths import MOST_SMALL_BYTES, read_small
from brain_edge.machine.process import peak_rss_bytes
from brain_edge_conversion.folders.monai_config import Config
from brain_edge_conversion.folders.reading import read_yaml
from brain_edge_conversion.weights.checkpoint import load_state_dict, weights_format
from brain_edge_conversion.weights.choice import chosen_set

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB = 2**20
MOST_GROWTH = 96 * MIB


@pytest.fixture(autouse=True)
def _little_memory() -> Iterator[None]:
    """What each test reads takes less memory than what it promises."""
    before = peak_rss_bytes()
    yield
    assert peak_rss_bytes() - before < MOST_GROWTH


def zeros(mebibytes: int) -> Iterator[bytes]:
    return (bytes(MIB) for _ in range(mebibytes))


def deflated(parts: Iterator[bytes]) -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    return b"".join(map(packer.compress, parts)) + packer.flush()


def image(path: Path, sides: tuple[int, int, int], after: int = 0, spacing: float = 1.0) -> Path:
    """A compressed image of zeros (uint8) with `after` MiB of zeros behind its voxels."""
    header = nibabel.Nifti1Header()
    header.set_data_shape(sides)
    header.set_data_dtype(np.uint8)
    header.set_sform(np.diag([spacing] * 3 + [1]), code=1)
    header["pixdim"][1:4] = spacing
    header["vox_offset"] = 352
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(header.binaryblock + b"\0\0\0\0")
        file.write(bytes(min(int(np.prod(sides, dtype=np.int64)), MIB)))
        for part in zeros(after):
            file.write(part)
    return path


def test_an_image_of_more_voxels_than_any_head_has(tmp_path: Path):
    """The 1100^3 zeros of a file of 1.3 MB took 5.3 GB."""
    path = image(tmp_path / "head.nii.gz", (1100, 1100, 1100))
    with pytest.raises(InputError, match=r"expected at most 1073741824 voxels, got 1100 x 1100 x 1100; resample"):
        read_volume(path)


def test_an_image_with_gigabytes_behind_its_voxels(tmp_path: Path):
    path = image(tmp_path / "head.nii.gz", (100, 100, 100), after=80)
    with pytest.raises(InputError, match=r"expected the file to end after its voxels, got over 64 MiB more; export"):
        read_volume(path)


def test_a_dicom_data_set_that_is_deflated_to_far_more(tmp_path: Path):
    """Pydicom inflates a data set at once, 200 MiB here from 200 KiB; a real one is read as before."""
    import pydicom

    (dataset, *_) = Series().datasets()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    content = buffer.getvalue()
    start = 144 + int.from_bytes(content[140:144], "little")
    (tmp_path / "bomb").mkdir()
    whole = zlib.decompress(content[start:], -zlib.MAX_WBITS)
    (tmp_path / "bomb" / "1.dcm").write_bytes(content[:start] + deflated(iter([whole, *zeros(200)])))
    with pytest.raises(InputError, match=r"file 1 of 1 in name order unpacks to more than 100 times its size, as no"):
        list_series(tmp_path / "bomb")
    (tmp_path / "bomb" / "1.dcm").write_bytes(content)
    assert len(list_series(tmp_path / "bomb")) == 1


def restated(syntax: str, sides: tuple[int, int]) -> Series:
    """A compressed series whose frames state other rows and columns than their headers."""
    import pydicom

    def edit(_k: int, dataset: Any) -> None:
        dataset.compress(syntax, generate_instance_uid=False)
        (frame,) = pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1)
        frame = bytearray(frame)
        if syntax == pydicom.uid.JPEG2000Lossless:
            place = frame.index(b"\xff\x4f\xff\x51")
            for start in (place + 8, place + 24):  # the image, and its only tile
                frame[start : start + 8] = struct.pack(">II", sides[1], sides[0])
        else:
            place = frame.index(b"\xff\xf7")
            frame[place + 5 : place + 9] = struct.pack(">HH", *sides)
        dataset.PixelData = pydicom.encaps.encapsulate([bytes(frame)])

    return Series(edit=edit)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.80"], ids=["JPEG 2000", "JPEG-LS"])
def test_a_compressed_slice_that_is_larger_than_its_header_says(syntax: str, tmp_path: Path):
    """A codec believes the stream: 20 000 x 20 000 voxels took 0.8 GB before their shape could be compared."""
    (info,) = list_series(restated(syntax, (20_000, 20_000)).write(tmp_path / "bomb"))
    words = r"expected compressed frames of 37 x 34 by the header, got 20000 x 20000; export it again"
    with pytest.raises(InputError, match=words):
        read_series(info)
    (info,) = list_series(restated(syntax, SHAPE[1::-1]).write(tmp_path / "right"))
    np.testing.assert_array_equal(np.sort(read_series(info).voxels.ravel()), np.sort(Series().values.ravel()))


def test_a_checkpoint_whose_members_unpack_to_far_more(tmp_path: Path):
    """torch.save stores tensors as they are; a zip of deflated ones gives 200 MiB of zeros for 200 KiB."""
    torch.save({"weight": torch.zeros(4)}, tmp_path / "net.pt")
    assert weights_format(tmp_path / "net.pt").value == "torch.save"
    with (
        zipfile.ZipFile(tmp_path / "net.pt") as source,
        zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as bomb,
    ):
        for name in source.namelist():
            with bomb.open(name, "w") as member:
                for part in zeros(200) if "/data/" in name else [source.read(name)]:
                    member.write(part)
    with pytest.raises(InputError, match=r"bomb\.pt: the checkpoint unpacks to more than 100 times its size, as none"):
        load_state_dict(tmp_path / "bomb.pt")


def test_members_that_share_their_bytes(tmp_path: Path):
    """A zip may name one stretch of bytes a thousand times; each name counts with what it unpacks to."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("0.dcm", bytes(MIB))
    with zipfile.ZipFile(tmp_path / "a.zip", "a") as archive:
        for number in range(1, 300):
            info = zipfile.ZipInfo(f"{number}.dcm")
            first = archive.filelist[0]
            info.file_size, info.compress_size, info.CRC = first.file_size, first.compress_size, first.CRC
            info.header_offset = first.header_offset
            archive.filelist.append(info)
        vars(archive)["_didModify"] = True  # so that it writes its list of members
    assert (tmp_path / "a.zip").stat().st_size < 2 * MIB
    with pytest.raises(InputError, match="the zip unpacks to more than 100 times its size"):
        list_series(tmp_path / "a.zip")


def test_an_archive_that_hides_its_member_behind_gigabytes(tmp_path: Path):
    """A tar is read from its start: 200 MiB of zeros must be unpacked to see what comes after them."""
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz", compresslevel=1) as archive:
        for name, size in (("zeros", 200 * MIB), ("member", 4)):
            info = tarfile.TarInfo(name)
            info.size = size
            archive.addfile(info, Zeros(size))
    with pytest.raises(InputError, match=r"a\.tar\.gz: the archive unpacks to more than 100 times its size; fetch it"):
        extract_member(tmp_path / "a.tar.gz", "member", tmp_path / "out")


class Zeros(io.RawIOBase):
    """As many zeros as are asked for."""

    def __init__(self, size: int) -> None:
        self._left = size

    def read(self, size: int = -1) -> bytes:
        given = self._left if size < 0 else min(size, self._left)
        self._left -= given
        return bytes(given)


def test_a_wheel_with_gigabytes_of_metadata(tmp_path: Path):
    path = tmp_path / "a-1-py3-none-any.whl"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as wheel,
        wheel.open("a-1.dist-info/METADATA", "w") as member,
    ):
        for part in zeros(200):
            member.write(part)
    with pytest.raises(InputError, match=r"expected a wheel \(\.whl\) with metadata, but could not read it: metadata"):
        read_wheel(path)


def test_a_file_of_text_of_terabytes(tmp_path: Path):
    """A sparse file costs its maker nothing."""
    with (tmp_path / "head_record.json").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(InputError, match=f"expected a file of at most {MOST_SMALL_BYTES} bytes, got more"):
        read_small(tmp_path / "head_record.json")
    assert read_case_record(tmp_path / "head_record.json") is None


ALIASES = "\n".join(
    [f"a0: &a0 [{', '.join('x' * 9)}]", *(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, 9))]
)
MERGES = "\n".join(["a0: &a0 {k: 1}", *(f"a{k}: &a{k} {{<<: [{', '.join([f'*a{k - 1}'] * 9)}]}}" for k in range(1, 9))])


@pytest.mark.parametrize("text", [ALIASES, MERGES, "a: &a [*a]"], ids=["aliases", "merges", "itself"])
def test_yaml_that_multiplies(text: str, tmp_path: Path):
    """Nine aliases of nine aliases: 400 million values in a kilobyte. Merges are copied already while they are read."""
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(InputError, match=r"expected at most 100000 values, got more \(YAML aliases repeat them\)"):
        read_yaml(tmp_path / "a.yaml", "a program")


def test_references_of_a_bundle_that_multiply(tmp_path: Path):
    """Forty lists that each name the next one ten times: a bundle is read before anybody trusts it."""
    content = {f"b{k}": [f"@b{k + 1}"] * 10 for k in range(40)} | {"b40": 1}
    config = Config(tmp_path / "inference.json", content)
    words = r"expected at most 100000 values at roi\S*, got more \(references repeat them\)"
    with pytest.raises(InputError, match=words):
        config.data("@b0", "roi")


def test_yaml_with_aliases_and_merges_is_read(tmp_path: Path):
    (tmp_path / "a.yaml").write_text("a: &a {x: 1, y: [1, 2]}\nb: {<<: *a, x: 3}\nc: *a\n")
    given = {"x": 1, "y": [1, 2]}
    assert read_yaml(tmp_path / "a.yaml", "a program") == {"a": given, "b": {"x": 3, "y": [1, 2]}, "c": given}
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert read_yaml(tmp_path / "empty.yaml", "a program") is None


def nested(width: int, levels: int, innermost: Any) -> Any:
    """A mapping of `width` names of one mapping of `width` names, and so on: a pickle holds each once."""
    held = innermost
    for _ in range(levels):
        held = dict.fromkeys(map(str, range(width)), held)
    return held


def test_a_checkpoint_of_mappings_that_are_one():
    """A thousand names three times over: a billion mappings to look at, of which a pickle keeps three."""
    network = torch.nn.Linear(2, 2)
    content = {"weights": network.state_dict(), "more": nested(1000, 3, {"other": torch.zeros(1)})}
    assert len(pickle.dumps(nested(1000, 3, {}))) < 100_000
    assert chosen_set(torch.nn.Linear(2, 2), content, "net.pt").key == "weights"
