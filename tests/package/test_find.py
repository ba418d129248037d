"""A package is found by its name: here, in the folders of `BRAIN_EDGE_PACKAGES`, or in the folder of the user."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from tiny_package import make_package

from brain_edge.errors import PackageError, UsageError
from brain_edge.package.find import PACKAGES_VARIABLE, find_package, package_folders


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    return make_package(tmp_path_factory.mktemp("made") / "tiny-int8").folder


@pytest.fixture
def places(tmp_path, monkeypatch) -> tuple[Path, Path]:
    """An empty current folder, and two folders of packages named by the variable."""
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (tmp_path / "here", first, second):
        folder.mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv(PACKAGES_VARIABLE, os.pathsep.join(map(str, (first, second))))
    return first, second


def test_the_first_folder_with_the_name_wins_and_the_current_one_comes_first(package, places):
    for folder in reversed(places):
        shutil.copytree(package, folder / "tiny-int8")
        assert find_package("tiny-int8") == folder / "tiny-int8"
    shutil.copytree(package, "tiny-int8")
    assert find_package("tiny-int8") == Path("tiny-int8")


@pytest.mark.usefixtures("places")
def test_without_the_variable_the_folder_of_the_user_is_searched(package, tmp_path, monkeypatch):
    monkeypatch.delenv(PACKAGES_VARIABLE)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    shutil.copytree(package, tmp_path / "data/brain-edge/packages/tiny-int8")
    assert find_package("tiny-int8") == tmp_path / "data/brain-edge/packages/tiny-int8"
    assert package_folders() == (Path(), tmp_path / "data/brain-edge/packages")


def test_a_path_is_not_searched(package, places):
    shutil.copytree(package, places[0] / "tiny-int8")
    for path in ("./tiny-int8", "below/tiny-int8", "../nowhere"):
        assert find_package(path) == Path(path)


def test_a_name_that_is_nowhere_is_refused_with_the_places(places):
    with pytest.raises(PackageError, match=r"^deepbet-int8: expected a package, .* found none here or in") as caught:
        find_package("deepbet-int8")
    assert f"{places[0]} or {places[1]}; check the name" in str(caught.value)


def test_the_default_is_the_only_package_of_the_first_folder_that_has_one(package, places):
    shutil.copytree(package, places[1] / "tiny-int8")
    assert find_package(None) == places[1] / "tiny-int8"
    for name in ("one", "two"):
        shutil.copytree(package, places[0] / name)
    with pytest.raises(UsageError, match="got one, two; name it"):
        find_package(None)
