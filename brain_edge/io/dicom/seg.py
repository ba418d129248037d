"""DICOM SEG of a label map, on the frames of its source series."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from brain_edge.errors import GeometryError, InputError, UsageError
from brain_edge.io.dicom.algorithm import RESEARCH_ONLY, content_description, remarks
from brain_edge.io.dicom.codes import BRAIN
from brain_edge.io.dicom.library import import_highdicom
from brain_edge.io.dicom.series import MR_IMAGE
from brain_edge.io.dicom.target import UTF_8, building, equipment, new_instance, origin_of, save

if TYPE_CHECKING:
    from pathlib import Path

    from brain_edge.image.volume import FloatArray, LabelArray, Volume
    from brain_edge.io.dicom.algorithm import Algorithm, Segment
    from brain_edge.io.dicom.instance import DicomFrame
    from brain_edge.io.dicom.segmented import Segmented
    from brain_edge.spec import Code
    from brain_edge.spec.plausibility import Flag

SHORT_TEXT: Final = 1024
"""Maximum number of characters of DICOM's ST."""

COLOURS: Final = ("#E69F00", "#56B4E9", "#F0E442", "#CC79A7", "#009E73", "#D55E00", "#0072B2")
"""Colours of the segments: Okabe and Ito (2008), distinguishable with any colour vision; they repeat after seven."""


class SegEncoding(StrEnum):
    """Storage of the segments in a SEG (0062,0001)."""

    BINARY = "binary"
    """One bit per voxel and segment; every viewer reads it."""
    FRACTIONAL = "fractional"
    """Probabilities of the network in 255 steps, before post-processing. Few viewers show them."""
    LABELMAP = "labelmap"
    """Segment numbers, one frame per slice (Supplement 243, 2024): small for many labels; few viewers read it yet."""


@dataclass(frozen=True, kw_only=True)
class SegOptions:
    """Options for writing a SEG.

    Attributes:
        encoding: storage of the segments.
        omit_empty_frames: True to omit frames without a voxel; False to write every frame, because some viewers have
            misplaced segments whose frames have gaps (OHIF issues 2833 and 3754).
        series_number: SeriesNumber of the new series.
    """

    encoding: SegEncoding = SegEncoding.BINARY
    omit_empty_frames: bool = True
    series_number: int = 9901


def write_seg(
    segmentation: Segmented,
    volume: Volume,
    algorithm: Algorithm,
    path: Path | str,
    options: SegOptions | None = None,
) -> None:
    """Write a segmentation beside its source series, atomically.

    Every frame has the position, orientation, pixel spacing, size and frame of reference of its source frame, and
    refers to it. Voxels are neither resampled nor reordered. The slice distance is the measured one.

    Args:
        segmentation: mask (and probabilities, for FRACTIONAL) on the grid of `volume`; flags go into descriptions.
        volume: volume returned by `read_series`.
        algorithm: facts of the package from `algorithm_of`, which refuses packages that must not write DICOM.
        path: path of the SEG.
        options: encoding and frames.

    Raises:
        UsageError: the volume is not DICOM, or FRACTIONAL is requested without probabilities.
        GeometryError: the mask lies on another grid.
        InputError: the mask contains a label that the package does not have, or the series has changed.
        OutputError: the SEG cannot be made or written.
    """
    options = options or SegOptions()
    if not volume.geometry.same_grid(segmentation.mask.geometry):
        raise GeometryError(f"{volume.name}: expected the mask on the grid of the series, got another grid")
    source, headers = origin_of(volume)
    hd = import_highdicom()
    with building("segmentation", volume.name):
        # slice index (K) of each frame, in the order of the source's files and frames
        frames = [k for ks in source.parts().values() for k in sorted(ks, key=lambda k: source.frames[k].number)]
        pixels = _pixels(segmentation, algorithm, options.encoding)[frames]
        _state_measures(headers, source.frames, volume.geometry.spacing_mm[2])
        sop_class = headers[0].SOPClassUID
        if len(headers) > 1 and "PerFrameFunctionalGroupsSequence" in headers[0]:
            _as_classic(headers, source.frames)
        dataset = hd.seg.Segmentation(
            source_images=headers,
            pixel_array=pixels,
            segmentation_type=options.encoding.name,
            segment_descriptions=[_describe(segment, algorithm, segmentation.flags) for segment in algorithm.segments],
            content_label="RESEARCH_ONLY",
            content_description=content_description(segmentation.flags),
            omit_empty_frames=options.omit_empty_frames and bool(segmentation.mask.labels.any()),
            specific_character_set=UTF_8,
            **new_instance(options.series_number),
            **equipment(algorithm),
        )
        dataset.ContentCreatorName = None  # type 2: there is no human creator
        for element in dataset.iterall():
            if element.keyword == "ReferencedSOPClassUID" and element.value == MR_IMAGE:
                element.value = sop_class
    save(dataset, path)


def _state_measures(headers: list[Any], frames: tuple[DicomFrame, ...], distance_mm: float) -> None:
    """Write the measured slice distance into the headers, from which highdicom copies.

    In otherwise sound series these attributes are missing, empty, the gap between slices, or wrong. highdicom, dcmqi
    and viewers place a SEG's frames by them. highdicom reads them, and the orientation, from the shared groups.
    """
    stated = {frame.thickness_mm for frame in frames}
    thickness_mm = stated.pop() if len(stated) == 1 else None
    measures = import_highdicom().PixelMeasuresSequence(
        frames[0].spacing_mm, thickness_mm if thickness_mm and thickness_mm > 0 else distance_mm, distance_mm
    )
    for header in headers:
        if groups := header.get("PerFrameFunctionalGroupsSequence"):
            shared = (header.get("SharedFunctionalGroupsSequence") or [type(header)()])[0]
            shared.setdefault("PlaneOrientationSequence", groups[frames[0].number].get("PlaneOrientationSequence"))
            shared.PixelMeasuresSequence, header.SharedFunctionalGroupsSequence = measures, [shared]
        else:
            header.update(measures[0])
            header.ImageOrientationPatient = headers[0].ImageOrientationPatient


def _as_classic(headers: list[Any], frames: tuple[DicomFrame, ...]) -> None:
    """Describe enhanced objects of one frame each as classic ones: highdicom takes a single enhanced object only."""
    for header, frame in zip(headers, frames, strict=True):
        header.update(header.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0])
        header.ImagePositionPatient = [*(frame.position_mm or ())]
        header.ImageOrientationPatient = [*(frame.orientation or ())]
        header.SOPClassUID = MR_IMAGE


def _pixels(segmentation: Segmented, algorithm: Algorithm, encoding: SegEncoding) -> Any:
    """Return segment numbers (K, J, I), or probabilities (K, J, I, segment)."""
    if encoding is not SegEncoding.FRACTIONAL:
        return _segment_numbers(segmentation.mask.labels, algorithm).transpose(2, 1, 0)
    if segmentation.probabilities is None:
        raise UsageError("FRACTIONAL needs probabilities; run the model with probabilities, or write BINARY")
    return np.stack([_probability(segmentation.probabilities, algorithm, s) for s in algorithm.segments], axis=-1)


def _segment_numbers(labels: LabelArray, algorithm: Algorithm) -> LabelArray:
    numbers = np.zeros(256, dtype=np.uint8)
    for segment in algorithm.segments:
        numbers[segment.label] = segment.number
    unknown = [int(label) for label in np.unique(labels) if label and not numbers[label]]
    if unknown:
        raise InputError(f"expected the labels of {algorithm.name} in the mask, got also {unknown}")
    return numbers[labels]


def _probability(probabilities: FloatArray, algorithm: Algorithm, segment: Segment) -> Any:
    """Return the sum of a label's channels, (K, J, I) float32, 0 to 1."""
    total = sum(probabilities[channel] for channel in algorithm.channels.get(segment.label, ()))
    if not isinstance(total, np.ndarray):
        raise UsageError(f"the network has no probability for {segment.name}; write BINARY")
    low, high = float(total.min()), float(total.max())
    if low < -1e-3 or high > 1 + 1e-3:
        raise UsageError(f"expected probabilities from 0 to 1, got {low:.3g} to {high:.3g}; write BINARY")
    return np.clip(total, 0.0, 1.0).transpose(2, 1, 0)


def _describe(segment: Segment, algorithm: Algorithm, flags: tuple[Flag, ...]) -> Any:
    hd = import_highdicom()
    description = hd.seg.SegmentDescription(
        segment_number=segment.number,
        segment_label=segment.name,
        segmented_property_category=concept(segment.coded.category.value),
        segmented_property_type=concept(segment.coded.type),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=algorithm.name,
            family=hd.sr.CodedConcept("123110", "DCM", "Artificial Intelligence"),
            version=algorithm.version,
            source="brain-edge",
            parameters=algorithm.parameters,
        ),
        tracking_uid=hd.UID(),
        tracking_id=f"{RESEARCH_ONLY} {segment.name}",
        anatomic_regions=[concept(BRAIN)] if segment.coded.is_abnormal else None,
        display_color=hd.color.CIELabColor.from_string(COLOURS[(segment.number - 1) % len(COLOURS)]),
    )
    words = f"{remarks(flags, segment.label)}; value {segment.label} of the label map"
    description.SegmentDescription = words[:SHORT_TEXT]
    return description


def concept(code: Code) -> Any:
    """Return a code as highdicom's CodedConcept."""
    return import_highdicom().sr.CodedConcept(code.value, code.scheme, code.meaning)
