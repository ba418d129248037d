"""The table of a batch: a line is a case, whatever its words hold."""

from __future__ import annotations

import csv
import io

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from brain_edge.jobs.batch.row import SummaryRow, as_tsv
from brain_edge.jobs.batch.summary import write_summary
from brain_edge.jobs.record import CaseStatus, printable

ROW = SummaryRow(
    case="a",
    status=CaseStatus.DONE,
    input="in/a.nii.gz",
    mask="a_mask.nii.gz",
    volumes_ml={"brain": 1234.5678},
    flags=[],
    error=None,
    elapsed_ms=1500.0,
    digest="0" * 64,
)


def parsed(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE))


@given(words=st.text(), count=st.integers(0, 5))
def test_each_case_is_one_line_of_as_many_columns(words, count):
    rows = [msgspec.structs.replace(ROW, error=words, flags=[words, words]) for _ in range(count)]
    header, *lines = as_tsv(rows).removesuffix("\n").split("\n")
    assert [line.count("\t") for line in lines] == [header.count("\t")] * count


def test_a_column_for_each_label_of_any_case_in_ml():
    other = msgspec.structs.replace(ROW, case="b", volumes_ml={"tumour": 0.0})
    first, second = parsed(as_tsv([ROW, other]))
    assert (first["volume_ml_brain"], first["volume_ml_tumour"]) == ("1234.568", "n/a")
    assert (second["volume_ml_brain"], second["volume_ml_tumour"]) == ("n/a", "0.000")
    assert (first["seconds"], first["error"], first["flags"]) == ("1.50", "n/a", "n/a")


def test_a_folder_without_records_has_an_empty_summary(tmp_path):
    assert write_summary(tmp_path).cases == 0
    assert sorted(path.name for path in tmp_path.glob("[!.]*")) == ["summary.json", "summary.tsv"]
    assert parsed((tmp_path / "summary.tsv").read_text()) == []


def test_a_name_that_is_no_text_can_be_written():
    assert printable("caf\udce9.nii.gz") == "caf\\udce9.nii.gz"
    msgspec.json.encode(printable("caf\udce9.nii.gz"))
