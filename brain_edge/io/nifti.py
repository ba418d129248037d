"""Reading of NIfTI and MGH files, and writing of NIfTI files on the grid of the input file.

ISA-L decompresses the voxels, which are converted block by block. Neither the raw voxels nor a float64 copy is ever in
memory as a whole.
"""

from __future__ import annotations

import gzip
import math
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
from isal import igzip
from isal.igzip_lib import IsalError

from brain_edge.errors import GeometryError, InputError, UsageError
from brain_edge.image.volume import Volume
from brain_edge.io.header import FETCHES, HEADER_BYTES, ImageHeader, fields_like, parse_header, require_same_grid
from brain_edge.machine.atomic import atomic_file
from brain_edge.machine.process import require_free

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from brain_edge.image.geometry import Geometry
    from brain_edge.image.volume import FloatArray, Mask

Array: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[Any]]

SUFFIXES: Final = (".nii", ".nii.gz")
"""Suffixes of files that can be written."""

DESCRIPTION_BYTES: Final = 79
"""Maximum number of bytes of text in NIfTI's `descrip`."""

_BLOCK_BYTES: Final = 1 << 20  # small enough for the cache: twice as fast as one large read
_MOST_BLOCKS_AFTER: Final = 64  # the tags of an MGH have some kilobytes
_GZIP_LEVEL: Final = 2
_GZIP_BEST_RATIO: Final = 1032  # DEFLATE cannot do better, so a header that promises more voxels is wrong


def read_volume(path: Path | str) -> Volume:
    """Read one volume from `.nii`, `.nii.gz`, `.mgz` or `.mgh`.

    Returns:
        Volume of float32 voxels (I, J, K) in Fortran order, with scaling applied and the file's fields as `header`.

    Raises:
        InputError: the file is missing, truncated or another format; or it has several volumes, NaN, infinity, or one
            value everywhere.
        GeometryError: the grid is missing, contradictory or singular.
    """
    path = Path(path)
    header, voxels = _read(path, raw=False)
    return Volume(voxels, header.geometry, str(path), header.fields)


def read_numbers(path: Path | str) -> tuple[Array, Geometry]:
    """Read the numbers of one volume with scaling applied, for label maps, which may be empty.

    Returns:
        Numbers (I, J, K) in Fortran order, of the file's own type or float64, and the grid.

    Raises:
        InputError: the file is missing, truncated or another format, or has several volumes.
        GeometryError: the grid is missing, contradictory or singular.
    """
    header, voxels = _read(Path(path), raw=True)
    return _intensities(voxels, header), header.geometry


def read_geometry(path: Path | str) -> Geometry:
    """Read the grid of one volume from its header alone.

    Raises:
        InputError: the file is missing, or is another format.
        GeometryError: the grid is missing, contradictory or singular.
    """
    path = Path(path)
    with _in_words(path), _decompressed(path) as (stream, _):
        return parse_header(stream.read(HEADER_BYTES), path.name).geometry


def write_mask(mask: Mask, like: Volume, path: Path | str, description: str = "") -> None:
    """Write a label map (uint8) on the grid of its source volume, atomically.

    sform, qform, their codes, pixdim and units are copied from the input file to the bit. Text fields and extensions,
    which may name the patient, are not copied. Equal masks give equal bytes.

    Args:
        mask: label map on the grid of `like`.
        like: volume returned by `read_volume`; without a NIfTI header, both transforms get code 1.
        path: path that ends in `.nii` or `.nii.gz`.
        description: provenance for `descrip`, ASCII, cut to 79 characters.

    Raises:
        UsageError: the path has another suffix.
        GeometryError: the mask lies on another grid.
        OutputError: the file cannot be written.
    """
    require_same_grid(like.geometry, mask.geometry, f"{like.name} and its mask")
    fields = fields_like(like.header, like.geometry, mask.labels.dtype)
    _write(fields, [mask.labels], path, description)


def write_image(volume: Volume, path: Path | str, description: str = "") -> None:
    """Write intensities as a float32 NIfTI on their own grid, atomically.

    Raises:
        UsageError: the path has another suffix than `.nii` or `.nii.gz`.
        OutputError: the file cannot be written.
    """
    fields = fields_like(volume.header, volume.geometry, np.dtype(np.float32))
    _write(fields, [volume.voxels], path, description)


def write_probabilities(probabilities: FloatArray, like: Volume, path: Path | str, description: str = "") -> None:
    """Write probabilities (D, I, J, K) as a float32 NIfTI (I, J, K, D) on the grid of `like`, atomically.

    Raises:
        UsageError: the path has another suffix than `.nii` or `.nii.gz`.
        GeometryError: the shape differs from that of `like`.
        OutputError: the file cannot be written.
    """
    if probabilities.shape[1:] != like.geometry.shape:
        raise GeometryError(
            f"{like.name}: expected probabilities of the grid {like.geometry.shape}, got {probabilities.shape}"
        )
    fields = fields_like(like.header, like.geometry, np.dtype(np.float32), probabilities.shape[0])
    _write(fields, probabilities, path, description)


def write_stripped(source: Path | str, mask: Mask, path: Path | str, description: str = "") -> None:
    """Write the image `source` with everything outside of the mask set to zero, atomically.

    Voxel type and `scl_slope` stay, so that every voxel inside keeps the exact number of the file. If an intercept
    moves the zero, intensities are written as float32 instead.

    Raises:
        UsageError: the path has another suffix than `.nii` or `.nii.gz`.
        InputError: `source` cannot be read.
        GeometryError: the mask lies on another grid.
        OutputError: the file cannot be written.
    """
    source = Path(source)
    header, voxels = _read(source, raw=True)
    require_same_grid(header.geometry, mask.geometry, f"{source} and its mask")
    keeps_type = header.inter == 0
    if not keeps_type:
        voxels = _intensities(voxels, header).astype(np.float32)
    voxels[mask.labels == 0] = 0
    fields = fields_like(header.fields, header.geometry, voxels.dtype)
    fields["scl_slope"] = header.slope if keeps_type else 1
    _write(fields, [voxels], path, description)


def _read(path: Path, *, raw: bool) -> tuple[ImageHeader, Array]:
    """Read header and voxels (I, J, K) in Fortran order: float32 intensities, or the numbers of the file."""
    with _in_words(path), _decompressed(path) as (stream, most_bytes):
        header = parse_header(stream.read(HEADER_BYTES), path.name)
        if header.offset + header.voxel_bytes > most_bytes:
            raise _truncated(header)
        require_free(math.prod(header.geometry.shape) * _bytes_per_voxel(header, raw=raw), str(path))
        stream.seek(header.offset)
        dtype = header.dtype.newbyteorder("=") if raw else np.dtype(np.float32)
        voxels: Array = np.empty(math.prod(header.geometry.shape), dtype)
        start = 0
        for block in _blocks(stream, header):
            with np.errstate(over="ignore", invalid="ignore"):  # Volume refuses infinity
                voxels[start : start + block.size] = block if raw else _intensities(block, header)
            start += block.size
        _finish(stream)  # the checksum of a gzip stream is checked at its end
    return header, voxels.reshape(header.geometry.shape, order="F")


def _finish(stream: IO[bytes]) -> None:
    """Read what follows the voxels, of which a small gzip stream can promise gigabytes."""
    for _ in range(_MOST_BLOCKS_AFTER):
        if not stream.read(_BLOCK_BYTES):
            return
    raise InputError(
        f"expected the file to end after its voxels, got over {_MOST_BLOCKS_AFTER} MiB more; export the image again"
    )


def _bytes_per_voxel(header: ImageHeader, *, raw: bool) -> int:
    """Return the bytes that a voxel takes while it is read: float32, or the type of the file and its float64s."""
    return (header.dtype.itemsize + (16 if header.is_scaled else 0)) if raw else 4


def _intensities(voxels: Array, header: ImageHeader) -> Array:
    """Scale voxels in float64, because float32 would lose digits of 16-bit voxels with a large intercept."""
    if not header.is_scaled:
        return voxels
    return voxels.astype(np.float64) * header.slope + header.inter


def _blocks(stream: IO[bytes], header: ImageHeader) -> Iterator[Array]:
    """Yield the voxels of a file in blocks, in the file's order and type."""
    for start in range(0, header.voxel_bytes, _BLOCK_BYTES):
        wanted = min(_BLOCK_BYTES, header.voxel_bytes - start)
        block = stream.read(wanted)
        if len(block) < wanted:
            raise _truncated(header)
        yield np.frombuffer(block, header.dtype)


@contextmanager
def _decompressed(path: Path) -> Iterator[tuple[IO[bytes], int]]:
    """Open the content of a file, gzip or not; also return the largest size that it can have in bytes."""
    size = path.stat().st_size
    if not path.is_file():
        raise InputError(f"expected an image file, got {'a folder' if path.is_dir() else 'a device or pipe'}")
    if size == 0:
        raise InputError("expected an image, got an empty file (0 bytes); copy or export it again")
    with path.open("rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if not is_gzip:
            yield file, size
            return
        with igzip.IGzipFile(fileobj=file) as stream:
            yield stream, size * _GZIP_BEST_RATIO


@contextmanager
def _in_words(path: Path) -> Iterator[None]:
    """Name the file in every error, and translate errors of the system and of gzip."""
    try:
        yield
    except InputError as error:
        raise type(error)(f"{path}: {error}") from error
    except FileNotFoundError as error:
        if path.is_symlink():
            words = f"the link leads nowhere ({path.readlink()}); fetch the content ({FETCHES}), or correct the link"
            raise InputError(f"{path}: {words}") from error
        raise InputError(f"{path}: there is no such file; check the path") from error
    except PermissionError as error:
        raise InputError(f"{path}: no permission to read this file; change its permissions") from error
    except EOFError as error:
        raise InputError(f"{path}: the file is truncated (its gzip stream is incomplete); copy it again") from error
    except (gzip.BadGzipFile, IsalError) as error:  # type: ignore[misc]  # isal's stub declares an instance
        raise InputError(f"{path}: its gzip stream is damaged ({error}); copy it again") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); check its permissions") from error


def _truncated(header: ImageHeader) -> InputError:
    sides = " x ".join(map(str, header.geometry.shape))
    return InputError(
        f"the file is truncated: its header promises {sides} voxels ({header.voxel_bytes} bytes), "
        "but the file is shorter; copy or export it again"
    )


def _write(fields: Any, blocks: Iterable[Array], path: Path | str, description: str) -> None:
    """Write the header without extensions, then the blocks, each in Fortran order."""
    target = Path(path)
    if not target.name.lower().endswith(SUFFIXES):
        raise UsageError(f"{target}: expected an output that ends in {' or '.join(SUFFIXES)}, got {target.name!r}")
    fields["descrip"] = description.encode("ascii", "replace")[:DESCRIPTION_BYTES]
    dtype = fields.get_data_dtype()
    with atomic_file(target) as partial, _compressed(partial) as stream:
        stream.write(fields.binaryblock + b"\0\0\0\0")
        for block in blocks:
            stream.write(block.astype(dtype, copy=False).tobytes(order="F"))


@contextmanager
def _compressed(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for writing, gzip if its name says so, without time and name: equal content gives equal bytes."""
    with path.open("wb") as file:
        if not path.name.lower().endswith(".gz"):
            yield file
            return
        with igzip.IGzipFile(filename="", mode="wb", compresslevel=_GZIP_LEVEL, fileobj=file, mtime=0) as stream:
            yield stream
