"""DICOM secondary capture of a picture (QC), with RESEARCH ONLY in its pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from brain_edge.errors import InputError
from brain_edge.io.dicom.algorithm import RESEARCH_ONLY
from brain_edge.io.dicom.library import import_highdicom
from brain_edge.io.dicom.target import UTF_8, building, equipment, new_instance, origin_of, save

if TYPE_CHECKING:
    from pathlib import Path

    from brain_edge.image.volume import Volume
    from brain_edge.io.dicom.algorithm import Algorithm

SERIES_NUMBER: Final = 9903
BANNER_SHARE: Final = 0.04
"""Height of the banner as a share of the width of the picture."""
BANNER: Final = f"{RESEARCH_ONLY} - NOT FOR DIAGNOSIS OR TREATMENT"


def write_picture(picture: Path | str, volume: Volume, algorithm: Algorithm, path: Path | str) -> None:
    """Write a PNG, such as one by `write_mosaic`, as RGB secondary capture beside the series, atomically.

    A banner is always added above the picture, so that a picture that is separated from its report keeps it.

    Args:
        picture: path of a PNG that does not identify the patient, as the object declares (BurnedInAnnotation NO).
        volume: volume returned by `read_series`.
        algorithm: facts of the package, the same as for the SEG.
        path: path of the secondary capture.

    Raises:
        UsageError: the volume is not DICOM.
        InputError: `picture` cannot be read, or the series has changed.
        OutputError: the secondary capture cannot be made or written.
    """
    _, headers = origin_of(volume)
    hd = import_highdicom()
    pixels = _with_banner(picture)
    with building("picture", volume.name):
        dataset = hd.sc.SCImage.from_ref_dataset(
            headers[0],
            pixel_array=pixels,
            photometric_interpretation=hd.PhotometricInterpretationValues.RGB,
            bits_allocated=8,
            coordinate_system=hd.CoordinateSystemNames.PATIENT,
            patient_orientation=("L", "F"),  # highdicom requires it
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            specific_character_set=UTF_8,
            **new_instance(SERIES_NUMBER),
            **equipment(algorithm),
        )
        dataset.PatientOrientation = None  # a mosaic of three planes has none (type 2C: may be empty)
        dataset.Laterality = None  # type 2C as well
        dataset.BurnedInAnnotation = "NO"
    save(dataset, path)


def _with_banner(picture: Path | str) -> Any:
    """Return the picture (rows, columns, 3) uint8 below a banner of white words on red."""
    from PIL import Image, ImageDraw, ImageFont

    try:
        with Image.open(picture) as opened:
            image = opened.convert("RGB")
    except OSError as error:
        raise InputError(
            f"{picture}: expected a PNG picture, could not read the file; write the picture again"
        ) from error
    height = max(16, round(BANNER_SHARE * image.width))
    sheet = Image.new("RGB", (image.width, image.height + height), "#B00000")
    sheet.paste(image, (0, height))
    font = ImageFont.load_default(size=height * 0.6)
    ImageDraw.Draw(sheet).text((image.width / 2, height / 2), BANNER, fill="white", font=font, anchor="mm")
    return np.asarray(sheet)
