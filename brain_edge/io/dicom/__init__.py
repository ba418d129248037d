"""DICOM input and output: MR series to a Volume, results to SEG, SR and secondary capture (extra `dicom`)."""

from brain_edge.io.dicom.algorithm import RESEARCH_ONLY as RESEARCH_ONLY
from brain_edge.io.dicom.algorithm import Algorithm as Algorithm
from brain_edge.io.dicom.algorithm import algorithm_of as algorithm_of
from brain_edge.io.dicom.container import holds_dicom as holds_dicom
from brain_edge.io.dicom.read import DicomSource as DicomSource
from brain_edge.io.dicom.read import read_series as read_series
from brain_edge.io.dicom.report_sr import write_report as write_report
from brain_edge.io.dicom.secondary_capture import write_picture as write_picture
from brain_edge.io.dicom.seg import SegEncoding as SegEncoding
from brain_edge.io.dicom.seg import SegOptions as SegOptions
from brain_edge.io.dicom.seg import write_seg as write_seg
from brain_edge.io.dicom.series import SeriesInfo as SeriesInfo
from brain_edge.io.dicom.series import SeriesKind as SeriesKind
from brain_edge.io.dicom.series import choose_series as choose_series
from brain_edge.io.dicom.series import list_series as list_series
from brain_edge.io.dicom.series import require_one_visit as require_one_visit
