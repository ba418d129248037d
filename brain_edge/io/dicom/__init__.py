"""DICOM in, DICOM out: MR series to a Volume, and results as SEG, SR and secondary capture (extra `dicom`)."""

from brain_edge.io.dicom.algorithm import RESEARCH_ONLY, Algorithm, algorithm_of
from brain_edge.io.dicom.container import holds_dicom
from brain_edge.io.dicom.read import DicomSource, read_series
from brain_edge.io.dicom.report_sr import write_report
from brain_edge.io.dicom.secondary_capture import write_picture
from brain_edge.io.dicom.seg import SegEncoding, SegOptions, write_seg
from brain_edge.io.dicom.sequence_type import SequenceType
from brain_edge.io.dicom.series import (
    SeriesInfo,
    SeriesKind,
    choose_series,
    list_series,
    require_one_frame_of_reference,
    require_one_study,
)

__all__ = [
    "RESEARCH_ONLY",
    "Algorithm",
    "DicomSource",
    "SegEncoding",
    "SegOptions",
    "SequenceType",
    "SeriesInfo",
    "SeriesKind",
    "algorithm_of",
    "choose_series",
    "holds_dicom",
    "list_series",
    "read_series",
    "require_one_frame_of_reference",
    "require_one_study",
    "write_picture",
    "write_report",
    "write_seg",
]
