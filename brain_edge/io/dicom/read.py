"""Reading of a DICOM series as a Volume: every slice is decoded, rescaled and placed by its position."""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np

from brain_edge.errors import BrainEdgeError, InputError
from brain_edge.image.volume import Volume
from brain_edge.io.dicom.coded import JPEG_FAMILY, require_stated_sides
from brain_edge.io.dicom.container import open_container
from brain_edge.io.dicom.library import discreet, import_pydicom
from brain_edge.io.dicom.series import require_readable
from brain_edge.io.dicom.transfer import require_codec
from brain_edge.machine.process import require_free

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from brain_edge.image.volume import FloatArray
    from brain_edge.io.dicom.container import Container, DicomPart
    from brain_edge.io.dicom.instance import DicomFrame
    from brain_edge.io.dicom.series import SeriesInfo


_SOP_INSTANCE_UID: Final = 0x00080018


@dataclass(frozen=True)
class DicomSource:
    """Origin of a volume, with all facts that are needed to write a result beside it, without pixels.

    Attributes:
        root: folder, file or zip of the series.
        name: name of the series in messages.
        transfer_syntax: transfer syntax of its files.
        frames: frames in the order of K.
    """

    root: Path
    name: str
    transfer_syntax: str
    frames: tuple[DicomFrame, ...]

    def parts(self) -> dict[DicomPart, list[int]]:
        """The slices (index along K) of each file; the files are in the order of their first slice."""
        found: dict[DicomPart, list[int]] = {}
        for k, frame in enumerate(self.frames):
            found.setdefault(frame.part, []).append(k)
        return found


def read_series(info: SeriesInfo) -> Volume:
    """Decode a series.

    Returns:
        Volume of float32 voxels (I, J, K) = (column, row, slice) in Fortran order, with rescale applied, a RAS+ affine,
        and a `DicomSource` as `header`.

    Raises:
        InputError: the series has a problem, a file has changed since it was listed, or its pixels are truncated.
        MissingExtraError: the codec of the series is not installed.
    """
    require_readable(info)
    assert info.geometry is not None  # noqa: S101 - a readable series has a grid
    source = DicomSource(info.root, info.name, info.transfer_syntax, info.frames)
    require_codec(info.transfer_syntax)
    columns, rows, slices = info.geometry.shape
    voxels: FloatArray | None = None
    with open_container(info.root) as container, discreet():
        for k, plane in _planes(container, source):
            if voxels is None:  # only now, because a damaged header can announce more slices than memory holds
                require_free(slices * rows * columns * 4, f"{info.root}: {info.name}")
                voxels = np.empty((slices, rows, columns), dtype=np.float32)
            frame = source.frames[k]
            # in float64: float32 would lose digits of a large intercept
            voxels[k] = plane if (frame.slope, frame.intercept) == (1, 0) else plane * frame.slope + frame.intercept
    assert voxels is not None  # noqa: S101 - the same
    return Volume(voxels.T, info.geometry, f"{info.root}: {info.name}", source)


def read_headers(source: DicomSource) -> list[Any]:
    """Read the data sets (without pixels) of the files of a series, in the order of their first slice.

    Raises:
        InputError: a file is missing, or has changed since the series was read.
    """
    pydicom = import_pydicom()
    datasets = []
    with open_container(source.root) as container, discreet():
        for part, places in source.parts().items():
            with container.stream(part) as stream, _in_words(source, part):
                dataset = pydicom.dcmread(stream, stop_before_pixels=True)
                _require_unchanged(dataset, source.frames[places[0]], source)
            datasets.append(dataset)
    return datasets


def _planes(container: Container, source: DicomSource) -> Iterator[tuple[int, Any]]:
    """Yield every slice as its index along K and its stored values (J, I), in the order of the files."""
    pydicom = import_pydicom()
    for part, places in source.parts().items():
        frames = [source.frames[k] for k in places]
        header = pydicom.Dataset()
        asked = {"ds_out": header, "specific_tags": [_SOP_INSTANCE_UID], "indices": [frame.number for frame in frames]}
        with container.stream(part) as stream, _in_words(source, part):
            if source.transfer_syntax.startswith(JPEG_FAMILY):
                require_stated_sides(stream, (frames[0].rows, frames[0].columns))
            pixels: Any = pydicom.pixels.iter_pixels(_inflated(stream, source.transfer_syntax), **asked)
            with closing(pixels):  # while the stream is open, because it seeks in it when it ends
                for k, frame, plane in zip(places, frames, pixels, strict=True):
                    _require_unchanged(header, frame, source)
                    if plane.shape != (frame.rows, frame.columns):
                        raise _changed(source, part)
                    yield k, plane


def _inflated(stream: BinaryIO, transfer_syntax: str) -> BinaryIO:
    """Return the stream, or an inflated copy if the whole data set is deflated, which `iter_pixels` cannot read."""
    pydicom = import_pydicom()
    if transfer_syntax != pydicom.uid.DeflatedExplicitVRLittleEndian:
        return stream
    dataset, copy = pydicom.dcmread(stream), BytesIO()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.save_as(copy)
    copy.seek(0)
    return copy


def _require_unchanged(dataset: Any, frame: DicomFrame, source: DicomSource) -> None:
    if str(dataset.get("SOPInstanceUID", "")).strip() != frame.sop_uid:
        raise _changed(source, frame.part)


def _changed(source: DicomSource, part: DicomPart) -> InputError:
    return InputError(f"{source.root}: {source.name}: {part.place} has changed since it was listed; start again")


@contextmanager
def _in_words(source: DicomSource, part: DicomPart) -> Iterator[None]:
    """Replace the errors of pydicom and codecs on a damaged file, which may quote the patient, by one sentence."""
    try:
        yield
    except BrainEdgeError:
        raise
    except Exception as error:  # noqa: BLE001 - see above
        raise InputError(
            f"{source.root}: {source.name}: {part.place} cannot be decoded ({type(error).__name__}): "
            "it is truncated or damaged; copy or export it again"
        ) from None
