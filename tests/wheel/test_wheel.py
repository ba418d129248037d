"""The wheel as users get it: clean environments outside the checkout, one with the build side, one without.

The environment with the extras makes the packages of the demo, which the thin one then runs, as a hospital
would. Nothing is shared between them but the files of the demo. Not part of `make test`, as two environments
are installed: `make test-wheel`.
"""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
from environments import CHECKOUT, Environment, clean_environment

BUILD_SIDE = {"torch", "nncf", "onnx", "safetensors"}
"""Distributions, and top-level modules, that a hospital never has."""

MNI152_BRAIN_LITRES = (1.6, 2.4)
"""The mask shipped with the demo's head holds 2.08 litres; what is far from it is no brain."""

pytestmark = [pytest.mark.wheel, pytest.mark.network, pytest.mark.timeout(1800)]


def imported_modules(import_times: str) -> set[str]:
    """Top-level names in what `python -X importtime` wrote: lines `import time: self | cumulative | name`."""
    lines = (line for line in import_times.splitlines() if line.startswith("import time:"))
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


@pytest.fixture(scope="module")
def build_side(place: Path, wheel: Path) -> Environment:
    """The wheel with what converting, quantising and reporting need."""
    environment = clean_environment(place, "build-side")
    index = os.environ.get("TORCH_INDEX")
    environment.pip_install(*(["--extra-index-url", index] if index else []), "torch")
    environment.pip_install(f"{wheel}[convert,report]")
    return environment


@pytest.fixture(scope="module")
def demo(build_side: Environment) -> Path:
    """The folder that `brain-edge demo` leaves: the packages deepbet-fp32 and deepbet-int8, and head.nii.gz."""
    build_side.succeed("brain-edge", "demo", "-o", "demo")
    return build_side.workplace / "demo"


def contents(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_two_packages_and_nothing_else(wheel: Path):
    version = wheel.name.split("-")[1]
    top_level = {name.partition("/")[0] for name in contents(wheel)}
    assert top_level == {"brain_edge", "brain_edge_conversion", f"brain_edge-{version}.dist-info"}


def test_the_wheel_holds_every_shipped_cohort(wheel: Path):
    cohorts = {f"brain_edge/calibration_data/{path.name}" for path in (CHECKOUT / "calibration_data").glob("*.toml")}
    assert cohorts
    assert cohorts <= contents(wheel)


def test_the_wheel_holds_the_versions_that_were_tested(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read("brain_edge/constraints.txt") == (CHECKOUT / "constraints.txt").read_bytes()


def test_the_wheel_holds_its_licence_and_notice_and_type_marker(wheel: Path):
    held = {name.partition(".dist-info/")[2] or name for name in contents(wheel)}
    assert {"licenses/LICENSE", "licenses/NOTICE", "brain_edge/py.typed"} <= held


def test_the_wheel_holds_no_image_and_no_weights_but_the_two_that_are_fit_for_testing(wheel: Path):
    weights = {f"brain_edge_conversion/fitting/weights/fit-{name}.safetensors" for name in ("nnunet", "vox2vox")}
    assert weights <= contents(wheel)
    kinds = {Path(name).suffix for name in contents(wheel) - weights}
    assert kinds <= {"", ".css", ".html", ".j2", ".js", ".json", ".md", ".py", ".pyi", ".toml", ".txt", ".typed"}


def test_the_weights_of_the_wheel_are_under_three_megabytes(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        held = [entry.file_size for entry in archive.infolist() if entry.filename.endswith(".safetensors")]
    assert sum(held) < 3_000_000


def test_the_wheel_with_its_extras_converts_a_network_outside_the_checkout(build_side: Environment):
    build_side.succeed("brain-edge", "convert", "deepbet", "-o", "pkg")
    assert (build_side.workplace / "pkg" / "manifest.json").is_file()


def test_the_wheel_alone_installs_nothing_of_the_build_side(thin: Environment):
    installed = thin.distributions()
    assert {"brain-edge", "openvino"} <= installed
    assert not BUILD_SIDE & installed


def test_the_wheel_alone_shows_its_help(thin: Environment):
    assert "Usage: brain-edge" in thin.succeed("brain-edge", "--help").stdout


def test_the_wheel_alone_names_the_extra_that_a_build_command_needs(thin: Environment):
    refused = thin.run("brain-edge", "convert", "deepbet", "-o", "pkg")
    assert refused.returncode == 1
    assert "brain-edge[convert]" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (thin.workplace / "pkg").exists()


@pytest.mark.parametrize("package", ["deepbet-fp32", "deepbet-int8"])
def test_the_wheel_alone_segments_a_head_without_importing_the_build_side(thin: Environment, demo: Path, package: str):
    output = thin.workplace / f"{package}.nii.gz"
    arguments = ("run", demo / package, demo / "head.nii.gz", "-o", output)
    done = thin.succeed("brain-edge", *arguments, PYTHONPROFILEIMPORTTIME="1")

    imported = imported_modules(done.stderr)
    assert {"brain_edge", "openvino"} <= imported  # the record is one of this run
    assert not (BUILD_SIDE | {"brain_edge_conversion"}) & imported

    head, mask = nibabel.load(demo / "head.nii.gz"), nibabel.load(output)
    assert mask.shape == head.shape
    np.testing.assert_array_equal(mask.affine, head.affine)
    litres = np.count_nonzero(mask.dataobj) * abs(np.linalg.det(head.affine[:3, :3])) / 1e6
    assert MNI152_BRAIN_LITRES[0] < litres < MNI152_BRAIN_LITRES[1]
