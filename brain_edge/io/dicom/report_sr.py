"""Structured report (TID 1500) of the volumes of a segmentation; it refers to the segments of a SEG."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from brain_edge.errors import InputError
from brain_edge.io.dicom.algorithm import MANUFACTURER, remarks
from brain_edge.io.dicom.codes import BRAIN
from brain_edge.io.dicom.library import discreet, import_highdicom, import_pydicom
from brain_edge.io.dicom.seg import concept
from brain_edge.io.dicom.target import UTF_8, building, equipment, new_instance, origin_of, save
from brain_edge.spec import Code

if TYPE_CHECKING:
    from pathlib import Path

    from brain_edge.image.volume import Volume
    from brain_edge.io.dicom.algorithm import Algorithm, Segment
    from brain_edge.io.dicom.segmented import Segmented

SERIES_NUMBER: Final = 9902

_BRAIN_MRI: Final = Code(scheme="LN", value="24590-2", meaning="Brain MRI")
_REPORT: Final = Code(scheme="DCM", value="126000", meaning="Imaging Measurement Report")
_VOLUME: Final = Code(scheme="SCT", value="118565006", meaning="Volume")
_CUBIC_CENTIMETRE: Final = Code(scheme="UCUM", value="cm3", meaning="cubic centimeter")
_DEVICE: Final = Code(scheme="DCM", value="121007", meaning="Device")
_COMMENT: Final = Code(scheme="DCM", value="121106", meaning="Comment")
_AI: Final = Code(scheme="DCM", value="123110", meaning="Artificial Intelligence")


def write_report(
    segmentation: Segmented, volume: Volume, algorithm: Algorithm, seg: Path | str, path: Path | str
) -> None:
    """Write the volume of every label (in cm3, equal to ml) as Comprehensive SR, atomically.

    The comment of the report begins with RESEARCH ONLY and contains the plausibility flags in full. The report is
    marked as neither complete, final nor verified, because nobody has checked it.

    Args:
        segmentation: segmentation from which `seg` was written.
        volume: volume returned by `read_series`.
        algorithm: facts of the package, the same as for the SEG.
        seg: path of the SEG that `write_seg` wrote.
        path: path of the report.

    Raises:
        UsageError: the volume is not DICOM.
        InputError: `seg` is not a segmentation, or the series has changed.
        OutputError: the report cannot be made or written.
    """
    _, headers = origin_of(volume)
    segments = _read_segmentation(seg)
    with building("report", volume.name):
        content = _measurements(segmentation, algorithm, segments)
        dataset = import_highdicom().sr.ComprehensiveSR(
            evidence=[segments, *headers],
            content=content[0],
            is_complete=False,
            is_final=False,
            specific_character_set=UTF_8,
            **new_instance(SERIES_NUMBER),
            **equipment(algorithm),
        )
    save(dataset, path)


def _read_segmentation(path: Path | str) -> Any:
    pydicom = import_pydicom()
    try:
        with discreet():
            dataset = pydicom.dcmread(path, stop_before_pixels=True)
            modality = dataset.get("Modality")
    except Exception:  # noqa: BLE001 - pydicom raises whatever a damaged header trips, and quotes values
        raise InputError(
            f"{path}: expected a DICOM SEG for the report, could not read the file; write the SEG again"
        ) from None
    if modality != "SEG":
        raise InputError(f"{path}: expected a DICOM SEG for the report, got another DICOM object; give the SEG")
    return dataset


def _measurements(segmentation: Segmented, algorithm: Algorithm, seg: Any) -> Any:
    sr = import_highdicom().sr
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=_observer(algorithm)),
        procedure_reported=concept(_BRAIN_MRI),
        imaging_measurements=[_group(segmentation, algorithm, segment, seg) for segment in algorithm.segments],
        title=concept(_REPORT),
    )
    words = f"{remarks(segmentation.flags)}; package SHA-256 {algorithm.digest}"
    # TID 1500 is extensible; nothing in it has room for a free remark
    comment = sr.TextContentItem(concept(_COMMENT), words, sr.RelationshipTypeValues.CONTAINS)
    report[0].ContentSequence.append(comment)
    return report


def _observer(algorithm: Algorithm) -> Any:
    hd = import_highdicom()
    attributes = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=hd.UID(),
        name=MANUFACTURER,
        manufacturer_name=MANUFACTURER,
        model_name=algorithm.name,
        serial_number=algorithm.digest[:16],
    )
    return hd.sr.ObserverContext(observer_type=concept(_DEVICE), observer_identifying_attributes=attributes)


def _group(segmentation: Segmented, algorithm: Algorithm, segment: Segment, seg: Any) -> Any:
    """Make one measurement group: the segment and its volume."""
    sr = import_highdicom().sr
    # by segment number, because a LABELMAP has the background first, as number 0
    described = next(item for item in seg.SegmentSequence if item.SegmentNumber == segment.number)
    volume_cm3 = round(segmentation.mask.volume_ml(segment.label), 4)
    source = seg.ReferencedSeriesSequence[0].SeriesInstanceUID
    site = [sr.FindingSite(concept(BRAIN))] if segment.coded.is_abnormal else None
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=described.TrackingUID, identifier=described.TrackingID),
        referenced_segment=sr.ReferencedSegment(
            seg.SOPClassUID,
            seg.SOPInstanceUID,
            segment.number,
            source_series=sr.SourceSeriesForSegmentation(source),
        ),
        finding_category=concept(segment.coded.category.value),
        finding_type=concept(segment.coded.type),
        finding_sites=site,
        algorithm_id=sr.AlgorithmIdentification(
            name=algorithm.name,
            version=algorithm.version,
            parameters=[f"{name}={value}" for name, value in algorithm.parameters.items()],
            family=concept(_AI),
            manufacturer=MANUFACTURER,
        ),
        measurements=[sr.Measurement(concept(_VOLUME), volume_cm3, concept(_CUBIC_CENTIMETRE))],
    )
