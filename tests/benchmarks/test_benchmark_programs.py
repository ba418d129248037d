"""`python -m benchmarks`: what it lists, what it runs, what it refuses."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from cli_program import Ended

from benchmarks import program
from benchmarks.__main__ import first_sentence, main, sources


def benchmarks(*arguments: object) -> Ended:
    """One of the programs as a child process."""
    command = program(*map(str, arguments)) if arguments else program("")[:-1]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return Ended(done.returncode, done.stdout, done.stderr)


def test_without_a_name_every_program_is_listed_with_a_sentence():
    done = benchmarks()
    assert done.code == 0, done.err
    assert done.out == benchmarks("--help").out
    listed = re.findall(r"^  (\w+)  ", done.out, re.MULTILINE)
    assert listed == list(sources())
    assert {"matrix", "gpu_baseline", "report", "compare"} <= set(listed)
    assert "published" not in listed  # runs in an environment of its own


@pytest.mark.parametrize("name", sources())
def test_every_program_says_how_it_is_called_by_its_name(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "argv", ["benchmarks", name, "--help"])
    with pytest.raises(SystemExit, match="0"):
        main()
    assert re.match(rf"usage: python -m benchmarks {name} ", capsys.readouterr().out, re.IGNORECASE)
    assert first_sentence(sources()[name]).endswith(".")


def test_a_name_that_is_none_is_refused_in_a_sentence():
    done = benchmarks("matrices")
    assert (done.code, done.out) == (2, "")
    assert done.err == "error: expected the name of a benchmark, got 'matrices'; `python -m benchmarks` lists them\n"
