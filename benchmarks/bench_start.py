"""Cold start: what is paid before anything is computed. Import time is a feature."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from benchmarks.harness.measure import children_cpu_ms

if TYPE_CHECKING:
    from benchmarks.harness.timing import Timing

IMPORTS = {
    "nothing": "pass",
    "brain_edge": "import brain_edge",
    "what run imports": "import brain_edge.cli.run, brain_edge.package\n"
    "import brain_edge.engine.segmenter, brain_edge.jobs.case",
    "numpy and openvino": "import numpy, openvino",
    "openvino as a run imports it": "from brain_edge.runtime.library import import_openvino; import_openvino()",
    "torch": "import torch",
}


@pytest.mark.parametrize("name", IMPORTS)
def test_import(timing: Timing, name: str) -> None:
    """A Python process that imports one thing and ends."""
    code = f"{IMPORTS[name]}\nimport sys\nprint(*sorted({{'torch', 'nncf', 'onnx'}} & set(sys.modules)))"
    loaded = _output(["-c", code]).split()
    assert ("torch" in loaded) == (name == "torch"), f"{name} brought {loaded}"
    timing.call(lambda: _output(["-c", code]), rounds=7, precision="none")


@pytest.mark.parametrize("command", [[], ["run"]], ids=["program", "run"])
def test_help(timing: Timing, command: list[str]) -> None:
    """`brain-edge --help` and `brain-edge run --help`."""
    arguments = ["-m", "brain_edge", *command, "--help"]
    assert "Usage: " in _output(arguments)
    used = [_cpu_ms(arguments) for _ in range(7)]
    timing.call(lambda: _output(arguments), rounds=7, precision="none", cpu_ms=used)


def _cpu_ms(arguments: list[str]) -> float:
    """Processor time of one process, which hardly feels other programs on the machine."""
    before_ms = children_cpu_ms()
    _output(arguments)
    return children_cpu_ms() - before_ms


def _output(arguments: list[str]) -> str:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True).stdout
