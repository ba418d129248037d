"""What a run of a NIfTI file imports: modules are counted, because times differ between machines."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import msgspec
import pytest
from cli_program import save_phantom
from tiny_package import AFTER, FIT, SCALE, SPEC, make_package, one_graph

from brain_edge.image.resample import Interpolation
from brain_edge.spec import Stage
from brain_edge.spec.steps import Orient, ResizeTo

NOT_FOR_A_RUN = {
    *("nibabel", "pydicom", "highdicom", "SimpleITK", "matplotlib", "PIL", "scipy", "pandas", "pyarrow"),
    *("torch", "nncf", "onnx", "requests", "urllib3", "http", "ssl", "asyncio", "multiprocessing", "xml", "unittest"),
    *("openvino_telemetry", "distributed", "dask", "fsspec", "filelock", "jinja2"),
}
"""Libraries that other inputs, outputs or commands need; each would delay every run."""
MOST_MODULES = 230
"""Modules of a run beside those of `import numpy, openvino`."""

REPORT = """
import json, sys
{code}
print(json.dumps(sorted(name for name, module in sys.modules.items() if module is not None)))
"""
RUN = """
from brain_edge.cli import main
sys.argv = ["brain-edge", *json.loads(sys.argv[1])]
try:
    main()
except SystemExit as ended:
    assert ended.code == 0
"""


def loaded(code: str, *arguments: object) -> set[str]:
    """The modules that a process has at its end."""
    given = [sys.executable, "-c", REPORT.format(code=code), json.dumps([str(each) for each in arguments])]
    done = subprocess.run(given, capture_output=True, text=True, check=True, env=os.environ | {"PYTHONUTF8": "1"})
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def of_a_run(tmp_path_factory) -> set[str]:
    place = tmp_path_factory.mktemp("start")
    nearest = ResizeTo(shape=(32, 32, 32), interpolation=Interpolation.NEAREST)
    stage = Stage(
        name="brain", before=(Orient(axes="RAS"), nearest, *FIT, SCALE), network=one_graph("tiny"), after=AFTER
    )
    package = make_package(place / "tiny", msgspec.structs.replace(SPEC, stages=(stage,)))
    head = save_phantom(place / "head.nii.gz")
    return loaded(RUN, "run", package.folder, head, "-o", place / "mask.nii.gz", "--threads", 1, "--quiet")


def test_a_run_imports_no_library_of_another_command(of_a_run):
    assert {name.partition(".")[0] for name in of_a_run} & NOT_FOR_A_RUN == set()


def test_a_run_leaves_the_converter_of_openvino_out(of_a_run):
    assert "openvino" in of_a_run
    assert "openvino.tools.ovc" not in of_a_run


def test_a_run_imports_few_modules_beside_numpy_and_openvino(of_a_run):
    assert len(of_a_run - loaded("import numpy, openvino")) <= MOST_MODULES


def test_the_converter_is_there_for_who_calls_it():
    """As if the whole of openvino had been imported."""
    code = """
from brain_edge.runtime.library import import_openvino
openvino = import_openvino()
assert openvino is import_openvino()
assert "openvino.tools.ovc" not in sys.modules
try:
    openvino.convert_model("no such file.onnx")
except Exception as error:
    assert "openvino.tools.ovc" in sys.modules, error
from openvino.tools.ovc import convert_model
"""
    assert "openvino.tools.ovc" in loaded(code)
