"""A SEG says where the slices are, whatever the source says of their distance: read back by highdicom and dciodvfy."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import highdicom as hd
import numpy as np
import pytest
from dicom_series import ORIENTATIONS, SHAPE, Series, errors_of, grid
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from pydicom import dcmread
from tiny_package import SPEC, tiny_manifest

from brain_edge.engine.segmenter import Segmentation
from brain_edge.image.geometry import Geometry
from brain_edge.image.volume import Mask
from brain_edge.io.dicom import (
    SegEncoding,
    SegOptions,
    algorithm_of,
    choose_series,
    list_series,
    read_series,
    write_seg,
)
from brain_edge.package import ModelPackage

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

ABSENT = "absent"
NUMBERS = (ABSENT, None, 0, -3, 1, "right")
"""What SliceThickness and SpacingBetweenSlices may hold: 1 mm is the gap of slices that are thinner than apart."""


@dataclass(frozen=True)
class Header:
    """What a series says of its slices, and how they really lie."""

    kind: str
    thickness: Any
    spacing: Any
    distance_mm: float
    orientation: str
    are_apart: bool
    order: str
    jitter: float
    encoding: SegEncoding

    def geometry(self) -> Geometry:
        usual = grid(oblique=True) if self.orientation == "oblique" else grid(self.orientation)
        affine = usual.affine.copy()
        affine[:3, 2] *= self.distance_mm / np.linalg.norm(affine[:3, 2])
        return Geometry(SHAPE, affine)

    def say(self, item: Dataset) -> None:
        for keyword, value in (("SliceThickness", self.thickness), ("SpacingBetweenSlices", self.spacing)):
            if value == ABSENT:
                if keyword in item:
                    delattr(item, keyword)
            else:
                setattr(item, keyword, round(self.distance_mm, 6) if value == "right" else value)

    def number(self, k: int, dataset: Dataset) -> None:
        """InstanceNumber, which is no witness of the order; cosines with the rounding of an exporter."""
        dataset.InstanceNumber = {"same": k + 1, "reversed": SHAPE[2] - k, "none": None}[self.order]
        cosines = np.array(dataset.ImageOrientationPatient, dtype=float)
        dataset.ImageOrientationPatient = [f"{value:.9g}" for value in cosines + self.jitter * (k % 2)]

    def edit(self, k: int, dataset: Dataset) -> None:
        self.number(k, dataset)
        self.say(dataset)

    def write(self, folder: Path) -> Path:
        folder.mkdir()
        series = Series(self.geometry(), edit=self.number)
        if self.kind == "classic":
            series = replace(series, edit=self.edit)
            return series.write(folder)
        if self.kind == "legacy":
            new = {"series_instance_uid": hd.UID(), "series_number": 5, "sop_instance_uid": hd.UID()}
            sources = replace(series, edit=lambda _k, _one: None).datasets()
            whole = hd.legacy.LegacyConvertedEnhancedMRImage(sources, instance_number=1, **new)
        else:
            whole = replace(series, edit=lambda _k, _one: None).enhanced()
        shared = whole.SharedFunctionalGroupsSequence[0]
        groups = whole.PerFrameFunctionalGroupsSequence
        holders = [one for one in (shared, *groups) if "PixelMeasuresSequence" in one]
        for holder in holders:
            self.say(holder.PixelMeasuresSequence[0])
        if self.are_apart and holders == [shared]:
            for keyword in ("PixelMeasuresSequence", "PlaneOrientationSequence"):
                for group in groups:
                    setattr(group, keyword, getattr(shared, keyword))
                delattr(shared, keyword)
        whole.save_as(folder / "one.dcm", enforce_file_format=True)
        return folder


HEADERS = st.builds(
    Header,
    kind=st.sampled_from(["classic", "enhanced", "legacy"]),
    thickness=st.sampled_from((*NUMBERS, 0.5)),
    spacing=st.sampled_from(NUMBERS),
    distance_mm=st.floats(0.7, 6.0),
    orientation=st.sampled_from([*ORIENTATIONS[::7], "oblique"]),
    are_apart=st.booleans(),
    order=st.sampled_from(["same", "reversed", "none"]),
    jitter=st.sampled_from([0.0, 1e-5]),
    encoding=st.sampled_from(list(SegEncoding)),
)


def measure(header: Header, folder: Path) -> None:
    """Write a SEG beside a series and compare what highdicom makes of it with what the record will say."""
    source = header.write(folder / "in")
    volume = read_series(choose_series(list_series(source)))
    assert math.isclose(volume.geometry.spacing_mm[2], header.distance_mm, rel_tol=1e-4)
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[3:20, 5:30, 1:4] = labels[8:30, 5:20, 6:9] = 1
    mask = Mask(labels, volume.geometry)
    probabilities = np.stack([labels == 0, labels == 1]).astype(np.float32)
    path = folder / "seg.dcm"
    algorithm = algorithm_of(ModelPackage(Path("package"), tiny_manifest(SPEC)))
    write_seg(Segmentation(mask, (), probabilities), volume, algorithm, path, SegOptions(encoding=header.encoding))
    read = hd.seg.segread(path).get_volume(combine_segments=header.encoding is not SegEncoding.FRACTIONAL)
    ml = np.count_nonzero(read.array) * math.prod(read.spacing) / 1000
    assert math.isclose(ml, mask.volume_ml(1), rel_tol=1e-3)
    measures = dcmread(path).SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert math.isclose(measures.SpacingBetweenSlices, header.distance_mm, rel_tol=1e-4)
    is_said = header.thickness in (0.5, 1)
    expected = header.thickness if is_said else header.distance_mm
    assert math.isclose(measures.SliceThickness, expected, rel_tol=1e-4)
    if header.encoding is not SegEncoding.LABELMAP:  # Supplement 243 is younger than Debian's dciodvfy
        assert not errors_of(path) - errors_of(next(source.iterdir()))


WORST = Header("classic", None, 1, 3.0, "LPS", False, "same", 0.0, SegEncoding.BINARY)


@pytest.mark.parametrize(
    "header",
    [
        WORST,
        replace(WORST, thickness=ABSENT, spacing=0, jitter=1e-5),
        replace(WORST, kind="enhanced", thickness=0.5, spacing=0, encoding=SegEncoding.FRACTIONAL),
        replace(WORST, kind="enhanced", thickness=ABSENT, spacing=-3, are_apart=True),
        replace(WORST, kind="legacy", thickness=0, spacing=ABSENT, orientation="oblique"),
        replace(WORST, thickness=0.5, order="reversed", encoding=SegEncoding.LABELMAP),
    ],
)
def test_the_volume_of_a_seg_is_that_of_the_record(header: Header, tmp_path: Path):
    measure(header, tmp_path)


@pytest.mark.full
@seed(22)
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(HEADERS)
def test_the_volume_of_a_seg_is_that_of_the_record_for_200_headers(header: Header):
    with TemporaryDirectory() as folder:
        measure(header, Path(folder))
