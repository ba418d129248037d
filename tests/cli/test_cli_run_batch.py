"""`brain-edge run` where OUT is a folder: many heads, and everything that can happen to one of them or to all."""

from __future__ import annotations

import csv
import errno
import gc
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import nibabel
import numpy as np
import pytest
from cli_program import (
    brain_edge,
    child,
    child_command,
    child_environment,
    make_package,
    make_pair_package,
    refused,
    save_phantom,
    save_specks,
    succeed,
)
from present import present

from brain_edge.errors import ImplausibleError, OutputError
from brain_edge.image.volume import Volume
from brain_edge.jobs.batch import Batch, CaseOutcome, Shard, plan_batch, run_batch
from brain_edge.jobs.batch.books import BOOKS, Books
from brain_edge.jobs.batch.lock import working
from brain_edge.jobs.case import Job
from brain_edge.jobs.outputs import Outputs
from brain_edge.jobs.record import CaseStatus, input_record, read_case_record, write_case_record
from brain_edge.jobs.records import read_case_records
from brain_edge.package import open_package
from brain_edge.package.digest import sha256_of

SUMMARY = ("summary.json", "summary.tsv")


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    return make_package(tmp_path_factory.mktemp("tiny")).folder


@pytest.fixture(scope="module")
def other_package(tmp_path_factory) -> Path:
    """The same network under another digest."""
    return make_package(tmp_path_factory.mktemp("other"), made_with={"brain-edge": "another"}).folder


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> Path:
    return make_pair_package(tmp_path_factory.mktemp("pair")).folder


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty current folder with one head, `head.nii.gz`."""
    monkeypatch.chdir(tmp_path)
    return save_phantom(tmp_path / "head.nii.gz").parent


def names(folder: Path) -> list[str]:
    """Everything in a folder, hidden files too; of the bookkeeping only what no ended run may leave there."""
    left = [path for path in (folder / BOOKS).rglob("*") if path.is_file() and path.parent.name != "parts"]
    found = [path.name for path in folder.iterdir() if path.name != BOOKS]
    return sorted([*found, *(path.name for path in left if path.name != "layout")])


def opened(folder: Path) -> Books:
    """The bookkeeping of a folder in which a run has begun."""
    books = Books(folder)
    books.open()
    return books


def results_of(*cases: str) -> list[str]:
    """What a batch of finished cases leaves in its folder."""
    return sorted([*SUMMARY, *(f"{case}_{kind}" for case in cases for kind in ("mask.nii.gz", "record.json"))])


def contents(folder: Path, pattern: str = "*_mask.nii.gz") -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob(pattern) if path.is_file()}


def make_batch(folder: Path) -> Path:
    """Two good heads around a file that is none, and a side-car."""
    folder.mkdir()
    save_phantom(folder / "a.nii.gz")
    (folder / "b.nii.gz").write_bytes(b"no image")
    save_phantom(folder / "c.nii", seed=7)
    (folder / "a.json").write_text("{}")
    for path in folder.iterdir():
        os.utime(path, (10**9, 10**9 + 0.5))  # a file that was changed just now would have no stamp
    return folder


def make_links(here: Path, count: int) -> None:
    """A folder `in` with as many heads as wanted."""
    (here / "in").mkdir()
    for case in range(count):
        (here / f"in/{case:03}.nii.gz").symlink_to(here / "head.nii.gz")


def outcomes(done) -> list[str]:
    """What was said of each case on stdout, in short."""
    return [Path(line.partition(":")[0]).name for line in done.out.splitlines()]


# what comes out


def test_a_failing_case_does_not_stop_the_others(package, here):
    make_batch(here / "in")
    done = brain_edge("run", package, "in", "-o", "out")
    assert done.code == 6
    assert names(here / "out") == sorted([*results_of("a", "c"), "b_record.json"])
    assert sorted(outcomes(done)) == ["a_mask.nii.gz", "c_mask.nii.gz"]
    assert "error: in/b.nii.gz: expected a NIfTI" in done.err
    assert "error: 1 of 3 cases failed; see the errors above: in/b.nii.gz" in done.err


def test_the_json_of_a_batch_are_the_records_in_the_order_of_the_cases(package, here):
    make_batch(here / "in")
    done = brain_edge("run", package, "in", "-o", "out", "--json")
    assert done.code == 6
    assert [record["case"] for record in done.json] == ["a", "b", "c"]
    assert [record["status"] for record in done.json] == ["done", "failed", "done"]
    for record in done.json:
        assert record == json.loads((here / f"out/{record['case']}_record.json").read_text())


def test_the_record_of_a_case_says_what_was_made_of_what(package, here):
    make_batch(here / "in")
    brain_edge("run", package, "in", "-o", "out", "--threads", "1")
    first, failed, _ = read_case_records(here / "out")
    assert first.inputs["T1"].sha256 == sha256_of(here / "in/a.nii.gz")
    assert first.outputs["mask"].path == "a_mask.nii.gz"
    assert first.outputs["mask"].sha256 == sha256_of(here / "out/a_mask.nii.gz")
    assert first.outputs["mask"].size_bytes == (here / "out/a_mask.nii.gz").stat().st_size
    assert first.digest == failed.digest == open_package(package).digest
    assert first.versions.keys() == {"brain_edge", "openvino", "python"}
    assert first.started <= first.finished
    voxels = np.asarray(nibabel.load(here / "out/a_mask.nii.gz").dataobj)
    assert first.run is not None
    assert first.run.volumes_ml["brain"] == pytest.approx(np.count_nonzero(voxels) * 0.064)
    assert first.measures["brain"].volume_ml == pytest.approx(first.run.volumes_ml["brain"])
    assert first.measures["brain"].components == 1
    assert {"read", "brain: network", "write", "total"} <= first.run.elapsed_ms.keys()
    assert (failed.status, failed.run, failed.outputs) == (CaseStatus.FAILED, None, {})
    assert failed.error is not None
    assert failed.error.message.startswith("in/b.nii.gz: expected a NIfTI")
    assert (failed.error.kind, failed.error.exit_code) == ("InputError", 3)


def test_the_summary_has_a_row_for_each_case_with_volumes_in_ml(package, here):
    make_batch(here / "in")
    save_phantom(here / "in/d.nii.gz", shape=(26, 30, 28), spacing_mm=7.0)
    brain_edge("run", package, "in", "-o", "out")
    with (here / "out/summary.tsv").open(newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    assert [(row["case"], row["status"]) for row in rows] == [
        ("a", "done"), ("b", "failed"), ("c", "done"), ("d", "done")
    ]  # fmt: skip
    voxels = np.asarray(nibabel.load(here / "out/a_mask.nii.gz").dataobj)
    assert float(rows[0]["volume_ml_brain"]) == pytest.approx(np.count_nonzero(voxels) * 0.064, abs=1e-3)
    assert rows[1]["volume_ml_brain"] == "n/a"
    assert rows[1]["error"].startswith("in/b.nii.gz: expected a NIfTI")
    assert rows[3]["flags"].startswith("spacing of 7 mm")
    summary = json.loads((here / "out/summary.json").read_text())
    assert (summary["cases"], summary["done"], summary["failed"]) == (4, 3, 1)
    assert [row["case"] for row in summary["rows"]] == ["a", "b", "c", "d"]


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_a_batch_gives_the_masks_of_single_runs_and_exit_code_0(package, here, at_once):
    save_phantom(here / "other.nii.gz", seed=3, shape=(40, 52, 50))
    save_phantom(here / "third.nii.gz", seed=4)
    cases = ("head", "other", "third")
    files = [f"{name}.nii.gz" for name in cases]
    succeed("run", package, *files, "-o", "out", "--quiet", "--at-once", at_once)
    for name in cases:
        succeed("run", package, f"{name}.nii.gz", "-o", "single.nii.gz")
        assert (here / f"out/{name}_mask.nii.gz").read_bytes() == (here / "single.nii.gz").read_bytes()


def test_the_other_outputs_of_a_batch_go_to_folders(package, here):
    options = ("--brain", "out", "--probabilities", "out", "--report", "qc")
    done = succeed("run", package, "head.nii.gz", "-o", "out", *options, "--json")
    assert names(here / "out") == sorted([*results_of("head"), "head_brain.nii.gz", "head_probabilities.nii.gz"])
    assert names(here / "qc") == ["head_report.png"]
    (record,) = done.json
    assert record["outputs"]["brain"]["path"] == "head_brain.nii.gz"
    assert record["outputs"]["report"]["path"] == "../qc/head_report.png"
    said = refused(2, "run", package, "head.nii.gz", "-o", "out", "--brain", "b.nii.gz")
    assert "b.nii.gz: expected a folder for the results of a batch" in said


def test_a_page_to_look_at_with_a_picture_of_each_case(package, here):
    save_phantom(here / "other.nii.gz", seed=3)
    done = succeed("run", package, "head.nii.gz", "other.nii.gz", "-o", "out", "--page")
    assert "out/index.html: open it in a browser" in done.out
    page = (here / "out/index.html").read_text(encoding="utf-8")
    for case in ("head", "other"):
        assert (here / f"out/{case}_picture.png").read_bytes().startswith(b"\x89PNG")
        assert f"{case}_picture.png" in page


def test_a_page_without_matplotlib_is_refused_before_the_work(package, here):
    done = child("run", package, "head.nii.gz", "-o", "out", "--page", without=["matplotlib"])
    assert done.code == 1
    assert "needs matplotlib, which is not installed here" in done.err
    assert names(here) == ["head.nii.gz"]


def test_a_warning_of_a_batch_names_its_case(package, here):
    save_phantom(here / "coarse.nii.gz", shape=(26, 30, 28), spacing_mm=7.0)
    done = succeed("run", package, "head.nii.gz", "coarse.nii.gz", "-o", "out")
    assert "warning: coarse.nii.gz: spacing of 7 mm" in done.err
    assert "warning: head.nii.gz" not in done.err
    strict = brain_edge("run", package, "head.nii.gz", "coarse.nii.gz", "-o", "out", "--strict")
    assert strict.code == 6
    assert "error: coarse.nii.gz: spacing of 7 mm" in strict.err


def test_masks_in_a_folder_are_left_out_and_named(package, here):
    (here / "in").mkdir()
    for name in ("head", "head_mask", "other_BrainMask", "a_seg", "b_dseg"):
        (here / f"in/{name}.nii.gz").symlink_to(here / "head.nii.gz")
    done = succeed("run", package, "in", "-o", "out")
    assert names(here / "out") == results_of("head")
    (note,) = [line for line in done.err.splitlines() if line.startswith("note: ")]
    listed = ("a_seg", "b_dseg", "head_mask", "other_BrainMask")
    assert note == f"note: left out as masks by their names: {', '.join(f'in/{name}.nii.gz' for name in listed)}"
    succeed("run", package, "in/head_mask.nii.gz", "-o", "named")
    assert "head_mask_mask.nii.gz" in names(here / "named")


def test_a_folder_of_masks_only_is_refused(package, here):
    (here / "in").mkdir()
    (here / "in/head_mask.nii.gz").symlink_to(here / "head.nii.gz")
    said = refused(3, "run", package, "in", "-o", "out")
    assert "in: expected images, got only masks by their names (head_mask.nii.gz)" in said


def test_the_end_of_a_batch_says_how_many_cases_have_flags_also_where_they_are_kept(package, here):
    save_phantom(here / "coarse.nii.gz", shape=(26, 30, 28), spacing_mm=7.0)
    for _ in range(2):
        done = succeed("run", package, "head.nii.gz", "coarse.nii.gz", "-o", "out")
        assert done.err.splitlines()[-1] == "warning: 1 of 2 cases have flags; summary.tsv lists them"


def test_an_empty_mask_fails_its_case_only(package, here):
    save_specks(here / "specks.nii.gz")
    assert brain_edge("run", package, "specks.nii.gz", "head.nii.gz", "-o", "out").code == 6
    assert names(here / "out") == sorted([*results_of("head"), "specks_record.json"])


@pytest.mark.full  # three seconds of processes
def test_a_case_that_fails_leaves_no_image_in_memory(package, here):
    """Its error does not hold it, though errors are kept until all cases have ended."""

    def images() -> int:
        gc.collect()
        return sum(type(each) is Volume for each in gc.get_objects())

    save_specks(here / "specks.nii.gz")
    before, job = images(), Job({"T1": here / "specks.nii.gz"}, Outputs(mask=here / "mask.nii.gz"), case="specks")
    (result,) = run_batch(open_package(package), [job], Batch(records=here))
    assert isinstance(result.error, ImplausibleError)
    assert images() == before


# several sequences


def test_a_model_of_several_sequences_finds_its_cases_by_the_names_of_the_files(pair, here):
    (here / "in").mkdir()
    for case in ("p1", "p2"):
        save_phantom(here / f"in/{case}_T1W.nii.gz")
        save_phantom(here / f"in/{case}_t2.nii.gz", seed=5)
        save_phantom(here / f"in/{case}_FLAIR.nii.gz")
    done = succeed("run", pair, "in", "-o", "out", "--json")
    assert [record["case"] for record in done.json] == ["p1", "p2"]
    assert done.json[0]["inputs"]["T1"]["path"] == "in/p1_T1W.nii.gz"
    assert done.json[0]["inputs"]["T2"]["path"] == "in/p1_t2.nii.gz"
    succeed("run", pair, "T1=in/p1_T1W.nii.gz", "T2=in/p1_t2.nii.gz", "-o", "single.nii.gz")
    assert (here / "single.nii.gz").read_bytes() == (here / "out/p1_mask.nii.gz").read_bytes()


def test_a_case_whose_images_are_not_clear_fails_and_the_others_are_run(pair, here):
    for name in ("p1/T1", "p1/T2", "p2/T1", "p3/T1", "p3/T2", "p3/T2W"):
        (here / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        save_phantom(here / f"in/{name}.nii.gz")
    done = brain_edge("run", pair, "in", "-o", "out")
    assert done.code == 6
    assert "p2: expected one image of each of T1, T2 beside in/p2/T1.nii.gz, found none of T2" in done.err
    assert "p3: expected one image of T2, got in/p3/T2.nii.gz and in/p3/T2W.nii.gz" in done.err
    assert names(here / "out") == sorted([*results_of("p1"), "p2_record.json", "p3_record.json"])


def test_files_by_name_are_one_case(pair, here):
    save_phantom(here / "p1_T1.nii.gz")
    succeed("run", pair, "T1=p1_T1.nii.gz", "T2=head.nii.gz", "-o", "out")
    assert names(here / "out") == results_of("p1")


def test_images_both_in_a_folder_and_below_it_are_refused(pair, here):
    (here / "in/below").mkdir(parents=True)
    for name in ("in/a_T1", "in/below/b_T1"):
        save_phantom(here / f"{name}.nii.gz")
    said = refused(2, "run", pair, "in", "-o", "out")
    assert "in: both this folder and in/below hold images; use one folder for all cases, or one per case" in said
    assert not (here / "out").exists()


# a list of cases


def test_a_list_of_cases_is_run_shard_by_shard_into_folders(package, here):
    """The folder of the images is not searched: an image that the list does not name is no case."""
    make_links(here, 4)
    lines = "".join(f"sub-{case}\tin/{case:03}.nii.gz\n" for case in range(3))
    (here / "list.tsv").write_text(f"case\timage\n{lines}other\tin/gone.nii.gz\n")
    for number in (1, 2):
        done = brain_edge(
            "run", package, "--cases", "list.tsv", "-o", "out", "--shard", f"{number}/2", "--brain", "out"
        )
        assert done.code == (6 if Shard(number, 2).holds("other") else 0), done.err
    for case in range(3):
        assert {"mask.nii.gz", "brain.nii.gz", "record.json"} == {
            name.partition("_")[2] for name in names(here / f"out/sub-{case}")
        }
    statuses = {record.case: record.status for record in read_case_records(here / "out")}
    assert statuses == {"sub-0": "done", "sub-1": "done", "sub-2": "done", "other": "failed"}
    kept = brain_edge("run", package, "--cases", "list.tsv", "-o", "out", "--brain", "out")
    assert kept.out == "3 of 4 cases were already finished and are kept\n"


def test_a_list_and_images_are_refused_together(package, here):
    (here / "list.tsv").write_text("case\timage\na\thead.nii.gz\n")
    said = refused(2, "run", package, "head.nii.gz", "--cases", "list.tsv", "-o", "out")
    assert "expected inputs or --cases, got both; remove head.nii.gz or --cases" in said
    said = refused(2, "run", package, "--cases", "list.tsv", "-o", "mask.nii.gz")
    assert "--cases needs a batch, but mask.nii.gz is one file; name a folder for the results" in said
    said = refused(3, "run", package, "--cases", "none.tsv", "-o", "out")
    assert "none.tsv: the list cannot be read" in said
    assert not (here / "out").exists()


# what is refused


def test_a_mask_of_one_case_never_replaces_the_image_of_another(package, here):
    save_phantom(here / "head_mask.nii.gz")
    said = refused(2, "run", package, "head.nii.gz", "head_mask.nii.gz", "-o", ".")
    assert "head_mask.nii.gz: this output of head.nii.gz would overwrite an input" in said


def test_a_folder_without_images_is_refused(package, pair, here):
    (here / "in").mkdir()
    (here / "in/._head.nii.gz").touch()
    said = refused(3, "run", package, "in", "-o", "out")
    assert "in: expected a folder with images (.nii.gz, .nii, .mgz, .mgh) or DICOM, found neither" in said
    save_phantom(here / "in/head.nii.gz")
    said = refused(3, "run", pair, "in", "-o", "out")
    assert "in: expected images whose names end in _T1, _T2, in it or in one folder per case, found none" in said
    assert not (here / "out").exists()


@pytest.mark.parametrize("place", ["in", "in/out", "in/deep/out"])
def test_results_never_lie_in_the_folder_of_the_images(package, here, place):
    make_batch(here / "in")
    (here / "in/deep").mkdir()
    (here / "out").symlink_to(here / place)
    for folder in (place, "out"):
        said = refused(2, "run", package, "in", "-o", folder)
        assert f"{folder}: results would lie among the images of in" in said
    said = refused(2, "run", package, "in", "-o", "good", "--brain", place)
    assert f"{place}: results would lie among the images of in" in said
    assert not (here / "good").exists()


@pytest.mark.usefixtures("here")
def test_a_read_only_output(package, without_rights, read_only_disk):
    said = refused(1, "run", package, "head.nii.gz", "-o", read_only_disk)
    assert "read-only disk; choose another folder" in said
    said = refused(1, "run", package, "head.nii.gz", "-o", read_only_disk / "out")
    assert "is on a read-only disk; choose another folder" in said
    with tempfile.TemporaryDirectory() as name:  # other users cannot look into pytest's folders
        place = Path(name)
        place.chmod(0o755)
        folder = make_package(place / "tiny").folder
        save_phantom(place / "head.nii.gz")
        (place / "closed").mkdir(mode=0o500)
        with without_rights(place / "closed"):
            said = refused(1, "run", folder, place / "head.nii.gz", "-o", place / "closed")
        assert "there is no permission to write in the folder" in said
        assert names(place / "closed") == []


# the next run


def test_finished_cases_are_kept_and_failed_ones_tried_again(package, here):
    make_batch(here / "in")
    brain_edge("run", package, "in", "-o", "out")
    first = contents(here / "out", "*")
    again = brain_edge("run", package, "in", "-o", "out")
    assert again.code == 6
    assert again.out == "2 of 3 cases were already finished and are kept\n"
    assert {name: text for name, text in contents(here / "out", "*").items() if name != "b_record.json"} == {
        name: text for name, text in first.items() if name != "b_record.json"
    }
    save_phantom(here / "in/b.nii.gz")
    mended = succeed("run", package, "in", "-o", "out")
    assert outcomes(mended)[0] == "b_mask.nii.gz"
    assert names(here / "out") == results_of("a", "b", "c")
    assert json.loads((here / "out/summary.json").read_text())["failed"] == 0


def test_a_batch_that_is_finished_loads_no_model(package, here):
    make_batch(here / "in")
    (here / "in/b.nii.gz").unlink()
    succeed("run", package, "in", "-o", "out")
    done = child("run", package, "in", "-o", "out", without=["openvino"])
    assert (done.code, done.err) == (0, "")


@pytest.mark.parametrize(
    "change",
    ["another image", "another package", "border", "strict", "another output", "mask gone", "overwrite"],
)
def test_what_would_change_the_outputs_runs_a_case_again(package, other_package, here, change):
    known: dict[str, list[object]]
    known = {"border": ["--border", 4], "strict": ["--strict"], "overwrite": ["--overwrite"]}
    options = known.get(change, [])
    if change == "another output":
        options = ["--brain", "out"]
    succeed("run", package, "head.nii.gz", "-o", "out")
    before = read_case_record(here / "out/head_record.json")
    if change == "another image":
        save_phantom(here / "head.nii.gz", seed=9)
    if change == "mask gone":
        (here / "out/head_mask.nii.gz").unlink()
    used = other_package if change == "another package" else package
    done = succeed("run", used, "head.nii.gz", "-o", "out", *options)
    assert outcomes(done) == ["head_mask.nii.gz"]
    after = read_case_record(here / "out/head_record.json")
    assert before is not None
    assert after is not None
    assert after.started > before.started
    kept = succeed("run", used, "head.nii.gz", "-o", "out", *[option for option in options if option != "--overwrite"])
    assert kept.out == "1 of 1 cases were already finished and are kept\n"


def test_a_new_date_or_place_of_the_same_image_changes_nothing(package, here):
    succeed("run", package, "head.nii.gz", "-o", "out")
    os.utime(here / "head.nii.gz", (0, 0))
    (here / "moved").mkdir()
    (here / "head.nii.gz").rename(here / "moved/head.nii.gz")
    done = succeed("run", package, "moved/head.nii.gz", "-o", "out")
    assert done.out == "1 of 1 cases were already finished and are kept\n"


@pytest.mark.parametrize("how", ["corrected", "truncated"])
def test_a_mask_that_was_changed_by_somebody_else_is_left_alone_and_told(package, other_package, here, how):
    """A mask that somebody has corrected by hand is worth more than a thousand computed ones."""
    succeed("run", package, "head.nii.gz", "-o", "out")
    mask = here / "out/head_mask.nii.gz"
    whole = mask.read_bytes()
    changed = whole[:-1] + b"x" if how == "corrected" else whole[:100]
    mask.write_bytes(changed)
    for used in (package, package, other_package):
        done = brain_edge("run", used, "head.nii.gz", "-o", "out")
        assert done.code == 6
        assert "head_mask.nii.gz: an output of this case does not match its record" in done.err
        assert mask.read_bytes() == changed
    assert json.loads((here / "out/summary.json").read_text())["rows"][0]["status"] == "failed"
    succeed("run", package, "head.nii.gz", "-o", "out", "--overwrite")
    assert mask.read_bytes() == whole


def test_an_earlier_mask_stays_where_its_case_fails_now(package, here):
    succeed("run", package, "head.nii.gz", "-o", "out")
    earlier = (here / "out/head_mask.nii.gz").read_bytes()
    good = (here / "head.nii.gz").read_bytes()
    (here / "head.nii.gz").write_bytes(b"broken")
    assert brain_edge("run", package, "head.nii.gz", "-o", "out").code == 6
    assert (here / "out/head_mask.nii.gz").read_bytes() == earlier
    (here / "head.nii.gz").write_bytes(good)
    assert outcomes(succeed("run", package, "head.nii.gz", "-o", "out")) == ["head_mask.nii.gz"]


@pytest.mark.parametrize("text", [None, "", "{}", "not JSON", "\xff"])
def test_a_mask_that_no_record_tells_of_is_left_alone(package, here, text):
    """It may be a reader's own, under the name that ours would have."""
    (here / "out").mkdir()
    mask = here / "out/head_mask.nii.gz"
    mask.write_bytes(b"by a reader")
    if text is not None:
        (here / "out/head_record.json").write_bytes(text.encode("latin-1"))
    for _ in range(2):
        done = brain_edge("run", package, "head.nii.gz", "-o", "out")
        assert done.code == 6
        assert "does not match its record (edited, damaged or from another run); move the outputs away" in done.err
        assert mask.read_bytes() == b"by a reader"
    mask.unlink()
    assert outcomes(succeed("run", package, "head.nii.gz", "-o", "out")) == ["head_mask.nii.gz"]


def test_another_output_that_no_record_tells_of_is_left_alone(package, here):
    succeed("run", package, "head.nii.gz", "-o", "out")
    (here / "out/head_brain.nii.gz").write_bytes(b"by a reader")
    assert brain_edge("run", package, "head.nii.gz", "-o", "out", "--brain", "out").code == 6
    assert (here / "out/head_brain.nii.gz").read_bytes() == b"by a reader"
    succeed("run", package, "head.nii.gz", "-o", "out", "--brain", "out", "--overwrite")
    assert (here / "out/head_brain.nii.gz").read_bytes() != b"by a reader"


def test_outputs_that_a_killed_run_had_just_named_are_its_own(package, here):
    """Killed between the first output and the last word on the case: it is run again, and nobody has to say so."""
    succeed("run", package, "head.nii.gz", "-o", "out", "--brain", "out")
    record = read_case_record(here / "out/head_record.json")
    write_case_record(
        msgspec.structs.replace(present(record), status=CaseStatus.WRITING), here / "out/head_record.json"
    )
    (here / "out/head_mask.nii.gz").unlink()
    assert read_case_records(here / "out") == ()
    done = succeed("run", package, "head.nii.gz", "-o", "out", "--brain", "out")
    assert outcomes(done) == ["head_mask.nii.gz"]
    assert present(read_case_record(here / "out/head_record.json")).status is CaseStatus.DONE


def test_an_image_that_cannot_be_reached_is_a_case_that_fails(package, here, monkeypatch):
    """A link to nowhere (data that was not fetched), and a share that does not answer."""
    make_links(here, 3)
    (here / "in/001.nii.gz").unlink()
    (here / "in/001.nii.gz").symlink_to(here / "not-fetched")
    stat = Path.stat

    def stale(path: Path, **options: bool) -> os.stat_result:
        if path.name == "002.nii.gz":
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return stat(path, **options)

    done = brain_edge("run", package, "in", "-o", "out")
    assert done.code == 6
    assert "001.nii.gz" in done.err
    rows = json.loads((here / "out/summary.json").read_text())["rows"]
    assert [row["status"] for row in rows] == ["done", "failed", "done"]
    monkeypatch.setattr(Path, "stat", stale)
    assert input_record(here / "in/002.nii.gz").sha256 is None


# several processes


def test_shards_are_disjoint_and_together_the_whole(package, here):
    make_links(here, 12)
    made: list[str] = []
    for number in (1, 2, 3):
        done = succeed("run", package, "in", "-o", "out", "--shard", f"{number}/3")
        made += outcomes(done)
    cases = [f"{case:03}" for case in range(12)]
    assert sorted(made) == [f"{case}_mask.nii.gz" for case in cases]
    assert names(here / "out") == sorted(set(results_of(*cases)) - set(SUMMARY))
    assert succeed("summarize", "out").out == "out: 12 cases, 12 done, 0 failed\n"
    assert json.loads((here / "out/summary.json").read_text())["done"] == 12


def test_two_runs_in_one_folder_are_refused_and_shards_of_one_division_are_not(package, here):
    with working(opened(here / "out"), Shard(1, 2)):
        for other in ([], ["--shard", "1/2"], ["--shard", "2/3"]):
            said = refused(1, "run", package, "head.nii.gz", "-o", "out", *other)
            assert f"out: process {os.getpid()} on " in said
            assert "works in this folder (shard 1/2); give --wait, or choose another folder" in said
        succeed("run", package, "head.nii.gz", "-o", "out", "--shard", "2/2")
    succeed("run", package, "head.nii.gz", "-o", "out")


def test_two_schedulers_on_one_output_run_each_case_once(package, here):
    """Both start all shards at the same time; a shard that is refused belongs to the other."""
    make_links(here, 8)
    spec, start = open_package(package), threading.Barrier(4)
    succeed("run", package, "head.nii.gz", "-o", "warm")
    made: list[Any] = []
    refusals: list[Any] = []

    def schedule(shard: Shard) -> None:
        batch = Batch(records=here / "out", shard=shard)
        cases = plan_batch([(None, here / "in")], spec.spec, Outputs(mask=here / "out"), batch)
        start.wait()
        try:
            made.extend(result.case for result in run_batch(spec, cases, batch) if result.outcome is CaseOutcome.NEW)
        except OutputError as error:
            refusals.append(str(error))

    threads = [threading.Thread(target=schedule, args=(Shard(number, 2),)) for number in (1, 2) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert sorted(made) == [f"{case:03}" for case in range(8)]
    assert all("works in this folder (shard " in said for said in refusals)
    assert len(set(contents(here / "out").values())) == 1


def test_a_number_of_shards_that_changes_runs_no_case_twice(package, here):
    make_links(here, 9)
    made = outcomes(succeed("run", package, "in", "-o", "out", "--shard", "1/2"))
    for number in (1, 2, 3):
        done = succeed("run", package, "in", "-o", "out", "--shard", f"{number}/3")
        made += [name for name in outcomes(done) if name.endswith("_mask.nii.gz")]
    assert sorted(made) == [f"{case:03}_mask.nii.gz" for case in range(9)]
    assert succeed("summarize", "out").out == "out: 9 cases, 9 done, 0 failed\n"


def test_a_layout_that_changes_is_refused_and_nothing_is_run_twice(package, here):
    succeed("run", package, "head.nii.gz", "-o", "out")
    (here / "list.tsv").write_text("case\timage\nhead\thead.nii.gz\n")
    said = refused(2, "run", package, "--cases", "list.tsv", "-o", "out")
    assert "the results in this folder have the layout flat, and this run has folders; give --layout flat" in said
    kept = succeed("run", package, "--cases", "list.tsv", "-o", "out", "--layout", "flat")
    assert kept.out == "1 of 1 cases were already finished and are kept\n"


def test_a_check_compares_what_no_stamp_tells(package, here):
    """A bit of the mask that has flipped on the disk: size, time and inode are as they were."""
    succeed("run", package, "head.nii.gz", "-o", "out")
    mask = here / "out/head_mask.nii.gz"
    stamp, content = mask.stat(), mask.read_bytes()
    mask.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(mask, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert succeed("run", package, "head.nii.gz", "-o", "out").out.startswith("1 of 1 cases were already finished")
    done = brain_edge("run", package, "head.nii.gz", "-o", "out", "--check")
    assert done.code == 6
    assert "an output of this case does not match its record" in done.err


def test_a_run_that_waits_goes_on_when_the_other_has_ended(package, here):
    command = child_command("run", package, "head.nii.gz", "-o", "out", "--wait")
    with ExitStack() as stack:
        with working(opened(here / "out"), Shard()):
            waiting = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, env=child_environment()))
            with pytest.raises(subprocess.TimeoutExpired):
                waiting.wait(timeout=3)
            assert not (here / "out/head_mask.nii.gz").exists()
        out, _ = waiting.communicate(timeout=60)
    assert waiting.returncode == 0
    assert out.startswith(b"out/head_mask.nii.gz: brain ")


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
@pytest.mark.usefixtures("here")
def test_an_image_whose_name_is_no_text_is_a_failed_case(package, here):
    """In Latin-1, as old archives have it: the others are done, and the record and the table name it."""
    make_links(here, 2)
    odd = os.fsdecode(b"k\xf6pf.nii.gz")
    (here / "in" / odd).symlink_to(here / "head.nii.gz")
    done = brain_edge("run", package, "in", "-o", "out")
    assert done.code == 6
    assert "expected a name in this system's encoding" in done.err
    records = {record.case: record.status for record in read_case_records(here / "out")}
    assert records == {"000": "done", "001": "done", "k%F6pf": "failed"}
    assert "k%F6pf\tfailed" in (here / "out/summary.tsv").read_text(encoding="utf-8")


# a full disk


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(("cases", "taken", "code"), [(12, 0, 6), (12, 40, 6), (12, 56, 1), (1, 40, 6)])
def test_a_full_disk_stops_a_batch_with_a_sentence_and_nothing_half_written(
    package, here, small_disk, cases, taken, code
):
    """Whether there is room for the bookkeeping or not, and whether the last case meets it or the first."""
    (small_disk / "taken").write_bytes(bytes(taken * 1024))
    make_links(here, cases)
    done = brain_edge("run", package, "in", "-o", small_disk, "--brain", small_disk)
    assert done.code == code
    assert "the disk is full" in done.err
    assert ("error: the disk or quota is full: " in done.err) is (code == 6)
    assert "internal error" not in done.err
    left = names(small_disk)
    assert not [name for name in left if name.startswith(".")]
    for record in read_case_records(small_disk):
        for file in record.outputs.values():
            assert sha256_of(small_disk / file.path) == file.sha256


@pytest.mark.usefixtures("here")
def test_a_file_larger_than_allowed_fails_its_case_only(package, here):
    """`ulimit -f`: the brain of a large image has no room, that of a small one has."""
    resource = pytest.importorskip("resource", reason="limits of another system")
    save_phantom(here / "large.nii.gz", shape=(88, 104, 100), spacing_mm=2.0)
    command = child_command("run", package, "large.nii.gz", "head.nii.gz", "-o", "out", "--brain", "out")
    limit = 300_000
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=child_environment(),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        check=False,
    )
    assert done.returncode == 6, done.stderr
    assert "the file exceeds the size limit (ulimit -f)" in done.stderr
    assert names(here / "out") == sorted([*results_of("head"), "head_brain.nii.gz", "large_record.json"])


# interruption


def start(command: list[str], number: int) -> subprocess.Popen[bytes]:
    """A child that heeds a signal; a shell that runs tests in the background has its children ignore some."""
    return subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=child_environment(),
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # noqa: PLW1509 - nothing else runs in this test
    )


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None and not path.exists():
        time.sleep(0.005)


@pytest.mark.parametrize(
    "signal_name", ["SIGINT", *(pytest.param(name, marks=pytest.mark.full) for name in ("SIGTERM", "SIGHUP"))]
)
def test_an_interrupted_run_ends_with_130_and_leaves_only_whole_cases(package, here, signal_name):
    count = 300
    make_links(here, count)
    number = getattr(signal, signal_name)
    with start(child_command("run", package, "in", "-o", "out"), number) as run:
        wait_for(here / "out/002_mask.nii.gz", run)
        run.send_signal(number)
        _, said = run.communicate(timeout=60)
    assert run.returncode == 130, said
    assert said.decode().strip() == "interrupted; nothing half-written was left"
    records = read_case_records(here / "out")
    assert 0 < len(records) < count
    assert names(here / "out") == results_of(*(record.case for record in records))
    assert len(set(contents(here / "out").values())) == 1


def test_a_run_that_is_killed_and_run_again_gives_the_same_outputs_and_no_case_twice(package, here):
    """Killed again and again, at any moment: SIGKILL leaves nobody time to clean up."""
    count = 60
    make_links(here, count)
    command = child_command("run", package, "in", "-o", "out", "--brain", "out")
    finished: dict[str, float] = {}
    for attempt in range(3):
        with start(command, signal.SIGTERM) as run:
            already = len(list((here / "out").glob("*_record.json"))) if (here / "out").is_dir() else 0
            while run.poll() is None and len(list((here / "out").glob("*_record.json"))) < already + 3 + attempt:
                time.sleep(0.002)
            run.kill()
        for record in read_case_records(here / "out"):
            when = record.finished.timestamp()
            assert finished.setdefault(record.case, when) == when, "a finished case was run twice"
            for file in record.outputs.values():
                assert sha256_of(here / "out" / file.path) == file.sha256
    assert 0 < len(finished) < count
    save_phantom(here / "foreign.nii.gz")
    partial = here / "out" / BOOKS / "partial"
    for place in ("1-of-1", "3-of-8"):
        (partial / place).mkdir(exist_ok=True)
        (partial / place / ".partial-0123abcd-000_mask.nii.gz").write_bytes(b"half")
    (partial / ".partial-ffffff00-summary.tsv").write_bytes(b"half")
    (here / "out/.partial-of-somebody-else.nii.gz").write_bytes(b"not ours")
    done = succeed("run", package, "in", "-o", "out", "--brain", "out")
    assert f"{len(finished)} of {count} cases were already finished and are kept" in done.out
    for record in read_case_records(here / "out"):
        assert finished.get(record.case, record.finished.timestamp()) == record.finished.timestamp()
    left = set(names(here / "out"))
    cases = [f"{case:03}" for case in range(count)]
    assert left == {
        *results_of(*cases), *(f"{case}_brain.nii.gz" for case in cases), ".partial-of-somebody-else.nii.gz"
    }  # fmt: skip
    assert len(set(contents(here / "out").values())) == 1
    assert len(set(contents(here / "out", "*_brain.nii.gz").values())) == 1
