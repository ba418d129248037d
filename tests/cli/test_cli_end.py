"""A process of the program ends at once, with its code and its words, after everything that waits for its end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cli_program import child_environment, save_phantom
from tiny_package import make_package

FULL = Path("/dev/full")


def ended(*arguments: object, code: str = "", stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    """What a process of the program leaves, `code` being run before it."""
    start = f"import runpy, sys\n{code}\nrunpy.run_module('brain_edge', run_name='__main__', alter_sys=True)"
    command = [sys.executable, "-c", start, *map(str, arguments)]
    buffered = child_environment() | {"PYTHONUNBUFFERED": ""}
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, env=buffered, check=False)


LATE = """
import gc
class Freed:
    def __del__(self):
        print("freed")
gc.kept = Freed()  # as the modules of a run are, until Python ends
"""
REGISTERED = """
import atexit, importlib
program = importlib.import_module("brain_edge.cli.main")
def main(begun=program.main):
    atexit.register(print, "told of the end")
    begun()
program.main = main
"""


KEPT = """
import importlib, sys
def main():
    print("words that are written at the end")
    sys.exit(0)
importlib.import_module("brain_edge.cli.main").main = main
"""


@pytest.mark.parametrize(("arguments", "code"), [(("--version",), 0), (("run", "no such package"), 2)])
def test_the_code_and_the_words_are_those_of_the_program(arguments, code):
    done = ended(*arguments)
    assert done.returncode == code
    assert done.stdout if code == 0 else done.stderr.startswith("error: ")


def test_nothing_is_freed_one_by_one():
    done = ended("--version", code=LATE)
    assert done.returncode == 0
    assert "freed" not in done.stdout
    plainly = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True, check=True)
    assert plainly.stdout == "freed\n"


def test_who_waits_for_the_end_of_the_process_is_told():
    assert ended("--version", code=REGISTERED).stdout.endswith("told of the end\n")


@pytest.mark.skipif(not FULL.exists(), reason="this system has no device that is always full")
def test_words_that_cannot_be_written_are_no_success():
    assert ended(code=KEPT).stdout == "words that are written at the end\n"
    with FULL.open("w") as full:
        assert ended(code=KEPT, stdout=full.fileno()).returncode == 120  # Python's own
        assert ended("--version", stdout=full.fileno()).returncode != 0


def test_a_mask_is_whole_when_the_process_has_ended(tmp_path):
    package = make_package(tmp_path / "tiny").folder
    head, mask = save_phantom(tmp_path / "head.nii.gz"), tmp_path / "mask.nii.gz"
    done = ended("run", package, head, "-o", mask)
    assert done.returncode == 0
    assert "brain" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["head.nii.gz", "mask.nii.gz", "tiny"]
