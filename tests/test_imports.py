"""What a command pulls in: the thin runtime stays thin, and help is instant."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_package import PHANTOM, make_package

import brain_edge
from brain_edge import errors
from brain_edge.image.phantom import make_volume
from brain_edge.io.nifti import write_image

RECORD = """
import json, runpy, sys
report, code, *arguments = sys.argv[1:]
sys.argv = ["brain-edge", *arguments]
sys.modules["pydicom"] = None
try:
    exec(code)
except SystemExit as stop:
    assert not stop.code, stop.code
loaded = {name.partition(".")[0] for name, module in sys.modules.items() if module is not None}
loaded |= {"numpy.ma"} & sys.modules.keys()
with open(report, "w") as file:
    json.dump(sorted(loaded - sys.stdlib_module_names - {"__main__"}), file)
"""
"""Writes the names of all top-level modules that some code has loaded, Python's own left out, and of masked arrays.

pydicom is hidden: nibabel loads it where it finds it, which is only where somebody wants DICOM.
"""

PROGRAM = "runpy.run_module('brain_edge', run_name='__main__', alter_sys=True)"

RUNTIME = {
    "brain_edge",
    "cc3d",
    "click",
    "isal",
    "msgspec",
    "numpy",
    "openvino",
    "psutil",
    "typing_extensions",  # of msgspec
}
"""Everything that `run` loads. A name that is added here is installed and started in every hospital."""

BUILD_SIDE = {"torch", "nncf", "onnx", "monai", "einops", "unet", "safetensors", "brain_edge_conversion"}

HOMES = vars(brain_edge)["_HOMES"]
STUB = Path(brain_edge.__file__).with_name("__init__.pyi")


@pytest.fixture
def loaded(tmp_path):
    """Third-party modules that a piece of code loads in a process of its own, beyond what Python starts with."""

    def record(code: str, *arguments: object) -> set[str]:
        report = tmp_path / "modules.json"
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-W", "error", "-c", RECORD, str(report), code, *map(str, arguments)]
        subprocess.run(command, check=True, capture_output=True, text=True, env=environment, timeout=120)
        return set(json.loads(report.read_text()))

    started_with = record("pass")

    def beyond_the_start(code: str, *arguments: object) -> set[str]:
        # Cython's modules for itself have names with its version
        return {name for name in record(code, *arguments) - started_with if "cython" not in name and name[0] != "_"}

    return beyond_the_start


def test_the_library_alone_loads_nothing(loaded):
    assert loaded("import brain_edge") == {"brain_edge"}


def test_help_loads_click_only(loaded):
    assert loaded(PROGRAM, "--help") <= {"brain_edge", "click"}


@pytest.mark.parametrize("command", ["run", "info", "verify"])
def test_help_of_a_command_loads_no_library_that_computes(loaded, command):
    assert loaded(PROGRAM, command, "--help") <= {"brain_edge", "click", "msgspec"}


def test_run_loads_these_and_no_other(loaded, tmp_path):
    package = make_package(tmp_path / "tiny")
    write_image(make_volume(PHANTOM), tmp_path / "head.nii.gz")
    modules = loaded(
        PROGRAM, "run", package.folder, tmp_path / "head.nii.gz", "-o", tmp_path / "mask.nii.gz", "--threads", "1"
    )
    assert (tmp_path / "mask.nii.gz").is_file()
    assert not modules & (BUILD_SIDE | {"matplotlib"})
    assert modules == RUNTIME


def test_public_names_are_those_that_are_listed():
    for name in HOMES:
        assert getattr(brain_edge, name).__name__ == name
    assert dir(brain_edge) == sorted(brain_edge.__all__) == sorted({"__version__", *HOMES})
    assert {name for name in vars(errors) if name.endswith("Error")} <= set(dir(brain_edge))
    with pytest.raises(AttributeError, match="module 'brain_edge' has no attribute 'Segmentor'"):
        brain_edge.Segmentor  # type: ignore[attr-defined]  # noqa: B018 - the lookup is what is tested


def test_type_checkers_read_the_same_names_of_the_same_modules():
    homes: dict[str, str] = {}
    listed: list[str] = []
    for node in ast.parse(STUB.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            homes |= dict.fromkeys((alias.name for alias in node.names), str(node.module).removeprefix("brain_edge."))
        elif isinstance(node, ast.Assign):
            listed = ast.literal_eval(node.value)
    assert homes == HOMES
    assert sorted(listed) == dir(brain_edge)


def test_the_public_names_load_nothing_that_is_optional_before_they_are_called(loaded):
    assert not loaded("from brain_edge import *") & (BUILD_SIDE | {"highdicom", "matplotlib", "openvino", "pydicom"})
