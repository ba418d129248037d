"""`brain-edge tune` on the command line: the page that describes it, and its refusals, without PyTorch."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from cli_program import WITHOUT_BUILD_SIDE, child, refused
from doc_pages import run_page
from tiny_ensemble import make_cohort, make_ensemble

from brain_edge.package import open_package

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a package and a cohort of the names that the page uses."""
    folder = tmp_path_factory.mktemp("page")
    package = make_ensemble(folder / "brain-fp32")
    make_cohort(folder / "heads", package)
    (folder / "heads/tiny.toml").rename(folder / "heads/cohort.toml")
    return folder


@pytest.mark.full
def test_the_commands_of_the_page_are_run_as_they_stand(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shutil.copytree(place, tmp_path / "page")
    monkeypatch.chdir(tmp_path / "page")
    run_page("tune.md")
    assert {"accuracy.html", "accuracy.json", "tuning.md", "tuning.json", "front.png", "front.svg"} == {
        path.name for path in (tmp_path / "page/brain-tuned-report").iterdir()
    }


@pytest.mark.full  # eight seconds; one more search, in a process that cannot import them
def test_it_needs_neither_pytorch_nor_nncf_and_says_what_it_changed(place: Path, tmp_path: Path):
    done = child(
        *("tune", place / "brain-fp32", "--calibration", place / "heads/cohort.toml", "--max-dice-drop", "0.3"),
        *(
            "--max-case-drop",
            "0.9",
            "--max-hd95-increase-mm",
            "1000",
            "-o",
            tmp_path / "tuned",
            "--threads",
            "1",
            "--rounds",
            "1",
        ),
        *("--time-limit", "0.0001", "--quiet"),
        without=WITHOUT_BUILD_SIDE,
    )
    assert done.code == 0, done.err
    assert "1 of 2 members" in done.out
    assert "times fewer operations (of f32) than the package as it was" in done.out


@pytest.mark.parametrize("budget", ["0", "-0.01", "1", "1.5", "nan"])
def test_a_budget_that_nothing_meets_or_everything(place: Path, tmp_path: Path, budget: str):
    said = refused(2, *_tune(place, tmp_path, "--max-dice-drop", budget))
    assert "expected --max-dice-drop between 0 and 1 (a Dice drop, such as 0.01), got" in said


@pytest.mark.parametrize("minutes", ["0", "-3", "nan", "inf"])
def test_a_time_limit_that_is_none(place: Path, tmp_path: Path, minutes: str):
    said = refused(2, *_tune(place, tmp_path, "--max-dice-drop", "0.1", "--time-limit", minutes))
    assert "expected --time-limit of more than 0 minutes" in said


def test_an_int8_package_that_is_none(place: Path, tmp_path: Path):
    said = refused(2, *_tune(place, tmp_path, "--max-dice-drop", "0.1", "--int8", place / "brain-fp32"))
    assert "expected an INT8 package quantised from" in said


def test_a_package_is_not_written_over_another(place: Path, tmp_path: Path):
    (tmp_path / "tuned").mkdir()
    digest = open_package(place / "brain-fp32").digest
    said = refused(2, *_tune(place, tmp_path, "--max-dice-drop", "0.1"))
    assert str(tmp_path / "tuned") in said
    assert open_package(place / "brain-fp32").digest == digest


def _tune(place: Path, folder: Path, *words: object) -> tuple[object, ...]:
    cohort = place / "heads/cohort.toml"
    return ("tune", place / "brain-fp32", "--calibration", cohort, "-o", folder / "tuned", "--quiet", *words)
