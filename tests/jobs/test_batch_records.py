"""From records on disk to the page: what was recorded is what is shown."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
import pytest
from PIL import Image

from brain_edge.errors import InputError
from brain_edge.jobs.outliers import LabelMeasure
from brain_edge.jobs.pictures.batch_page import write_batch_page
from brain_edge.jobs.pictures.batch_view import Status, read_batch
from brain_edge.jobs.record import (
    CaseRecord,
    CaseStatus,
    ErrorRecord,
    FileRecord,
    RunRecord,
    record_path,
    write_case_record,
)
from brain_edge.spec.plausibility import Flag, FlagKind

if TYPE_CHECKING:
    from pathlib import Path

DIGEST = "c8" * 32
FLAG = Flag(FlagKind.SPACING, "spacing of 8 mm, expected 1 to 7 mm", value=8, low=1, high=7)


def record(case: str, volume_ml: float, *flags: Flag, picture: str = "none.png") -> CaseRecord:
    run = RunRecord(
        model="tiny",
        digest=DIGEST,
        weights_status="trained",
        number_format="int8",
        precision="f32",
        intended_use="Research use only.",
        inputs={"image": f"heads/{case}.nii.gz"},
        series={},
        mask=f"out/{case}_mask.nii.gz",
        brain=None,
        probabilities=None,
        picture=None,
        border_mm=0.0,
        volumes_ml={"brain": volume_ml},
        member_agreement={},
        flags=flags,
        threads=2,
        elapsed_ms={"total": 1234.0},
        peak_rss_bytes=100 * 2**20,
    )
    return CaseRecord(
        case=case,
        status=CaseStatus.DONE,
        inputs={"image": FileRecord(path=f"heads/{case}.nii.gz", size_bytes=1, sha256=None)},
        series={},
        digest=DIGEST,
        border_mm=0.0,
        strict=False,
        outputs={"picture": FileRecord(path=picture, size_bytes=1, sha256=None)},
        run=run,
        measures={"brain": LabelMeasure(volume_ml, 1, 0.0)},
        error=None,
        started=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        finished=datetime(2026, 1, 2, 3, 5, 5, tzinfo=UTC),
        rss_bytes=None,
        versions={"brain_edge": "0.1.0", "openvino": "2026.4.1"},
    )


def failed(case: str, message: str) -> CaseRecord:
    error = ErrorRecord(message=message, kind="InputError", exit_code=3)
    return msgspec.structs.replace(
        record(case, 0.0), status=CaseStatus.FAILED, run=None, outputs={}, measures={}, error=error
    )


def write(folder: Path, *records: CaseRecord) -> None:
    folder.mkdir(exist_ok=True)
    for each in records:
        write_case_record(each, record_path(folder, each.case))


def test_records_become_rows_with_their_flags_and_those_of_the_batch(tmp_path: Path) -> None:
    usual = [record(f"head{k}", 1400.0 + k) for k in range(6)]
    write(tmp_path, *usual, record("coarse", 1401.0, FLAG), record("small", 700.0), failed("cut", "cut: too short"))
    batch = read_batch(tmp_path)
    assert batch.title == "tiny: 9 cases"
    assert [case.name for case in batch.cases[:3]] == ["cut", "coarse", "small"]
    assert [[mark.kind for mark in case.marks] for case in batch.cases[:3]] == [
        *([], ["implausible spacing"], ["volume far from the others"]),
    ]
    cut, coarse = batch.cases[:2]
    assert (cut.status, cut.error, cut.model, cut.picture) == (Status.FAILED, "cut: too short", "tiny", None)
    assert (coarse.elapsed_ms, coarse.peak_rss_bytes, coarse.components) == (1234.0, 100 * 2**20, 1)


def test_the_origin_names_package_versions_and_times(tmp_path: Path) -> None:
    """Cases by two versions: both are named."""
    later = msgspec.structs.replace(record("b", 1.0), versions={"brain_edge": "0.2.0", "openvino": "2026.4.1"})
    write(tmp_path, record("a", 1.0), later)
    assert read_batch(tmp_path).origin == {
        "model": "tiny (int8, run in f32)",
        "package digest": DIGEST,
        "threads": "2",
        "brain_edge": "0.1.0, 0.2.0",
        "openvino": "2026.4.1",
        "first case started": "2026-01-02 03:04:05+00:00",
        "last case finished": "2026-01-02 03:05:05+00:00",
    }


def test_a_picture_is_shown_where_it_lies_from_the_page(tmp_path: Path) -> None:
    """In the folder, below it and beside it; one that is gone, one that is no PNG and an absolute path are not."""
    out = tmp_path / "out"
    (out / "below").mkdir(parents=True)
    there = [out / "here.png", out / "below" / "picture.png", tmp_path / "beside.png"]
    for path in there:
        Image.new("L", (4, 4)).save(path)
    (out / "capture.dcm").touch()
    names = ["here.png", "below/picture.png", "../beside.png", "gone.png", "capture.dcm", str(there[0])]
    write(out, *(record(f"case{k}", 1.0, picture=name) for k, name in enumerate(names)))
    assert [case.picture for case in read_batch(out).cases] == [*names[:3], None, None, None]


def test_a_batch_of_failures_only_still_has_a_page(tmp_path: Path) -> None:
    write(tmp_path, failed("a", "a: no image"), failed("b", "b: no image"))
    html = write_batch_page(tmp_path).read_text(encoding="utf-8")
    assert "brain_edge: 2 cases" in html
    assert "b: no image" in html
    assert "Research use only" in html


def test_the_page_is_replaced_in_one_step_and_nothing_else_is_left(tmp_path: Path) -> None:
    write(tmp_path, record("a", 1.0))
    first = write_batch_page(tmp_path)
    assert first == tmp_path / "index.html"
    before = first.read_bytes()
    write(tmp_path, record("b", 2.0))
    assert write_batch_page(tmp_path).read_bytes() != before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a_record.json", "b_record.json", "index.html"]


def test_a_folder_without_records_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected the records of a batch \(NAME_record.json\), found none; name the"):
        write_batch_page(tmp_path)
    assert not list(tmp_path.iterdir())
