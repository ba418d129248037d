"""The list of the cases of a batch: read once, refused as a whole where it is faulty, and the same in every shard."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_package import SPEC, STAGE

from brain_edge.errors import InputError
from brain_edge.jobs.batch import Batch, Shard, UnplannedCase, plan_batch
from brain_edge.jobs.batch.case_list import MOST_NAME_BYTES, is_case_name, listed_cases, listed_names
from brain_edge.jobs.case import Job
from brain_edge.jobs.layout import Layout, is_case_folder
from brain_edge.jobs.outputs import Outputs
from brain_edge.jobs.records import record_paths
from brain_edge.machine.atomic import atomic_file
from brain_edge.spec import Sequence

if TYPE_CHECKING:
    from pathlib import Path

TWO_CHANNELS = msgspec.structs.replace(STAGE, network=msgspec.structs.replace(STAGE.network, channels_in=2))
PAIR_SPEC = msgspec.structs.replace(SPEC, inputs=(Sequence(name="T1"), Sequence(name="T2")), stages=(TWO_CHANNELS,))


def written(folder: Path, *lines: str, ends: str = "\n") -> Path:
    path = folder / "list.tsv"
    path.write_bytes("".join(line + ends for line in lines).encode())
    return path


def test_a_cell_is_a_path_from_the_folder_of_the_list(tmp_path: Path):
    path = written(tmp_path, "case\timage", "a\theads/a.nii.gz", "b\t/data/b.mgz")
    assert listed_cases(path, SPEC, Shard()) == (
        ("a", {"T1": tmp_path / "heads/a.nii.gz"}),
        ("b", {"T1": tmp_path.joinpath("/data/b.mgz")}),
    )
    assert listed_names(path) == ("a", "b")


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_the_columns_may_have_any_order_and_a_spreadsheet_any_end_of_line(tmp_path: Path, ends: str):
    path = written(tmp_path, "\ufeffcase\tT2\tT1", "a\tt2.nii\tt1.nii", "", ends=ends)
    ((case, files),) = listed_cases(path, PAIR_SPEC, Shard())
    assert case == "a"
    assert isinstance(files, dict)
    assert list(files.items()) == [("T1", tmp_path / "t1.nii"), ("T2", tmp_path / "t2.nii")]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["name\timage", "a\ta.nii"], "expected a table with tabs whose first column is 'case', got 'name\\\\timage'"),
        (["case,image", "a,a.nii"], "expected a table with tabs"),
        (["case\timage"], "expected one line per case below the header, got none"),
        (["case\tT3", "a\ta.nii"], "expected the columns case, T1 once each, got 'T3'; remove or rename the column"),
        (["case\tT1\timage", "a\ta.nii\ta.nii"], "expected the columns case, T1 once each, got 'T1'"),
        (["case", "a"], "expected the columns case, T1, found no T1; add the column"),
        (["case\timage", "a\ta.nii", "b"], "line 3: expected 2 cells, got 1; correct the line"),
        (["case\timage", "a\ta.nii", "", "b\tb.nii"], "line 3: expected 2 cells, got 1"),
        (["case\timage", "../a\ta.nii"], r"line 2: expected a case name that can be part of a file name, got '\.\./a'"),
        (
            ["case\timage", "a\ta.nii", "b\tb.nii", "a\tc.nii"],
            "line 4: expected each case once, got 'a' also in line 2",
        ),
        (["case\timage", "Head\ta.nii", "head\tb.nii"], "line 3: expected each case once, got 'head' also in line 2"),
        (["case\timage", "caf\u00e9\ta.nii", "cafe\u0301\tb.nii"], "expected each case once"),
        (
            ["case\timage", f"{'n' * 191}\ta.nii"],
            "line 2: expected a case name that can be part of a file name, got 'nn",
        ),
        (["case\timage", "a" + "\u8133" * 63 + "e" + "\ta.nii"], r"rename the case \(no slash, at most 190 bytes\)"),
    ],
)
@pytest.mark.parametrize("shard", [Shard(), Shard(1, 7), Shard(2, 7)])
def test_a_faulty_list_is_refused_whole_in_every_shard(tmp_path: Path, lines: list[str], words: str, shard: Shard):
    with pytest.raises(InputError, match=words):
        listed_cases(written(tmp_path, *lines), SPEC, shard)


def test_a_list_that_cannot_be_read_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"the list cannot be read \(No such file or directory\); check its path"):
        listed_cases(tmp_path / "none.tsv", SPEC, Shard())
    path = tmp_path / "latin.tsv"
    path.write_bytes("case\timage\nk\u00f6pf\ta.nii".encode("latin-1"))
    with pytest.raises(InputError, match="expected a list in UTF-8, got other bytes; save it as UTF-8"):
        listed_cases(path, SPEC, Shard())


def test_a_cell_without_an_image_fails_its_own_case(tmp_path: Path):
    path = written(tmp_path, "case\timage", "a\t", "b\tb.dcm", "c\tc.nii")
    batch = Batch(records=tmp_path / "out", layout=Layout.FOLDERS)
    first, second, third = plan_batch(path, SPEC, Outputs(mask=tmp_path / "out"), batch)
    assert isinstance(first, UnplannedCase)
    assert "case a: expected an image of T1, got an empty cell; fill it in" in str(first.error)
    assert isinstance(second, UnplannedCase)
    assert "case b: expected an image (.nii.gz, .nii, .mgz, .mgh), got" in str(second.error)
    assert isinstance(third, Job)


def test_a_path_that_cannot_exist_fails_its_own_case(tmp_path: Path):
    path = written(tmp_path, "case\timage", "a\theads\0/a.nii", f"b\t{'n' * 300}.nii", f"c\t{'n/' * 2100}c.nii")
    batch = Batch(records=tmp_path / "out", is_divided=True)
    jobs = plan_batch(path, SPEC, Outputs(mask=tmp_path / "out"), batch)
    assert [isinstance(job, UnplannedCase) and str(job.error).partition(", got")[0] for job in jobs] == [
        f"{path}, case {case}: expected an image (.nii.gz, .nii, .mgz, .mgh)" for case in "abc"
    ]


def test_the_longest_name_of_a_case_has_room_for_an_unfinished_result(tmp_path: Path):
    """A run hides a result twice until all results of the case are there."""
    assert is_case_name("n" * MOST_NAME_BYTES)
    result = tmp_path / f"{'n' * MOST_NAME_BYTES}_probabilities.nii.gz"
    with atomic_file(result) as hidden, atomic_file(hidden) as partial:
        partial.touch()
    assert result.is_file()


@pytest.mark.parametrize("place", ["3/2", "0/2", "/2", "x/2", "01/2", "1/3", ""])
def test_a_case_that_is_in_no_shard_is_refused_in_each(tmp_path: Path, place: str):
    path = written(tmp_path, "case\tshard\timage", "a\t1/2\ta.nii", f"b\t{place}\tb.nii")
    for number in (1, 2):
        with pytest.raises(InputError, match=f"expected the shard {number}/2, got a list whose column 'shard' has "):
            listed_cases(path, SPEC, Shard(number, 2))
    assert [case for case, _ in listed_cases(path, SPEC, Shard())] == ["a", "b"]


def test_results_lie_in_the_folder_of_the_subject_or_of_the_hash(tmp_path: Path):
    path = written(tmp_path, "case\timage", "sub-01_ses-2_T1w\ta.nii", "head7\tb.nii")
    batch = Batch(records=tmp_path / "out", layout=Layout.FOLDERS)
    jobs = plan_batch(path, SPEC, Outputs(mask=tmp_path / "out", brain=tmp_path / "brains"), batch)
    places = [
        path.relative_to(tmp_path).as_posix() for job in jobs if isinstance(job, Job) for path in job.outputs.paths()
    ]
    assert places == [
        "out/sub-01/sub-01_ses-2_T1w_mask.nii.gz",
        "brains/sub-01/sub-01_ses-2_T1w_brain.nii.gz",
        "out/b1/head7_mask.nii.gz",
        "brains/b1/head7_brain.nii.gz",
    ]  # fmt: skip
    assert batch.record("head7") == tmp_path / "out/b1/head7_record.json"
    assert Batch(records=tmp_path / "out").record("head7") == tmp_path / "out/head7_record.json"


@given(case=st.text(min_size=1).filter(lambda name: "/" not in name and name[0] != "."))
def test_the_folder_of_any_case_is_known_as_one(tmp_path_factory, case: str):
    root = tmp_path_factory.getbasetemp()
    assert Layout.FLAT.place(root, case) == root
    place = Layout.FOLDERS.place(root, case)
    assert place.parent == root
    assert is_case_folder(place.name)


def test_records_are_found_in_the_folders_of_cases_and_in_no_others(tmp_path: Path):
    for name in ("a_record.json", "3f/b_record.json", "sub-01/c_record.json", "other/d_record.json", ".x_record.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert sorted(record_paths(tmp_path)) == ["3f/b_record.json", "a_record.json", "sub-01/c_record.json"]
    assert list(record_paths(tmp_path / "none")) == []


@settings(deadline=None, max_examples=25)
@given(cases=st.sets(st.from_regex(r"[a-z0-9]{1,6}", fullmatch=True), min_size=1, max_size=30), count=st.integers(1, 9))
def test_the_shards_of_a_list_are_the_shards_of_its_names(tmp_path_factory, cases: set[str], count: int):
    path = written(tmp_path_factory.mktemp("list"), "case\timage", *(f"{case}\t{case}.nii" for case in sorted(cases)))
    parts = [[case for case, _ in listed_cases(path, SPEC, Shard(number, count))] for number in range(1, count + 1)]
    assert sorted(case for part in parts for case in part) == sorted(cases)
    assert all(Shard(number, count).holds(case) for number, part in enumerate(parts, 1) for case in part)
