"""What the program writes to a terminal, to a table and beside its package, whatever the names in it hold."""

from __future__ import annotations

import csv
import io
import os
import subprocess
from typing import TYPE_CHECKING

import click
import msgspec
import pytest
from bids_dataset import phantom_dataset
from cli_program import brain_edge, child_command, child_environment, make_package, refused, save_phantom, succeed

from brain_edge.cli import verify
from brain_edge.jobs.batch.row import SummaryRow, as_tsv
from brain_edge.jobs.record import CaseStatus
from brain_edge.package.manifest import Licence

if TYPE_CHECKING:
    from pathlib import Path

ESCAPES = "x\x1b]0;PWNED\x07\x1b[31m\u009b2J\u202e"
"""A new title for the window, a colour, the eight-bit form of "clear the screen", and writing from right to left."""


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    return make_package(tmp_path_factory.mktemp("tiny")).folder


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return save_phantom(tmp_path / "head.nii.gz").parent


def assert_plain(text: str) -> None:
    assert not [sign for sign in text if not (sign.isprintable() or sign == "\n")]


# a terminal


@pytest.mark.skipif(os.name == "nt", reason="names of files cannot hold control codes there")
def test_a_name_moves_no_cursor_and_ends_no_line(package, here):
    odd = f"{ESCAPES}\nsecond line"
    (here / f"{odd}.nii.gz").symlink_to(here / "head.nii.gz")
    done = succeed("run", package, f"{odd}.nii.gz", "-o", f"{odd}_mask.nii.gz")
    assert done.out.count("\n") == 1
    assert_plain(done.out + done.err)
    assert r"x\x1b]0;PWNED\x07\x1b[31m\x9b2J\u202e\nsecond line_mask.nii.gz: brain" in done.out
    said = refused(3, "run", package, f"{odd}.gone.nii.gz", "-o", "m.nii.gz")
    assert_plain(said)
    assert_plain(refused(2, "run", package, "head.nii.gz", f"--{odd}"))
    told = succeed("run", package, f"{odd}.nii.gz", "-o", "again.nii.gz", "--json")
    assert_plain(told.out)
    assert told.json["inputs"]["T1"] == f"{odd}.nii.gz"
    assert_plain(brain_edge("run", package, f"{odd}.gone.nii.gz", "-o", "m.nii.gz", "--debug").err)


def test_a_package_moves_no_cursor(tmp_path):
    licence = Licence(name="MIT", holder=ESCAPES, notes="first\nsecond")
    made = make_package(tmp_path / "odd", licence=licence)
    done = succeed("info", made.folder)
    assert_plain(done.out)
    assert r"x\x1b]0;PWNED\x07\x1b[31m\x9b2J\u202e first\nsecond" in done.out
    assert succeed("info", made.folder, "--json").json["manifest"]["licence"]["holder"] == ESCAPES


# streams that are closed, and files that end


@pytest.mark.skipif(os.name == "nt", reason="needs a shell that closes streams")
@pytest.mark.parametrize(
    "closed", [*(pytest.param(one, marks=pytest.mark.full) for one in ("<&-", ">&-", "2>&-")), "<&- >&- 2>&-"]
)
def test_a_closed_stream_costs_no_mask(package, here, closed):
    """As services, cron and `pythonw` start programs."""
    command = " ".join(f"'{part}'" for part in child_command("run", package, "head.nii.gz", "-o", "mask.nii.gz"))
    done = subprocess.run(["sh", "-c", f"exec {command} {closed}"], env=child_environment(), check=False)
    assert done.returncode == 0
    succeed("run", package, "head.nii.gz", "-o", "again.nii.gz")
    assert (here / "mask.nii.gz").read_bytes() == (here / "again.nii.gz").read_bytes()


def test_a_file_that_ends_is_no_interrupt(package, monkeypatch):
    """To click both are an `Abort`; a scheduler takes 130 for a job that somebody has cancelled."""

    def ended(**_given: object) -> None:
        raise EOFError("Compressed file ended before the end-of-stream marker was reached")

    monkeypatch.setattr(verify.command, "callback", ended)
    done = brain_edge("verify", package)
    assert done.code == 1
    assert "EOFError: Compressed file ended" in done.err
    assert "interrupted" not in done.err


@pytest.mark.parametrize("error", [KeyboardInterrupt, click.Abort])
def test_an_interrupt_stays_one(package, monkeypatch, error):
    def interrupted(**_given: object) -> None:
        raise error

    monkeypatch.setattr(verify.command, "callback", interrupted)
    done = brain_edge("verify", package)
    assert done.code == 130
    assert "interrupted; nothing half-written was left" in done.err


# tables

ROW = SummaryRow(
    case="a", status=CaseStatus.DONE, input="a.nii", mask="m.nii", volumes_ml={"brain": 1.0}, flags=[], error=None,
    elapsed_ms=1.0, digest="0",
)  # fmt: skip


@pytest.mark.parametrize("name", ['"a', 'a"b', '"', "a\tb", "a\nb", "a\x1b[2J\x85b"])
def test_a_table_has_a_row_per_case_to_other_readers(name: str):
    """Python's csv, as pandas and spreadsheets, takes a quote at the beginning of a cell for its limit."""
    text = as_tsv([msgspec.structs.replace(ROW, case=name, error=name), ROW])
    rows = list(csv.DictReader(io.StringIO(text), dialect="excel-tab"))
    assert [row["status"] for row in rows] == ["done", "done"]
    assert rows[0]["case"] == rows[0]["error"]
    assert rows[0]["case"].replace(" ", "") == "".join(sign for sign in name if sign.isprintable()).replace(" ", "")
    assert rows[1]["volume_ml_brain"] == "1.000"
    assert_plain(text.replace("\t", ""))


@pytest.mark.parametrize("name", ["=cmd|calc!A1", "@SUM(1)", "+1+1", "-2+3", " =1", "\t=1"])
def test_no_cell_is_a_formula(name: str):
    text = as_tsv([msgspec.structs.replace(ROW, case=name, error=name, input=name)])
    (row,) = csv.DictReader(io.StringIO(text), dialect="excel-tab")
    assert row["case"] == row["error"] == row["input"] == f"'{name.strip()}"
    assert not [cell for cell in row.values() if cell[0] in "=+-@"]


# the package


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("output", ["selftest/mask.nii.gz", "new.nii.gz", "graphs/out", "out", "."])
def test_nothing_is_written_into_the_package(tmp_path, output):
    folder = make_package(tmp_path / "package").folder
    before = sorted(folder.rglob("*"))
    said = refused(2, "run", folder, "head.nii.gz", "-o", folder / output)
    assert "this output would" in said
    assert sorted(folder.rglob("*")) == before
    succeed("verify", folder)


def test_the_derivatives_of_a_dataset_do_not_lie_in_the_package(tmp_path):
    folder = make_package(tmp_path / "package").folder
    phantom_dataset(tmp_path / "raw", ["sub-01_T1w"])
    assert "this output would lie among the files" in refused(
        2, "bids", tmp_path / "raw", folder / "out", "participant", "-p", folder
    )
    assert not (folder / "out").exists()
