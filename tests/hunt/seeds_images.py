"""Valid images, small and of every kind that is read, each in a folder of its own, made by their own libraries."""

from __future__ import annotations

import json
import zipfile
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import nibabel as nib
import numpy as np
import pydicom.uid
from cohorts import make_case, save_manifest

from brain_edge.evaluation.cohort import Split

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SHAPE: Final = (8, 9, 7)
SPACING_MM: Final = 20.0
COMPRESSED: Final = {"rle": "RLELossless", "jpeg-ls": "JPEGLSLossless", "jpeg-2000": "JPEG2000Lossless"}
UIDS: Final = "1.2.826.0.1.3680043.10.543"


def voxels(dtype: type = np.float32) -> np.ndarray:
    """Intensities (I, J, K), no two neighbours alike."""
    return np.random.default_rng(5).integers(1, 200, SHAPE).astype(dtype)


def affine() -> np.ndarray:
    """Of an oblique grid, in mm (RAS+)."""
    turned = np.array([[0.96, -0.28, 0.0], [0.28, 0.96, 0.0], [0.0, 0.0, 1.0]]) * SPACING_MM
    return np.block([[turned, np.full((3, 1), -70.0)], [np.zeros((1, 3)), np.ones((1, 1))]])


def make_images(root: Path) -> None:
    """NIfTI-1 and 2, plain and compressed, of both byte orders, scaled, and MGH."""
    kinds = {
        "head.nii": nib.Nifti1Image(voxels(), affine()),
        "head.nii.gz": nib.Nifti1Image(voxels(np.int16), affine()),
        "second.nii": nib.Nifti2Image(voxels(np.uint8), affine()),
        "big.nii": nib.Nifti1Image(voxels(np.int16), affine(), nib.Nifti1Header(endianness=">")),
        "head.mgz": nib.MGHImage(voxels(), affine()),
        "head.mgh": nib.MGHImage(voxels(np.int16), affine()),
    }
    scaled = nib.Nifti1Image(voxels(), affine())
    scaled.set_data_dtype(np.int16)
    for name, image in (kinds | {"scaled.nii.gz": scaled}).items():
        image.header.set_xyzt_units("mm") if isinstance(image, nib.Nifti1Image) else None
        nib.save(image, _folder(root, name) / name)


def make_label_maps(root: Path) -> None:
    """Masks of people: whole numbers in several voxel types."""
    for name, dtype in (("mask.nii.gz", np.uint8), ("mask.nii", np.float32), ("mask.mgz", np.int16)):
        labels = (voxels() > 100).astype(dtype)
        kind = nib.MGHImage if name.endswith("mgz") else nib.Nifti1Image
        nib.save(kind(labels, affine()), _folder(root, name) / name)


def make_sidecars(root: Path) -> None:
    """Images with the JSON that a converter writes beside them."""
    sidecar = {"RepetitionTime": 1.9, "EchoTime": 0.00297, "InversionTime": 1.1, "FlipAngle": 9, "Modality": "MR"}
    named = {"ScanningSequence": "GR_IR", "SequenceVariant": "SP_MP", "ImageType": ["ORIGINAL", "PRIMARY", "M"]}
    for name, more in (("t1", {"ProtocolName": "t1_mprage"}), ("x", {"ContrastBolusIngredient": "GADOLINIUM"})):
        folder = _folder(root, name)
        nib.save(nib.Nifti1Image(voxels(), affine()), folder / f"{name}.nii.gz")
        (folder / f"{name}.json").write_text(json.dumps(sidecar | named | more))


def make_dicom(root: Path) -> None:
    """A classic series, the same in a zip, without preambles and compressed; enhanced; and a segmentation."""
    series = _series()
    for name in ("classic", "zipped", "bare", *COMPRESSED):
        folder = _folder(root, name)
        for place, dataset in enumerate(series.datasets()[:3]):
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{UIDS}.1.{place}"
            _save(dataset, folder / f"{place}.dcm", name)
    with zipfile.ZipFile(root / "zipped" / "study.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((root / "zipped").glob("*.dcm")):
            archive.write(path, path.name)
            path.unlink()
    series.enhanced().save_as(_folder(root, "enhanced") / "one.dcm", enforce_file_format=True)
    make_segmentation(_folder(root, "segmentation"))


def make_segmentation(folder: Path) -> None:
    """A DICOM SEG of a series, as the program writes it, without its series."""
    from tiny_package import SPEC, tiny_manifest

    from brain_edge.engine.segmenter import Segmentation
    from brain_edge.image.volume import Mask
    from brain_edge.io.dicom import algorithm_of, choose_series, list_series, read_series, write_seg
    from brain_edge.package import ModelPackage

    algorithm = algorithm_of(ModelPackage(Path("package"), tiny_manifest(SPEC)))
    with TemporaryDirectory() as place:
        volume = read_series(choose_series(list_series(_series().write(Path(place)))))
        labels = np.zeros(volume.geometry.shape, np.uint8)
        labels[3:12, 5:20, 2:8] = 1
        write_seg(Segmentation(Mask(labels, volume.geometry), (), None), volume, algorithm, folder / "seg.dcm")


def make_segs(root: Path) -> None:
    """The segmentation alone, for who reads that."""
    make_segmentation(_folder(root, "seg"))


def make_cohorts(root: Path) -> None:
    """Manifests beside their images and masks."""
    for name, masks in (("plain", False), ("masks", True)):
        folder = _folder(root, name)
        brain = (voxels() > 100).astype(np.uint8)
        cases = [
            make_case(folder, subject, split, voxels=voxels() + number, mask=brain if masks else None)
            for number, (subject, split) in enumerate((("a", Split.CALIBRATION), ("b", Split.TEST)))
        ]
        save_manifest(folder, *cases, **({"labels": {"1": 1}} if masks else {}))


def make_cohort_folders(root: Path) -> None:
    """Images of subjects with masks, plainly named and as BIDS, for `cohort create`."""
    for subject in "abc":
        plain = _folder(root, f"plain/heads/{subject}")
        bids = _folder(root, f"bids/heads/sub-{subject}/anat")
        number = float(ord(subject))
        for folder, image, mask in (
            (plain, "T1", "T1_brainmask"),
            (bids, f"sub-{subject}_T1w", f"sub-{subject}_desc-brain_mask"),
        ):
            nib.save(nib.Nifti1Image(voxels() + np.float32(number), affine()), folder / f"{image}.nii.gz")
            nib.save(nib.Nifti1Image((voxels() > 100).astype(np.uint8), affine()), folder / f"{mask}.nii.gz")
    (root / "bids/heads/dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.9.0"}')


def _series() -> Any:
    from dicom_series import Series

    numbers = (f"{UIDS}.2.{number}" for number in count())
    return Series(uid=next(numbers), study_uid=next(numbers), frame_of_reference=next(numbers))


def _save(dataset: Dataset, path: Path, kind: str) -> None:
    if kind in COMPRESSED:
        dataset.compress(getattr(pydicom.uid, COMPRESSED[kind]), generate_instance_uid=False)
    dataset.save_as(path, enforce_file_format=True)
    if kind == "bare":  # without preamble and file meta information, as ACR-NEMA had it
        del dataset.file_meta
        dataset.save_as(path, enforce_file_format=False, implicit_vr=False, little_endian=True)


def _folder(root: Path, name: str) -> Path:
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder
