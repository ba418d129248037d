"""The commands of the README run as they stand, for each of its four users, on what they bring."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("nncf", reason="the build side needs the extra `convert`")

from cli_program import brain_edge, succeed

from benchmarks.doors import FIRST, NEEDS, counted, doors
from benchmarks.harness.door_files import save_engineer, save_head, save_people

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
USERS = {user: counted(commands) for user, commands in doors(README).items()}
SCREEN = 90
"""Lines of the README at most."""


def run(command: str) -> str:
    """Run a command of the README in this process; the program stands at any path."""
    program, *words = shlex.split(command)
    assert Path(program).name == "brain-edge", command
    return succeed(*words).out


@pytest.fixture(scope="module")
def engineer(tmp_path_factory) -> Iterator[Path]:
    """The folder of the engineer after all of her commands."""
    place = tmp_path_factory.mktemp("engineer")
    save_engineer(place)
    save_people(place / "heads")
    save_head(place / "head.nii.gz")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.syspath_prepend(str(place))
        patch.setenv("BRAIN_EDGE_STATE", str(place / "state"))
        for command in USERS["engineer"]:
            run(command)
        sys.modules.pop("mynet", None)  # her module; other networks of this name are made elsewhere
        yield place


def test_the_readme_is_one_screen_with_four_users():
    assert README.count("\n") <= SCREEN
    assert list(USERS) == ["engineer", "researcher", "methods", "hospital"]
    assert set(NEEDS) <= set(USERS)
    assert FIRST in README


@pytest.mark.full  # the how-to page of test_docs has the same commands in CI
def test_the_engineer_has_a_package_of_her_network_in_at_most_six_commands(engineer: Path):
    """And one that may write DICOM, because it was calibrated and judged on three people."""
    assert len([FIRST, *USERS["engineer"]]) <= 6
    assert (engineer / "mask.nii.gz").is_file()
    said = brain_edge("info", engineer / "mynet-int8").out
    assert re.search(r"^may +write NIfTI masks\n +write DICOM", said, re.MULTILINE)
    assert "may not" not in said


@pytest.fixture
def published(engineer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the packages that the researcher makes, here stand-ins, and what the other users bring."""
    for kind in ("fp32", "int8"):
        shutil.copytree(engineer / f"mynet-{kind}", tmp_path / f"deepbet-{kind}")
    shutil.copytree(tmp_path / "deepbet-int8", tmp_path / "wheelhouse/packages/deepbet-int8")
    shutil.copytree(engineer / "heads", tmp_path / "heads")
    save_head(tmp_path / "head.nii.gz")
    (tmp_path / "scans").mkdir()
    save_head(tmp_path / "scans/p01.nii.gz")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.full  # twenty seconds; test_docs runs the same commands of the how-to pages in CI
def test_the_others_run_what_they_were_given(published: Path):
    """What builds deepbet has tests of its own, on its real weights; a wheelhouse has them too."""
    commands = [command for user in NEEDS.keys() | {"researcher"} for command in USERS[user]]
    builds = re.compile(r"brain-edge (convert|quantize|wheelhouse) |install\.py ")
    said = [run(command) for command in commands if not builds.search(command)]
    assert any("Dice" in text for text in said)
    assert (published / "mask.png").read_bytes().startswith(b"\x89PNG")
    assert (published / "masks/index.html").is_file()
    assert len(commands) - len(said) == 4
