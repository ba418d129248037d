"""Results lie beside their series, voxel by voxel, in the words of the standard: judged by others' readers."""

from __future__ import annotations

import copy
import json
import logging
import shutil
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import highdicom as hd
import msgspec
import nibabel as nib
import numpy as np
import pytest
from dicom_series import (
    ENHANCED_MR,
    FLAIR_PROTOCOL,
    SECRETS,
    SHAPE,
    Series,
    ask,
    by_dcm2niix,
    errors_of,
    grid,
    judge,
    on_grid,
    refusal,
)
from evidences import evidence
from PIL import Image
from pydicom import dcmread
from pydicom.uid import ExplicitVRBigEndian, JPEGLSLossless
from tiny_package import SPEC, make_package, tiny_manifest

from brain_edge import __version__
from brain_edge.engine.segmenter import Segmentation, Segmenter
from brain_edge.errors import GeometryError, InputError, OutputError, UsageError, WeightsError
from brain_edge.evaluation.evidence import spelt
from brain_edge.image.geometry import Geometry
from brain_edge.image.phantom import Phantom, make_volume
from brain_edge.image.volume import Mask, Volume
from brain_edge.io.dicom import (
    Algorithm,
    SegEncoding,
    SegOptions,
    algorithm_of,
    choose_series,
    list_series,
    read_series,
    write_picture,
    write_report,
    write_seg,
)
from brain_edge.io.dicom.secondary_capture import BANNER
from brain_edge.io.nifti import read_volume
from brain_edge.jobs.outputs import Outputs, require_outputs
from brain_edge.jobs.pictures.mosaic import write_mosaic
from brain_edge.package import ModelPackage, WeightsStatus
from brain_edge.spec import Activation, Label, Task
from brain_edge.spec.plausibility import Flag, FlagKind
from brain_edge.spec.steps import Argmax, PaintRegions
from brain_edge.spec.steps.regions import PaintedRegion

if TYPE_CHECKING:
    from collections.abc import Callable

FLAGS = (
    Flag(FlagKind.VOLUME, "oedema of 1.0 ml, expected 2 to 9 ml", 1.0, 2.0, 9.0, 2),
    Flag(FlagKind.SPACING, "spacing of 3 mm, expected 0.5 to 2 mm", 3.0, 0.5, 2.0),
)
TUMOUR = msgspec.structs.replace(
    SPEC,
    task=Task.TUMOUR,
    name="three-regions",
    labels=(Label(value=1, name="necrosis"), Label(value=2, name="oedema"), Label(value=4, name="enhancing-tumour")),
    plausible=msgspec.structs.replace(SPEC.plausible, labels=()),
    stages=(
        msgspec.structs.replace(
            SPEC.stages[0],
            network=msgspec.structs.replace(SPEC.stages[0].network, channels_out=4),
            after=(Argmax(values=(0, 1, 2, 4)), *SPEC.stages[0].after[1:]),
        ),
    ),
)
"""The labels of BraTS, which have a gap."""


def package(**changes: Any) -> ModelPackage:
    return ModelPackage(Path("package"), tiny_manifest(TUMOUR, **changes))


@pytest.fixture(scope="module")
def algorithm() -> Algorithm:
    return algorithm_of(package())


def read(path: Path) -> Volume:
    return read_series(choose_series(list_series(path)))


def segment(volume: Volume) -> Segmentation:
    """A segmentation without symmetry: three labels in boxes, the first slices and one between empty."""
    labels = np.zeros(volume.geometry.shape, dtype=np.uint8)
    labels[3:12, 5:20, 2:8] = 1
    labels[5:30, 22:30, 3:6] = 2
    labels[20:25, 2:9, 3:4] = 4
    labels[:, :, 6:7] = 0
    probabilities = np.stack([(labels == value) * np.float32(0.6) for value in (0, 1, 2, 4)]) + np.float32(0.1)
    return Segmentation(Mask(labels, volume.geometry), FLAGS, probabilities)


def places(array: np.ndarray, affine: np.ndarray, label: int) -> set[tuple[int, ...]]:
    """World coordinates of the voxels of a label, in hundredths of a mm (RAS)."""
    found = np.argwhere(array == label)
    world = found @ affine[:3, :3].T + affine[:3, 3]
    return {tuple(place) for place in np.round(world * 20).astype(int).tolist()}


def assert_same_places(mask: Mask, array: np.ndarray, affine: np.ndarray, numbers: dict[int, int]) -> None:
    for label, number in numbers.items():
        assert places(mask.labels, mask.geometry.affine, label) == places(array, affine, number)


def by_highdicom(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Segment numbers and RAS affine."""
    volume = hd.seg.segread(path).get_volume(combine_segments=True, relabel=False)
    return volume.array, np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine


def by_dcmqi(path: Path, out: Path) -> tuple[np.ndarray, np.ndarray]:
    out.mkdir()
    said = ask(
        "segimage2itkimage", "--inputDICOM", path, "--outputDirectory", out, "--outputType", "nii", "--mergeSegments"
    )
    files = list(out.glob("*.nii*"))
    assert len(files) == 1, said
    image = nib.load(files[0])
    return np.asarray(image.dataobj), image.affine


NUMBERS = {1: 1, 2: 2, 4: 3}
"""Label -> segment number: DICOM numbers segments without gaps."""


@pytest.mark.parametrize("encoding", SegEncoding)
@pytest.mark.parametrize("orientation", ["LPS", "PSR", "RIA", "oblique"])
def test_every_reader_finds_each_voxel_where_it_was_segmented(
    tmp_path: Path, algorithm: Algorithm, encoding: SegEncoding, orientation: str
):
    series = Series(grid(oblique=True) if orientation == "oblique" else grid(orientation))
    volume = read(series.write(tmp_path / "in"))
    segmentation = segment(volume)
    path = tmp_path / "seg.dcm"
    write_seg(segmentation, volume, algorithm, path, SegOptions(encoding=encoding))
    if encoding is SegEncoding.FRACTIONAL:
        found = hd.seg.segread(path).get_volume(combine_segments=False, rescale_fractional=True)
        probable = np.argmax(np.concatenate([np.full((*found.array.shape[:3], 1), 0.5), found.array], -1), -1)
        assert_same_places(segmentation.mask, probable, np.diag([-1.0, -1, 1, 1]) @ found.affine, NUMBERS)
        assert np.abs(np.unique(found.array) - [0.1, 0.7]).max() < 1 / 255
    else:
        assert_same_places(segmentation.mask, *by_highdicom(path), NUMBERS)
    if encoding is SegEncoding.BINARY:
        assert_same_places(segmentation.mask, *by_dcmqi(path, tmp_path / "out"), NUMBERS)
    if encoding is not SegEncoding.LABELMAP:  # Supplement 243 is younger than Debian's dciodvfy
        source = next((tmp_path / "in").iterdir())
        assert not errors_of(path) - errors_of(source)
    assert ask("dcmdump", "-q", "+P", "0008,0060", path).split()[2] == "[SEG]"


def test_dcmqi_reads_the_probabilities_of_each_segment(tmp_path: Path, algorithm: Algorithm):
    """An image per segment, 255 for certainty."""
    volume = read(Series().write(tmp_path / "in"))
    labels = segment(volume).mask
    sure = np.stack(
        [(labels.labels == value) * np.float32(share) for value, share in ((0, 1), (1, 1), (2, 0.5), (4, 1))]
    )
    options = SegOptions(encoding=SegEncoding.FRACTIONAL, omit_empty_frames=False)
    write_seg(Segmentation(labels, (), sure), volume, algorithm, tmp_path / "seg.dcm", options)
    ask("segimage2itkimage", "--inputDICOM", tmp_path / "seg.dcm", "--outputDirectory", tmp_path, "--outputType", "nii")
    for number, (label, level) in enumerate([(1, 255), (2, 128), (4, 255)], start=1):
        image = nib.load(tmp_path / f"{number}.nii.gz")
        assert_same_places(labels, np.asarray(image.dataobj), image.affine, {label: level})


def test_each_frame_refers_to_the_slice_that_it_lies_on(tmp_path: Path, algorithm: Algorithm):
    """Not only the place but also the reference is right: viewers use the one or the other."""
    volume = read(Series(grid("PSR")).write(tmp_path / "in"))
    segmentation = segment(volume)
    write_seg(segmentation, volume, algorithm, tmp_path / "seg.dcm")
    seg = hd.seg.segread(tmp_path / "seg.dcm")
    uids = [frame.sop_uid for frame in volume.header.frames]
    pixels = seg.get_pixels_by_source_instance(
        uids, combine_segments=True, relabel=False, ignore_spatial_locations=True, assert_missing_frames_are_empty=True
    )
    expected = np.array([0, 1, 2, 0, 3], dtype=np.uint8)[segmentation.mask.labels]
    np.testing.assert_array_equal(pixels.transpose(2, 1, 0), expected)
    sources = {dcmread(path).SOPInstanceUID: dcmread(path) for path in (tmp_path / "in").iterdir()}
    for group in seg.PerFrameFunctionalGroupsSequence:
        source = sources[group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID]
        position = group.PlanePositionSequence[0].ImagePositionPatient
        assert list(map(float, position)) == list(map(float, source.ImagePositionPatient))  # to the last digit
    shared = seg.SharedFunctionalGroupsSequence[0]
    assert list(shared.PixelMeasuresSequence[0].PixelSpacing) == [1.5, 1.25]
    assert seg.FrameOfReferenceUID == source.FrameOfReferenceUID


def test_an_enhanced_series_gets_a_seg_on_its_own_frames(tmp_path: Path, algorithm: Algorithm):
    (tmp_path / "in").mkdir()
    Series(grid(oblique=True)).enhanced().save_as(tmp_path / "in" / "one.dcm", enforce_file_format=True)
    volume = read(tmp_path / "in")
    segmentation = segment(volume)
    write_seg(segmentation, volume, algorithm, tmp_path / "seg.dcm")
    assert_same_places(segmentation.mask, *by_highdicom(tmp_path / "seg.dcm"), NUMBERS)
    assert_same_places(segmentation.mask, *by_dcmqi(tmp_path / "seg.dcm", tmp_path / "out"), NUMBERS)
    assert not errors_of(tmp_path / "seg.dcm") - errors_of(tmp_path / "in" / "one.dcm")
    seg = hd.seg.segread(tmp_path / "seg.dcm")
    for group in seg.PerFrameFunctionalGroupsSequence:
        frame = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber
        k = next(k for k, one in enumerate(volume.header.frames) if one.number == frame - 1)
        position = volume.header.frames[k].position_mm
        assert list(map(float, group.PlanePositionSequence[0].ImagePositionPatient)) == list(position)


def test_a_seg_can_be_written_beside_enhanced_files_of_one_frame_each(tmp_path: Path, algorithm: Algorithm):
    """Some scanners export so; highdicom takes one enhanced object only."""
    (tmp_path / "in").mkdir()
    whole = Series(grid(oblique=True)).enhanced()
    groups, size = list(whole.PerFrameFunctionalGroupsSequence), len(whole.PixelData) // int(whole.NumberOfFrames)
    for number, group in enumerate(groups):
        whole.PerFrameFunctionalGroupsSequence, whole.NumberOfFrames, whole.InstanceNumber = [group], 1, number + 1
        whole.SOPInstanceUID = whole.file_meta.MediaStorageSOPInstanceUID = hd.UID()
        one = copy.deepcopy(whole)
        one.PixelData = whole.PixelData[number * size : (number + 1) * size]
        one.save_as(tmp_path / "in" / f"{number}.dcm", enforce_file_format=True)
    volume = read(tmp_path / "in")
    segmentation = segment(volume)
    write_seg(segmentation, volume, algorithm, tmp_path / "seg.dcm")
    assert_same_places(segmentation.mask, *by_highdicom(tmp_path / "seg.dcm"), NUMBERS)
    assert_same_places(segmentation.mask, *by_dcmqi(tmp_path / "seg.dcm", tmp_path / "out"), NUMBERS)
    assert not errors_of(tmp_path / "seg.dcm") - errors_of(tmp_path / "in" / "0.dcm")
    seg = dcmread(tmp_path / "seg.dcm")
    sources = {frame.sop_uid: frame for frame in volume.header.frames}
    for group in seg.PerFrameFunctionalGroupsSequence:
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        assert source.ReferencedSOPClassUID == ENHANCED_MR
        position = sources[source.ReferencedSOPInstanceUID].position_mm
        assert list(map(float, group.PlanePositionSequence[0].ImagePositionPatient)) == list(position)
    listed = seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert {each.ReferencedSOPClassUID for each in listed} == {ENHANCED_MR}


@pytest.mark.parametrize("kind", ["zip", "jpeg-ls", "big endian", "legacy"])
def test_a_seg_can_be_written_beside_every_kind_of_series(tmp_path: Path, algorithm: Algorithm, kind: str):
    """From a zip, compressed, of another byte order, or converted by another library."""

    def edit(_k: int, dataset: Any) -> None:
        if kind == "jpeg-ls":
            dataset.compress(JPEGLSLossless, generate_instance_uid=False)
        if kind == "big endian":
            dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian

    series, source = Series(grid(oblique=True), edit=edit), tmp_path / "in"
    if kind == "legacy":
        source.mkdir()
        new = {"series_instance_uid": hd.UID(), "series_number": 5, "sop_instance_uid": hd.UID(), "instance_number": 1}
        converted = hd.legacy.LegacyConvertedEnhancedMRImage(series.datasets(), **new)
        converted.save_as(source / "one.dcm", enforce_file_format=True)
    else:
        series.write(source)
    if kind == "zip":
        source = Path(shutil.make_archive(str(tmp_path / "study"), "zip", source))
    volume = read(source)
    segmentation = segment(volume)
    write_seg(segmentation, volume, algorithm, tmp_path / "seg.dcm")
    assert_same_places(segmentation.mask, *by_highdicom(tmp_path / "seg.dcm"), NUMBERS)
    assert_same_places(segmentation.mask, *by_dcmqi(tmp_path / "seg.dcm", tmp_path / "out"), NUMBERS)


@pytest.mark.parametrize("omit", [True, False])
def test_empty_frames_are_left_out_or_kept(tmp_path: Path, algorithm: Algorithm, omit: bool):
    volume = read(Series().write(tmp_path / "in"))
    segmentation = segment(volume)
    write_seg(segmentation, volume, algorithm, tmp_path / "seg.dcm", SegOptions(omit_empty_frames=omit))
    frames = sum((segmentation.mask.labels == label).any(axis=(0, 1)).sum() for label in (1, 2, 4))
    assert dcmread(tmp_path / "seg.dcm").NumberOfFrames == (frames if omit else 3 * SHAPE[2])
    assert_same_places(segmentation.mask, *by_highdicom(tmp_path / "seg.dcm"), NUMBERS)


@pytest.mark.parametrize("encoding", [SegEncoding.BINARY, SegEncoding.LABELMAP])
def test_a_patient_without_a_lesion_gets_an_empty_seg(tmp_path: Path, algorithm: Algorithm, encoding: SegEncoding):
    volume = read(Series().write(tmp_path / "in"))
    empty = Segmentation(Mask(np.zeros(SHAPE, dtype=np.uint8), volume.geometry))
    write_seg(empty, volume, algorithm, tmp_path / "seg.dcm", SegOptions(encoding=encoding))
    assert not by_highdicom(tmp_path / "seg.dcm")[0].any()
    if encoding is SegEncoding.BINARY:
        assert not errors_of(tmp_path / "seg.dcm") - errors_of(next((tmp_path / "in").iterdir()))


def test_of_a_patient_without_a_lesion_every_frame_is_written_however_unsure_a_few_voxels_are(
    tmp_path: Path, algorithm: Algorithm
):
    """A mask without a voxel has no frame to leave out; a reader sees that all slices were looked at."""
    volume = read(Series().write(tmp_path / "in"))
    unsure = np.zeros((4, *SHAPE), dtype=np.float32)
    unsure[0], unsure[1, 2, 2, 2] = 1.0, 0.3
    empty = Segmentation(Mask(np.zeros(SHAPE, dtype=np.uint8), volume.geometry), (), unsure)
    write_seg(empty, volume, algorithm, tmp_path / "seg.dcm", SegOptions(encoding=SegEncoding.FRACTIONAL))
    assert dcmread(tmp_path / "seg.dcm").NumberOfFrames == 3 * SHAPE[2]


def test_the_seg_says_what_made_it_and_that_it_is_research(tmp_path: Path, algorithm: Algorithm):
    volume = read(Series().write(tmp_path / "in"))
    write_seg(segment(volume), volume, algorithm, tmp_path / "seg.dcm")
    seg = dcmread(tmp_path / "seg.dcm")
    assert seg.SeriesDescription == "RESEARCH ONLY three-regions fp32/f32"
    assert seg.ContentDescription == "RESEARCH ONLY; flags: spacing, volume"
    assert seg.ContentLabel == "RESEARCH_ONLY"
    assert (seg.SeriesNumber, seg.Manufacturer, seg.SoftwareVersions) == (9901, "brain-edge", __version__)
    necrosis, oedema, enhancing = seg.SegmentSequence
    identification = necrosis.SegmentationAlgorithmIdentificationSequence[0]
    assert identification.AlgorithmName == "three-regions"
    assert identification.AlgorithmVersion == __version__
    assert identification.AlgorithmParameters == f"package_sha256={package().digest},precision=fp32/f32"
    assert necrosis.SegmentDescription == (
        "RESEARCH ONLY, not for diagnosis or treatment; spacing of 3 mm, expected 0.5 to 2 mm; value 1 of the label map"
    )
    assert "oedema of 1.0 ml, expected 2 to 9 ml" in oedema.SegmentDescription
    assert enhancing.SegmentDescription.endswith("value 4 of the label map")
    codes = [one.SegmentedPropertyTypeCodeSequence[0] for one in seg.SegmentSequence]
    assert [(code.CodingSchemeDesignator, code.CodeValue) for code in codes] == [
        ("SCT", "6574001"),
        ("SCT", "79654002"),
        ("NCIt", "C113842"),
    ]
    assert {one.AnatomicRegionSequence[0].CodeValue for one in seg.SegmentSequence} == {"12738006"}
    assert seg.PatientID == "MARKERID4711"
    assert seg.StudyInstanceUID == dcmread(next((tmp_path / "in").iterdir())).StudyInstanceUID


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 192", "Иванова^Марина"),
        ("ISO_IR 144", "Щукин^Юлий"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
        ("ISO_IR 100", "Buc^Jérôme"),
        ("ISO_IR 192", "Name-without-caret"),
    ],
)
def test_a_name_in_any_alphabet_is_written_in_unicode_and_never_logged(
    tmp_path: Path, algorithm: Algorithm, charset: Any, name: str, caplog: pytest.LogCaptureFixture
):
    def edit(_k: int, dataset: Any) -> None:
        dataset.SpecificCharacterSet, dataset.PatientName = charset, name

    volume = read(Series(edit=edit).write(tmp_path / "in"))
    caplog.set_level(logging.DEBUG)
    caplog.clear()
    write_seg(segment(volume), volume, algorithm, tmp_path / "seg.dcm")
    assert not [part for part in (name, *SECRETS) if part in caplog.text]
    seg = dcmread(tmp_path / "seg.dcm")
    assert seg.SpecificCharacterSet == "ISO_IR 192"
    assert str(seg.PatientName) == name
    assert name.split("^", maxsplit=1)[0] in ask("dcmdump", "-q", "+P", "0010,0010", tmp_path / "seg.dcm")
    assert not errors_of(tmp_path / "seg.dcm") - errors_of(next((tmp_path / "in").iterdir()))


@pytest.mark.parametrize("zeros", [False, True])
def test_what_deidentification_removed_is_empty_in_the_seg(tmp_path: Path, algorithm: Algorithm, zeros: bool):
    def edit(_k: int, dataset: Any) -> None:
        if zeros:
            dataset.PatientID, dataset.PatientBirthDate, dataset.StudyDate = "", "00000000", "20000229"
            return
        for keyword in ("PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyTime"):
            del dataset[keyword]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns the writer
        volume = read(Series(edit=edit).write(tmp_path / "in"))
    write_seg(segment(volume), volume, algorithm, tmp_path / "seg.dcm")
    seg = dcmread(tmp_path / "seg.dcm")
    assert not seg.PatientID
    assert not seg.PatientBirthDate
    assert not errors_of(tmp_path / "seg.dcm") - errors_of(next((tmp_path / "in").iterdir()))


OLDER_THAN_LABELMAPS = {
    "Error - Shall not be present for Referenced SOP Class that is not segmentation - attribute "
    "<ReferencedSegmentNumber>"
}
"""The validator does not know the class of Supplement 243 (2024), to whose segments a report refers as to any."""


@pytest.mark.parametrize("encoding", SegEncoding)
def test_the_report_measures_each_segment_and_dcmqi_reads_it(
    tmp_path: Path, algorithm: Algorithm, encoding: SegEncoding
):
    volume = read(Series().write(tmp_path / "in"))
    segmentation = segment(volume)
    write_seg(segmentation, volume, algorithm, tmp_path / "seg.dcm", SegOptions(encoding=encoding))
    write_report(segmentation, volume, algorithm, tmp_path / "seg.dcm", tmp_path / "sr.dcm")
    known = OLDER_THAN_LABELMAPS if encoding is SegEncoding.LABELMAP else set()
    assert not errors_of(tmp_path / "sr.dcm") - errors_of(next((tmp_path / "in").iterdir())) - known
    ask("tid1500reader", "--inputDICOM", tmp_path / "sr.dcm", "--outputMetadata", tmp_path / "sr.json")
    groups = json.loads((tmp_path / "sr.json").read_text())["Measurements"]
    for group, label in zip(groups, (1, 2, 4), strict=True):
        (item,) = group["measurementItems"]
        assert item["units"]["CodeValue"] == "cm3"
        assert float(item["value"]) == pytest.approx(segmentation.mask.volume_ml(label), abs=1e-4)
        assert group["ReferencedSegment"] == NUMBERS[label]
        assert group["segmentationSOPInstanceUID"] == dcmread(tmp_path / "seg.dcm").SOPInstanceUID
    report = dcmread(tmp_path / "sr.dcm")
    assert report.SeriesDescription.startswith("RESEARCH ONLY")
    assert (report.CompletionFlag, report.VerificationFlag) == ("PARTIAL", "UNVERIFIED")
    comment = report.ContentSequence[-1].TextValue
    assert comment.startswith("RESEARCH ONLY, not for diagnosis or treatment; oedema of 1.0 ml")
    assert package().digest in comment


REGIONS = msgspec.structs.replace(
    TUMOUR,
    stages=(
        msgspec.structs.replace(
            TUMOUR.stages[0],
            network=msgspec.structs.replace(TUMOUR.stages[0].network, channels_out=3, activation=Activation.SIGMOID),
            after=(
                PaintRegions(
                    regions=tuple(
                        PaintedRegion(channel=channel, above=0.5, label=label)
                        for channel, label in enumerate((2, 1, 4))
                    )
                ),
                *TUMOUR.stages[0].after[1:],
            ),
        ),
    ),
)
"""The regions of BraTS, painted one over the other: the labels have no probabilities of their own."""


def test_a_model_of_regions_writes_a_seg(tmp_path: Path):
    volume = read(Series().write(tmp_path / "in"))
    regions = algorithm_of(ModelPackage(Path("package"), tiny_manifest(REGIONS)))
    segmentation = segment(volume)
    write_seg(segmentation, volume, regions, tmp_path / "seg.dcm")
    assert_same_places(segmentation.mask, *by_highdicom(tmp_path / "seg.dcm"), NUMBERS)


def test_a_model_of_regions_is_refused_a_fractional_seg_before_it_runs(tmp_path: Path):
    outputs = Outputs(mask=tmp_path / "seg.dcm", seg=SegOptions(encoding=SegEncoding.FRACTIONAL))
    series = {"image": Series().write(tmp_path / "in")}
    require_outputs(series, outputs, TUMOUR)
    with pytest.raises(UsageError, match="three-regions makes labels of regions, levels or networks"):
        require_outputs(series, outputs, REGIONS)


def test_a_report_needs_the_seg_that_it_refers_to(tmp_path: Path, algorithm: Algorithm):
    volume = read(Series().write(tmp_path / "in"))
    series = next((tmp_path / "in").iterdir())
    # pydicom reads this value representation when the attribute is asked for, not with the file
    unknown = tmp_path / "unknown.dcm"
    unknown.write_bytes(series.read_bytes().replace(b"\x08\x00\x60\x00CS", b"\x08\x00\x60\x00\x43\x13", 1))
    assert unknown.read_bytes() != series.read_bytes()
    for wrong in (tmp_path / "nowhere.dcm", series, unknown):
        words = refusal(partial(write_report, segment(volume), volume, algorithm, wrong, tmp_path / "sr.dcm"))
        assert "expected a DICOM SEG for the report" in words


def test_the_picture_carries_research_only_in_its_pixels(tmp_path: Path, algorithm: Algorithm):
    """Above the real mosaic, in the pixels: the banner is red with white letters, the mosaic is as it was."""
    volume = read(Series().write(tmp_path / "in"))
    segmentation = segment(volume)
    legend = {1: "necrosis", 2: "oedema", 4: "enhancing"}
    write_mosaic(volume, segmentation.mask, tmp_path / "qc.png", title="three-regions", legend=legend)
    write_picture(tmp_path / "qc.png", volume, algorithm, tmp_path / "sc.dcm")
    capture = dcmread(tmp_path / "sc.dcm")
    picture = np.asarray(Image.open(tmp_path / "qc.png").convert("RGB"))
    pixels = capture.pixel_array
    banner = pixels[: -picture.shape[0]]
    np.testing.assert_array_equal(pixels[-picture.shape[0] :], picture)
    assert (banner[0, 0] == [0xB0, 0, 0]).all()
    assert 0.02 < (banner.min(axis=-1) > 200).mean() < 0.5  # letters
    assert BANNER.startswith("RESEARCH ONLY")
    assert capture.SeriesDescription.startswith("RESEARCH ONLY")
    assert capture.BurnedInAnnotation == "NO"
    assert not errors_of(tmp_path / "sc.dcm") - errors_of(next((tmp_path / "in").iterdir()))


def test_what_is_no_picture_is_refused(tmp_path: Path, algorithm: Algorithm):
    volume = read(Series().write(tmp_path / "in"))
    (tmp_path / "qc.png").write_text("no")
    words = refusal(lambda: write_picture(tmp_path / "qc.png", volume, algorithm, tmp_path / "sc.dcm"))
    assert "expected a PNG picture, could not read the file" in words


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"weights_status": WeightsStatus.RANDOM}, "the weights of this package are random, not trained"),
        (
            {"evidence": spelt(evidence(demonstration=True))},
            "this package is a demonstration, measured on one head",
        ),
    ],
)
def test_packages_that_mean_nothing_write_no_dicom(changes: dict[str, Any], words: str):
    with pytest.raises(WeightsError if "weights_status" in changes else UsageError, match=words) as caught:
        algorithm_of(package(**changes))
    assert "a DICOM result could reach a patient's record" in str(caught.value)


def test_a_result_without_a_dicom_series_is_refused(tmp_path: Path, algorithm: Algorithm):
    plain = make_volume(Phantom(shape=SHAPE, spacing_mm=4.0))
    with pytest.raises(UsageError, match="needs a DICOM series as the first input"):
        write_seg(segment(plain), plain, algorithm, tmp_path / "seg.dcm")


def test_masks_that_do_not_fit_are_refused(tmp_path: Path, algorithm: Algorithm):
    volume = read(Series().write(tmp_path / "in"))
    target = tmp_path / "seg.dcm"
    moved = volume.geometry.affine + np.outer([0, 0, 1, 0], [0, 0, 0, 1])
    other = Segmentation(Mask(segment(volume).mask.labels, Geometry(SHAPE, moved)))
    with pytest.raises(GeometryError, match="expected the mask on the grid of the series, got another grid"):
        write_seg(other, volume, algorithm, target)
    labels = np.full(SHAPE, 3, dtype=np.uint8)
    with pytest.raises(InputError, match=r"expected the labels of three-regions in the mask, got also \[3\]"):
        write_seg(Segmentation(Mask(labels, volume.geometry)), volume, algorithm, target)
    mask = segment(volume).mask
    fractional = SegOptions(encoding=SegEncoding.FRACTIONAL)
    with pytest.raises(UsageError, match="FRACTIONAL needs probabilities"):
        write_seg(Segmentation(mask), volume, algorithm, target, fractional)
    logits = Segmentation(mask, (), np.full((4, *SHAPE), 7.0, dtype=np.float32))
    with pytest.raises(UsageError, match="expected probabilities from 0 to 1, got 7 to 7; write BINARY"):
        write_seg(logits, volume, algorithm, target, fractional)
    assert not target.exists()


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"FrameOfReferenceUID": ""}, "expected a frame of reference to place the result in the patient, got none"),
        ({"PatientBirthDate": "1901-02-03"}, "expected a PatientBirthDate that DICOM allows"),
        ({"PatientSex": "FEMALE"}, "expected a PatientSex that DICOM allows"),
        ({"StudyTime": "noon"}, "expected a StudyTime that DICOM allows"),
        ({"PatientBirthDate": "19500000"}, "expected a PatientBirthDate that DICOM allows"),
        ({"PatientBirthDate": "00000101"}, "expected a PatientBirthDate that DICOM allows"),
        ({"StudyDate": "20001399"}, "expected a StudyDate that DICOM allows"),
        ({"StudyDate": "20010229"}, "expected a StudyDate that DICOM allows"),
        ({"StudyTime": "256161"}, "expected a StudyTime that DICOM allows"),
        ({"StudyTime": "1260"}, "expected a StudyTime that DICOM allows"),
    ],
)
def test_headers_that_would_make_an_invalid_result_are_refused(
    tmp_path: Path, algorithm: Algorithm, attributes: dict[str, str], words: str, caplog: pytest.LogCaptureFixture
):
    def edit(_k: int, dataset: Any) -> None:
        for keyword, value in attributes.items():
            setattr(dataset, keyword, value)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns the writer
        folder = Series(edit=edit).write(tmp_path / "in")
    caplog.clear()
    volume = read(folder)
    said = refusal(lambda: write_seg(segment(volume), volume, algorithm, tmp_path / "seg.dcm"), caplog)
    assert words in said
    assert "1901" not in said
    assert not (tmp_path / "seg.dcm").exists()


def test_a_series_that_is_gone_or_changed_is_refused(tmp_path: Path, algorithm: Algorithm):
    volume = read(Series().write(tmp_path / "in"))
    victim = sorted((tmp_path / "in").iterdir())[0]
    Series().datasets()[0].save_as(victim, enforce_file_format=True)
    write = lambda: write_seg(segment(volume), volume, algorithm, tmp_path / "seg.dcm")  # noqa: E731
    assert "file 1 of 10 in name order has changed" in refusal(write)
    victim.unlink()
    assert "file 1 of 10 in name order could not be read" in refusal(write)


def test_nothing_half_written_is_left(tmp_path: Path, algorithm: Algorithm, small_disk: Path):
    volume = read(Series().write(tmp_path / "in"))
    options = SegOptions(encoding=SegEncoding.FRACTIONAL, omit_empty_frames=False)
    write_seg(segment(volume), volume, algorithm, small_disk / "first.dcm", options)
    with pytest.raises(OutputError, match="the disk is full"):
        write_seg(segment(volume), volume, algorithm, small_disk / "second.dcm", options)
    assert [path.name for path in small_disk.iterdir()] == ["first.dcm"]


def test_dicom_and_nifti_routes_give_the_same_mask(tmp_path: Path):
    """A phantom through scanner, package and SEG; and through dcm2niix, the same package and NIfTI."""
    head = make_volume(Phantom(shape=(*SHAPE[:2], 40), spacing_mm=5.0))
    series = Series(head.geometry, np.round(head.voxels).astype(int))
    volume = read(series.write(tmp_path / "in"))
    opened = make_package(tmp_path / "package")
    segmenter = Segmenter.open(opened)
    segmentation = segmenter(volume)
    write_seg(segmentation, volume, algorithm_of(opened), tmp_path / "seg.dcm")
    (tmp_path / "nii").mkdir()
    by_dcm2niix(tmp_path / "in", tmp_path / "nii")
    nifti = segmenter(read_volume(next((tmp_path / "nii").glob("*.nii"))))
    theirs, _ = on_grid(nifti.mask.labels, nifti.mask.geometry, "RAS")
    ours, _ = on_grid(segmentation.mask.labels, segmentation.mask.geometry, "RAS")
    assert ours.any()
    np.testing.assert_array_equal(ours, theirs)
    assert_same_places(nifti.mask, *by_highdicom(tmp_path / "seg.dcm"), {1: 1})
    assert_same_places(nifti.mask, *by_dcmqi(tmp_path / "seg.dcm", tmp_path / "out"), {1: 1})


@pytest.mark.full  # the command writes the SEG of a real series in CI
@pytest.mark.data
def test_a_real_series_to_seg_and_back_is_the_nifti_route(
    tmp_path: Path, algorithm: Algorithm, mri: Callable[[str], Path]
):
    """Series -> SEG -> dcmqi and highdicom, against series -> dcm2niix -> mask; dciodvfy finds nothing new."""
    folder = mri("vs_seg_001_dicom")
    volume = read(folder)
    labels = (volume.voxels > 250) * np.uint8(2)
    segmentation = Segmentation(Mask(labels, volume.geometry))
    write_seg(segmentation, volume, algorithm, tmp_path / "seg.dcm", SegOptions(omit_empty_frames=False))
    values, geometry = by_dcm2niix(folder, tmp_path / "nii")
    route, route_grid = on_grid((values > 250) * np.uint8(2), geometry, "RAS")
    for array, affine in (by_highdicom(tmp_path / "seg.dcm"), by_dcmqi(tmp_path / "seg.dcm", tmp_path / "out")):
        found, found_grid = on_grid(array, Geometry(array.shape, affine), "RAS")
        assert found_grid.same_grid(route_grid)
        assert np.array_equal(found, route)
    source = next(folder.glob("*.dcm"))
    assert not errors_of(tmp_path / "seg.dcm") - errors_of(source)


def test_two_runs_make_two_series(tmp_path: Path, algorithm: Algorithm):
    """A second result never replaces the first one in a PACS."""
    volume = read(Series(protocol=FLAIR_PROTOCOL).write(tmp_path / "in"))
    uids = set()
    for name in ("a.dcm", "b.dcm"):
        write_seg(segment(volume), volume, algorithm, tmp_path / name)
        seg = dcmread(tmp_path / name)
        uids |= {seg.SOPInstanceUID, seg.SeriesInstanceUID}
    assert len(uids) == 4
    assert judge("dcmdump")
