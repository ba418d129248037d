"""A workstation without network, from a folder made elsewhere by one command of an installed brain-edge.

`make_wheelhouse` runs in an environment that has the wheel and nothing else, as a research group would have it; the
folder is then installed, and used, where there is no route to anywhere.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # helpers that all tests share

from sealed import WITHOUT_ROUTES, require_namespaces, sealed_environment
from tiny_package import PHANTOM, make_package

from brain_edge.image.phantom import make_volume
from brain_edge.io.nifti import write_image

if TYPE_CHECKING:
    from environments import Environment

SYSTEM_PROGRAMS = "/usr/bin:/bin"
"""Of a workstation: pip asks a `rustc` on the path for its version, and that of rustup writes in the home folder."""

BUILD_SIDE = ("torch", "nncf", "onnx", "safetensors")

pytestmark = [pytest.mark.wheel, pytest.mark.network, pytest.mark.timeout(900)]


@pytest.fixture(scope="session")
def package(place: Path) -> Path:
    """A model package that is small enough to be made here."""
    return make_package(place / "model" / "tiny").folder


@pytest.fixture(scope="session")
def made(place: Path, thin: Environment, wheel: Path, package: Path) -> dict:
    """What `brain-edge wheelhouse --json` says of the folder that it has made."""
    out = place / "wheelhouse"
    done = thin.succeed("brain-edge", "wheelhouse", out, "--wheel", wheel, "--package", package, "--json")
    return json.loads(done.stdout)


@pytest.fixture(scope="session")
def installed(place: Path, made: dict) -> Path:
    """The environment that install.py makes of the folder, without a route to anywhere."""
    require_namespaces()
    folder, home = place / "workstation", place / "workstation-home"
    home.mkdir()
    done = sealed(home, sys.executable, Path(made["folder"]) / "install.py", folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(home.rglob("*")) == []
    return folder


def sealed(home: Path, *command: object) -> subprocess.CompletedProcess[str]:
    """Run a command without a route to anywhere."""
    return subprocess.run(
        [*WITHOUT_ROUTES, *map(str, command)],
        capture_output=True,
        text=True,
        env=sealed_environment(home, PIP_INDEX_URL="https://index.invalid/simple", PATH=SYSTEM_PROGRAMS),
        check=False,
    )


def test_the_folder_holds_the_thin_runtime_and_nothing_of_the_build_side(made: dict):
    names = {wheel["name"] for wheel in made["wheels"]}
    assert {"brain-edge", "openvino", "numpy", "packaging"} <= names
    assert not names & set(BUILD_SIDE)
    assert len(list((Path(made["folder"]) / "wheels").iterdir())) == len(names)
    assert all(wheel["licence"] for wheel in made["wheels"])


def test_sha256sum_finds_every_file_intact_and_the_list_is_the_one_that_was_printed(made: dict):
    if shutil.which("sha256sum") is None:
        pytest.skip("needs sha256sum")
    folder = made["folder"]
    said = subprocess.run(["sha256sum", "SHA256SUMS"], cwd=folder, capture_output=True, text=True, check=True)
    assert said.stdout.split()[0] == made["sha256"]
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=folder, check=True)


def test_what_is_installed_is_what_is_listed_and_pip_finds_it_complete(installed: Path, made: dict, tmp_path: Path):
    python = installed / "bin" / "python"
    listed = json.loads(sealed(tmp_path, python, "-m", "pip", "list", "--format", "json").stdout)
    versions = {each["name"].lower().replace("_", "-"): each["version"] for each in listed}
    assert {each["name"]: each["version"] for each in made["wheels"]}.items() <= versions.items()
    assert versions.keys() - {each["name"] for each in made["wheels"]} <= {"pip", "setuptools"}
    checked = sealed(tmp_path, python, "-m", "pip", "check")
    assert checked.returncode == 0, checked.stdout


def test_a_head_becomes_a_mask_without_a_route_to_anywhere(installed: Path, made: dict, tmp_path: Path):
    home = tmp_path / "home"
    home.mkdir()
    program, copied = installed / "bin" / "brain-edge", Path(made["folder"]) / "packages" / "tiny"
    verified = sealed(home, program, "verify", copied, "--expect-digest", made["packages"]["tiny"])
    assert verified.returncode == 0, verified.stderr
    write_image(make_volume(PHANTOM), tmp_path / "head.nii.gz")
    done = sealed(home, program, "run", copied, tmp_path / "head.nii.gz", "-o", tmp_path / "mask.nii.gz", "--strict")
    assert done.returncode == 0, done.stderr
    expected = nibabel.load(copied / "selftest" / "mask.nii.gz")
    np.testing.assert_array_equal(nibabel.load(tmp_path / "mask.nii.gz").get_fdata(), expected.get_fdata())
    assert list(home.iterdir()) == []


def test_a_wheel_that_was_changed_on_the_way_is_refused_by_us_and_by_pip(made: dict, tmp_path: Path):
    copy = tmp_path / "copy"
    shutil.copytree(made["folder"], copy, copy_function=os.link)
    wheel = next((copy / "wheels").glob("click-*.whl"))
    changed = wheel.read_bytes() + b"\0"
    wheel.unlink()  # the other name of these bytes stays as it is
    wheel.write_bytes(changed)
    done = subprocess.run(
        [sys.executable, copy / "install.py", tmp_path / "new"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert f"error: {wheel}: the file was changed or damaged on the way; copy the folder again" in done.stderr
    assert not (tmp_path / "new").exists()
    links = str(wheel.parent)
    pip = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-deps", "--no-index", "--find-links", links]
    by_pip = subprocess.run(
        [*pip, "--require-hashes", "-r", copy / "requirements.txt", "--target", tmp_path / "target"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert by_pip.returncode != 0
    assert "HASHES" in by_pip.stdout + by_pip.stderr
