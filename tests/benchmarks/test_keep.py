"""What a program printed is kept with all that it depends on, and without a place of this machine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from benchmarks import keep
from brain_edge.errors import BrainEdgeError, UsageError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(keep, "KEPT", tmp_path / "kept")
    return tmp_path


def kept(*words: object) -> None:
    """Keep, with errors as they are raised."""
    CliRunner().invoke(keep.main, [*map(str, words)], catch_exceptions=False, standalone_mode=False)


def test_command_and_lines_are_kept_with_commit_machine_and_versions(folder: Path):
    kept("the-recipes", "brain-edge", "recipes")
    record = json.loads((folder / "kept/the-recipes.json").read_text(encoding="utf-8"))
    assert record["command"] == "brain-edge recipes"
    assert any("deepbet" in line for line in record["output"])
    assert {"started", "commit", "machine", "versions"} <= record.keys()


@pytest.mark.usefixtures("folder")
def test_a_record_is_not_overwritten():
    kept("the-recipes", "brain-edge", "recipes")
    with pytest.raises(UsageError, match="expected no record of that name"):
        kept("the-recipes", "brain-edge", "recipes")


def test_nothing_is_kept_of_a_command_that_fails(folder: Path):
    with pytest.raises(BrainEdgeError, match="brain-edge ended with exit code 2; nothing is kept"):
        kept("none", "brain-edge", "nothing")
    assert not (folder / "kept/none.json").exists()


def test_a_name_that_leads_elsewhere_is_refused(folder: Path):
    with pytest.raises(UsageError, match="expected a record of small letters"):
        kept("../elsewhere", "brain-edge", "recipes")
    assert list(folder.iterdir()) == []


def test_a_head_is_named_by_its_kind_and_a_folder_by_its_last_name(tmp_path: Path):
    head, package = tmp_path / "Miller_1950.nii.gz", tmp_path / "deepbet-int8"
    head.touch()
    package.mkdir()
    arguments = (str(package), f"T1={head}", "--threads", "2")
    said = keep.without_paths(f"{head} by {package} in 2 MiB/s, 3/4 done", arguments)
    assert said == "<nii.gz> by deepbet-int8 in 2 MiB/s, 3/4 done"


@pytest.mark.parametrize("place", ["/home/somebody/x", "from=/srv/data", r"C:\Users\somebody"])
def test_another_place_on_the_machine_is_refused(place: str):
    with pytest.raises(BrainEdgeError, match="a place on this machine; nothing is kept"):
        keep.without_paths(f"written: {place}", ())
