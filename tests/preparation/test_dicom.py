"""A DICOM examination is one study: its mask lies on the frames of the series that the user names."""

from __future__ import annotations

import highdicom as hd
import msgspec
import numpy as np
import pytest
from cli_program import make_package, refused, succeed
from dicom_series import SHAPE, Series
from pydicom import dcmread
from test_run import GRID

from brain_edge.image.phantom import Phantom, make_volume
from brain_edge.spec import Preparation

FINE = msgspec.structs.replace(GRID, preparation=Preparation(references=("T1",), spacing_mm=3.0))


def test_a_seg_lies_on_the_frames_of_its_series(tmp_path):
    package = make_package(tmp_path / "package", FINE)
    phantom = make_volume(Phantom(shape=(*SHAPE[:2], 40), spacing_mm=5.0))
    Series(phantom.geometry, np.round(phantom.voxels).astype(int)).write(tmp_path / "series")
    succeed("run", package.folder, tmp_path / "series", "-o", tmp_path / "seg.dcm", "--on", "T1", "-q")
    (uid,) = {dcmread(path).SeriesInstanceUID for path in (tmp_path / "series").iterdir()}
    seg = dcmread(tmp_path / "seg.dcm")
    assert {each.SeriesInstanceUID for each in seg.ReferencedSeriesSequence} == {uid}
    found = hd.seg.segread(tmp_path / "seg.dcm").get_volume(combine_segments=True, relabel=False)
    assert np.linalg.norm(found.affine[:3, :3], axis=0) == pytest.approx(phantom.geometry.spacing_mm)
    words = refused(2, "run", package.folder, tmp_path / "series", "-o", tmp_path / "s.dcm", "--on", "atlas")
    assert "a DICOM output lies on the frames of a series, and atlas has none" in words
