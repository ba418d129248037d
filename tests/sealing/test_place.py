"""A package appears whole; an older one goes only where that is asked, and nothing else goes at all."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from tiny_package import make_package

from brain_edge.errors import UsageError
from brain_edge.package import open_package
from brain_edge_conversion.sealing.place import package_folder, require_other

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return make_package(tmp_path_factory.mktemp("made") / "package").folder


@pytest.fixture
def target(made, tmp_path) -> Path:
    """An older package, with a file that the new one does not have."""
    shutil.copytree(made, tmp_path / "package")
    (tmp_path / "package/note.txt").write_text("older")
    return tmp_path / "package"


def fill(target: Path, made: Path, *, overwrite: bool) -> None:
    with package_folder(target, overwrite=overwrite) as folder:
        shutil.copytree(made, folder, dirs_exist_ok=True)


def test_a_package_is_replaced_only_where_that_is_asked(made, target):
    with pytest.raises(UsageError, match=r"package: this folder already exists; give --overwrite, or choose another"):
        fill(target, made, overwrite=False)
    assert (target / "note.txt").is_file()
    fill(target, made, overwrite=True)
    assert not (target / "note.txt").exists()
    assert open_package(target).digest == open_package(made).digest
    assert [path.name for path in target.parent.iterdir()] == ["package"]


def test_a_folder_that_is_no_package_is_never_replaced(made, target):
    (target / "manifest.json").unlink()
    with pytest.raises(UsageError, match="expected a package to overwrite, got another folder; choose another name"):
        fill(target, made, overwrite=True)
    assert (target / "note.txt").read_text() == "older"


def test_an_older_package_survives_a_failure(target):
    with pytest.raises(KeyError), package_folder(target, overwrite=True):
        raise KeyError
    assert (target / "note.txt").is_file()


def test_a_new_name_needs_no_permission_to_overwrite(made, tmp_path):
    fill(tmp_path / "new", made, overwrite=True)
    assert open_package(tmp_path / "new")


def test_a_package_does_not_replace_the_one_that_it_is_made_of(target):
    require_other(target.with_name("other"), target)
    with pytest.raises(UsageError, match="expected another folder than the input package"):
        require_other(target.parent / "x" / ".." / "package", target)
