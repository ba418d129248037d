"""`brain-edge summarize`: one table of the shards of a batch, and what is missing."""

from __future__ import annotations

import csv
import json
import shutil
from typing import TYPE_CHECKING

import pytest
from cli_program import brain_edge, child, make_package, refused, save_phantom, succeed

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("sharded")


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    return make_package(tmp_path_factory.mktemp("tiny")).folder


@pytest.fixture(scope="module")
def made(package, tmp_path_factory) -> Path:
    """A batch of three cases in two shards, one of which has failed."""
    folder = tmp_path_factory.mktemp("made")
    save_phantom(folder / "head.nii.gz")
    save_phantom(folder / "coarse.nii.gz", shape=(26, 30, 28), spacing_mm=7.0)
    lines = ("case\timage", "sub-1\thead.nii.gz", "sub-2\tcoarse.nii.gz", "sub-3\tgone.nii.gz")
    (folder / "list.tsv").write_text("\n".join(lines))
    for number in (1, 2):
        shard = ("--shard", f"{number}/2", "--page")
        brain_edge("run", package, "--cases", folder / "list.tsv", "-o", folder / "out", *shard)
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """The current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def sharded(made, here) -> None:
    """That batch, in the current folder."""
    shutil.copytree(made, here, dirs_exist_ok=True)


def test_shards_leave_their_parts_and_the_table_is_made_on_demand(here):
    assert sorted(path.name for path in (here / "out").iterdir()) == [".brain-edge", "sub-1", "sub-2", "sub-3"]
    assert sorted(path.name for path in (here / "out/.brain-edge/parts").iterdir()) == ["1-of-2.jsonl", "2-of-2.jsonl"]
    assert succeed("summarize", "out").out == "out: 3 cases, 2 done, 1 failed\n"
    with (here / "out/summary.tsv").open(newline="") as stream:
        rows = {row["case"]: row for row in csv.DictReader(stream, delimiter="\t")}
    assert rows["sub-1"]["mask"] == "sub-1/sub-1_mask.nii.gz"
    assert (here / "out" / rows["sub-1"]["mask"]).is_file()
    assert rows["sub-2"]["flags"].startswith("spacing of 7 mm")
    assert "gone.nii.gz" in rows["sub-3"]["error"]
    assert json.loads((here / "out/summary.json").read_text())["failed"] == 1


def test_a_shard_says_how_its_table_is_made(package):
    done = brain_edge("run", package, "--cases", "list.tsv", "-o", "out", "--shard", "1/2", "--page")
    assert "note: brain-edge summarize out --page merges the shards that have ended" in done.err


def test_the_summary_as_json_on_stdout(here):
    printed = succeed("summarize", "out", "--json").json
    assert printed == json.loads((here / "out/summary.json").read_text())


def test_a_page_of_all_shards(here):
    assert not (here / "out/index.html").exists()
    assert "out/index.html: open it in a browser" in succeed("summarize", "out", "--page").out
    assert "./sub-1/sub-1_picture.png" in (here / "out/index.html").read_text()


def test_the_cases_of_the_list_without_a_mask_are_named(here):
    with (here / "list.tsv").open("a") as stream:
        stream.write("\nsub-4\thead.nii.gz")
    done = brain_edge("summarize", "out", "--cases", "list.tsv")
    assert done.code == 6
    assert "2 of 4 cases have no mask: sub-3, sub-4; run the batch again" in done.err
    (here / "list.tsv").write_text("case\timage\nsub-1\thead.nii.gz\n")
    succeed("summarize", "out", "--cases", "list.tsv")


def test_parquet_has_the_columns_of_the_table(here):
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra parquet")
    succeed("summarize", "out", "--format", "parquet", "--format", "tsv")
    assert not (here / "out/summary.json").exists()
    table = parquet.read_table(here / "out/summary.parquet")
    with (here / "out/summary.tsv").open(newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    assert table.column_names == list(rows[0])
    found = table.to_pylist()
    assert [row["case"] for row in found] == [row["case"] for row in rows]
    assert found[0]["volume_ml_brain"] == pytest.approx(float(rows[0]["volume_ml_brain"]), abs=1e-3)
    assert (found[0]["error"], found[2]["volume_ml_brain"], found[0]["flags"]) == (None, None, [])
    assert found[1]["flags"][0].startswith("spacing of 7 mm")


@pytest.mark.usefixtures("here")
def test_parquet_without_pyarrow_names_the_extra():
    done = child("summarize", "out", "--format", "parquet", without=["pyarrow"])
    assert done.code == 1
    assert "a summary in Parquet needs pyarrow, which is not installed here" in done.err
    assert "brain-edge[parquet]" in done.err


def test_a_folder_without_records_is_refused(here):
    for name in ("empty", "none"):
        if name == "empty":
            (here / name).mkdir()
        said = refused(3, "summarize", name)
        assert f"{name}: expected the records of a batch (NAME_record.json), found none" in said
