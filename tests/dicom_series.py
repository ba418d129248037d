"""Synthetic DICOM series that tests share: a phantom cut into slices by pydicom, in every way scanners do it."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from brain_edge.errors import BrainEdgeError
from brain_edge.image.geometry import Geometry, axis_moves, is_orientation

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MR = "1.2.840.10008.5.1.4.1.1.4"
CT = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
SHAPE = (34, 37, 10)
"""Columns, rows, slices."""
SPACING_MM = (1.25, 1.5, 3.0)
ORIENTATIONS = sorted(
    "".join(letters) for letters in itertools.product("RLAPSI", repeat=3) if is_orientation("".join(letters))
)
OBLIQUE = np.linalg.qr(np.array([[-1.0, 0.2, 0.3], [0.25, -1.0, 0.4], [0.35, 0.3, 1.0]]))[0]
"""Directions of I, J, K (columns, RAS), tilted about every axis."""
if np.linalg.det(OBLIQUE) < 0:
    OBLIQUE[:, 2] *= -1

PATIENT = {
    "PatientName": "Marker^Patientname",
    "PatientID": "MARKERID4711",
    "PatientBirthDate": "19010203",
    "PatientSex": "F",
    "AccessionNumber": "MARKERACC",
    "StudyDescription": "Marker study",
    "ReferringPhysicianName": "Markerdoctor^House",
    "InstitutionName": "Marker hospital",
}
SECRETS = ("patientname", "markerid", "19010203", "markeracc", "markerdoctor", "marker hospital", "marker study")
"""What must never be in a message, a log record, a warning or a traceback (lower case)."""

T1_PROTOCOL = {
    "ScanningSequence": ["GR", "IR"],
    "SequenceVariant": ["SP", "MP"],
    "ScanOptions": "",
    "MRAcquisitionType": "3D",
    "RepetitionTime": "1900",
    "EchoTime": "2.97",
    "InversionTime": "1100",
    "FlipAngle": "15",
    "EchoTrainLength": "1",
    "SeriesDescription": "t1_mprage_tra",
    "ProtocolName": "t1_mprage_tra",
}
FLAIR_PROTOCOL = {
    **T1_PROTOCOL,
    "ScanningSequence": ["SE", "IR"],
    "RepetitionTime": "9000",
    "EchoTime": "95",
    "InversionTime": "2500",
    "SeriesDescription": "t2_flair_tra",
    "ProtocolName": "flair",
}


def grid(orientation: str = "LPS", *, oblique: bool = False) -> Geometry:
    """A grid of SHAPE whose I (columns), J (rows) and K (slices) grow in the given directions."""
    axes = {
        letter: sign * np.eye(3)[k]
        for k, pair in enumerate(("RL", "AP", "SI"))
        for letter, sign in zip(pair, (1, -1), strict=True)
    }
    directions = OBLIQUE if oblique else np.stack([axes[letter] for letter in orientation], axis=1)
    affine = np.eye(4)
    affine[:3, :3] = directions * SPACING_MM
    affine[:3, 3] = (12.5, -33.25, 48.125)
    return Geometry(SHAPE, affine)


def voxels(low: int = 0, high: int = 1000) -> np.ndarray:
    """(I, J, K) int32 between low and high, both of which occur; no two voxels nearby are the same."""
    values = np.random.default_rng(7).integers(low, high + 1, SHAPE)
    values.ravel()[[0, -1]] = low, high
    return values


@dataclass
class Series:
    """How to write a series; `edit` may change each data set (slice index, data set) before it is written."""

    geometry: Geometry = field(default_factory=grid)
    values: np.ndarray = field(default_factory=voxels)
    protocol: dict[str, Any] = field(default_factory=lambda: dict(T1_PROTOCOL))
    number: int = 2
    dtype: Any = np.uint16
    bits_stored: int = 16
    slope: float | None = None
    intercept: float = 0.0
    edit: Callable[[int, Dataset], Any] = lambda _k, _dataset: None
    uid: str = field(default_factory=lambda: generate_uid())
    study_uid: str = field(default_factory=lambda: generate_uid())
    frame_of_reference: str = field(default_factory=lambda: generate_uid())

    def datasets(self) -> list[Dataset]:
        """A data set per slice in the order of K, with pixels."""
        found = [self._slice(k) for k in range(self.geometry.shape[2])]
        for k, dataset in enumerate(found):
            self.edit(k, dataset)
        return found

    def write(self, folder: Path, *, order: str = "shuffled") -> Path:
        """Write the slices under names whose order is not that of the slices."""
        folder.mkdir(parents=True, exist_ok=True)
        datasets = self.datasets()
        places = np.random.default_rng(3).permutation(len(datasets)) if order == "shuffled" else range(len(datasets))
        for place, dataset in zip(places, datasets, strict=True):
            dataset.save_as(folder / f"s{self.number}-{place:03d}.dcm", enforce_file_format=True)
        return folder

    def _slice(self, k: int) -> Dataset:
        dataset = self.header(MR)
        lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ self.geometry.affine
        cosines = lps[:3, :3] / np.array(self.geometry.spacing_mm)
        dataset.ImagePositionPatient = [f"{x:.10g}"[:16] for x in lps[:3, 3] + k * lps[:3, 2]]
        dataset.ImageOrientationPatient = [f"{x:.10g}"[:16] for x in (*cosines[:, 0], *cosines[:, 1])]
        column, row, _ = self.geometry.spacing_mm
        dataset.PixelSpacing = [row, column]
        dataset.SliceThickness = self.geometry.spacing_mm[2]
        dataset.InstanceNumber = k + 1
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        if self.slope is not None:
            dataset.RescaleSlope, dataset.RescaleIntercept = self.slope, self.intercept
            dataset.RescaleType = "US"
        dataset.PixelData = np.ascontiguousarray(self.values[:, :, k].T.astype(self.dtype)).tobytes()
        return dataset

    def header(self, sop_class: str) -> Dataset:
        """Everything but the slice."""
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = sop_class
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.SpecificCharacterSet = "ISO_IR 192"
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
        dataset.Modality = "MR"
        dataset.Manufacturer = "SIEMENS"
        dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = "20200102"
        dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = "101112"
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = self.study_uid, self.uid
        dataset.FrameOfReferenceUID = self.frame_of_reference
        dataset.StudyID, dataset.SeriesNumber, dataset.AcquisitionNumber = "1", self.number, 1
        dataset.PositionReferenceIndicator = dataset.Laterality = ""
        dataset.PatientPosition = "HFS"
        for keyword, value in {**PATIENT, **self.protocol}.items():
            setattr(dataset, keyword, value)
        dataset.Columns, dataset.Rows = SHAPE[:2]
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated = np.dtype(self.dtype).itemsize * 8
        dataset.BitsStored = min(self.bits_stored, dataset.BitsAllocated)
        dataset.HighBit = dataset.BitsStored - 1
        dataset.PixelRepresentation = int(np.dtype(self.dtype).kind == "i")
        return dataset

    def enhanced(self) -> Dataset:
        """One enhanced multi-frame object; the frames are in reversed order."""
        dataset = self.header(ENHANCED_MR)
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "NONE"]
        slices = self.datasets()[::-1]
        first = slices[0]
        for keyword in (
            "RepetitionTime",
            "EchoTime",
            "InversionTime",
            "ScanningSequence",
            "FlipAngle",
            "SequenceVariant",
        ):
            del dataset[keyword]
        dataset.AcquisitionContrast, dataset.EchoPulseSequence, dataset.InstanceNumber = "T1", "GRADIENT", 1
        shared = Dataset()
        shared.PlaneOrientationSequence = [_item(ImageOrientationPatient=first.ImageOrientationPatient)]
        shared.PixelMeasuresSequence = [_item(PixelSpacing=first.PixelSpacing, SliceThickness=first.SliceThickness)]
        shared.MRTimingAndRelatedParametersSequence = [_item(RepetitionTime=8.0, FlipAngle=9.0, EchoTrainLength=1)]
        shared.MREchoSequence = [_item(EffectiveEchoTime=3.5)]
        shared.MRModifierSequence = [_item(InversionRecovery="NO")]
        dataset.SharedFunctionalGroupsSequence = [shared]
        dataset.PerFrameFunctionalGroupsSequence = [self._group(number, one) for number, one in enumerate(slices, 1)]
        dataset.NumberOfFrames = len(slices)
        dataset.PixelData = b"".join(one.PixelData for one in slices)
        return dataset

    def _group(self, number: int, one: Dataset) -> Dataset:
        group = Dataset()
        group.FrameContentSequence = [
            _item(StackID="1", InStackPositionNumber=number, DimensionIndexValues=[1, number], FrameAcquisitionNumber=1)
        ]
        group.PlanePositionSequence = [_item(ImagePositionPatient=one.ImagePositionPatient)]
        values = _item(RescaleSlope=self.slope or 1.0, RescaleIntercept=self.intercept, RescaleType="US")
        group.PixelValueTransformationSequence = [values]
        return group


def _item(**attributes: Any) -> Dataset:
    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item


def on_grid(values: np.ndarray, geometry: Geometry, orientation: str) -> tuple[np.ndarray, Geometry]:
    """Voxels and grid, reordered to an orientation."""
    moves = axis_moves(geometry.orientation, orientation)
    flips = [axis for axis, (_, flipped) in enumerate(moves) if flipped]
    return np.flip(values.transpose([axis for axis, _ in moves]), tuple(flips)), geometry.reoriented(moves)


def judge(program: str) -> str:
    """The path of a judge, or a skip that says how to get it."""
    found = shutil.which(program) or shutil.which(program, path=str(_scripts()))
    if found is None:
        packages = {
            "dciodvfy": "dicom3tools",
            "dcmdump": "dcmtk",
            "dcmcjpeg": "dcmtk",
            "dcmconv": "dcmtk",
            "dcm2niix": "dcm2niix",
        }
        source = f"apt-get install {packages[program]}" if program in packages else "pip install dcmqi"
        pytest.skip(f"needs the judge {program}: {source}")
    return found


def _scripts() -> Path:
    import sysconfig
    from pathlib import Path

    return Path(sysconfig.get_path("scripts"))


def ask(program: str, *arguments: Any) -> str:
    """Run a judge; what it says."""
    done = subprocess.run(
        [judge(program), *map(str, arguments)], capture_output=True, text=True, errors="replace", check=False
    )
    return done.stdout + done.stderr


def errors_of(path: Path) -> set[str]:
    """The `Error -` lines of dciodvfy."""
    return {line for line in ask("dciodvfy", path).splitlines() if line.startswith("Error -")}


def by_dcm2niix(folder: Path, out: Path) -> tuple[np.ndarray, Geometry]:
    """Voxels and grid (RAS+) of the only series in a folder, as dcm2niix converts it."""
    import nibabel as nib

    out.mkdir(parents=True, exist_ok=True)
    said = ask("dcm2niix", "-b", "n", "-z", "n", "-m", "n", "-f", "judge", "-o", out, folder)
    files = sorted(out.glob("judge*.nii"))
    assert len(files) == 1, said
    image = nib.load(files[0])
    return np.asarray(image.dataobj), Geometry(image.shape, image.affine)


def refusal(call: Callable[[], Any], capture: Any = None) -> str:
    """The message of the error that `call` must raise; neither it nor its traceback nor a log names the patient."""
    with pytest.raises(BrainEdgeError) as caught:
        call()
    said = "".join(traceback.format_exception(caught.value)) + (capture.text if capture is not None else "")
    assert not [secret for secret in SECRETS if secret in said.lower()]
    return str(caught.value)
