"""The steps of the Dockerfile, executed without an engine: in a folder instead of an image.

Only what lies at the front of a path differs (`/src`, `/wheel`, `/opt`). The base image, the user and the labels are
an engine's business.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from environments import CHECKOUT, FOREIGN_VARIABLES

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # helpers that all tests share

from dockerfile import copied, only, stages
from sealed import WITHOUT_ROUTES, require_namespaces, sealed_environment
from tiny_package import PHANTOM, make_package

from brain_edge.image.phantom import make_volume
from brain_edge.io.nifti import write_image

PLACES = ("/src", "/wheel", "/opt/brain-edge")

pytestmark = [pytest.mark.wheel, pytest.mark.network, pytest.mark.timeout(900)]


@pytest.fixture(scope="session")
def image(place: Path) -> Path:
    """A folder after all steps of the first stage: `opt/brain-edge` is what the second one takes."""
    root = place / "image"
    source = root / "src"
    source.mkdir(parents=True)
    (root / "opt").mkdir()
    build, _ = stages()
    for name in copied(build):
        copy = shutil.copytree if (CHECKOUT / name).is_dir() else shutil.copy
        copy(CHECKOUT / name, source / name)
    variables = dict(pair.split("=", 1) for each in build if each.keyword == "ENV" for pair in shlex.split(each.rest))
    own = {name: value for name, value in os.environ.items() if name not in FOREIGN_VARIABLES} | variables
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for each in build:
        if each.keyword == "RUN":
            command = _below(each.rest, root)
            done = subprocess.run(
                ["/bin/sh", "-c", command],
                cwd=source,
                env=own | {"PATH": path},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return root


def _below(command: str, root: Path) -> str:
    for place in PLACES:
        command = command.replace(place, f"{root}{place}")
    return command


def test_the_environment_of_the_image_has_neither_pip_nor_the_build_side(image: Path):
    (site,) = (image / "opt/brain-edge/lib").glob("python*/site-packages")
    names = {path.name.partition("-")[0].lower() for path in site.glob("*.dist-info")}
    assert {"brain_edge", "openvino"} <= names
    assert not names & {"pip", "setuptools", "torch", "nncf", "onnx", "safetensors", "matplotlib"}


def test_what_the_image_starts_makes_a_mask_without_a_route_to_anywhere(image: Path, tmp_path: Path):
    require_namespaces()
    package = make_package(tmp_path / "tiny")
    write_image(make_volume(PHANTOM), tmp_path / "head.nii.gz")
    home = tmp_path / "home"
    home.mkdir()
    (program,) = shlex.split(only(stages()[1], "ENTRYPOINT").strip("[]"))
    command = [_below(program, image), "run", "tiny", "head.nii.gz", "-o", "mask.nii.gz", "--strict"]
    environment = sealed_environment(home, **dict([only(stages()[1], "ENV").split("=", 1)]))
    done = subprocess.run(
        [*WITHOUT_ROUTES, *command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    expected = nibabel.load(package.folder / package.manifest.self_test.mask)
    np.testing.assert_array_equal(nibabel.load(tmp_path / "mask.nii.gz").get_fdata(), expected.get_fdata())
    assert list(home.iterdir()) == []
