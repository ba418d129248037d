"""The rule of the documentation, executed by Snakemake."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from cli_program import child, child_environment, make_package, save_phantom

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "clusters.md"


@pytest.mark.full  # a scheduler with jobs of its own: make scale
def test_the_rule_of_the_page_makes_each_mask_as_a_single_run_does(tmp_path: Path):
    pytest.importorskip("snakemake", reason="needs Snakemake: pip install snakemake")
    package = make_package(tmp_path / "package").folder
    (tmp_path / "heads").mkdir()
    for name in "ab":
        save_phantom(tmp_path / "heads" / f"{name}.nii.gz")
    (rule,) = re.findall(r"```snakemake\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    program = f"{sys.executable} -m brain_edge"
    text = rule.replace("brain-edge run PACKAGE", f"{program} run {package}")
    assert text.count(program) == 1
    (tmp_path / "Snakefile").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--quiet"]
    done = subprocess.run(command, cwd=tmp_path, env=child_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    alone = tmp_path / "alone.nii.gz"
    assert child("run", package, tmp_path / "heads" / "a.nii.gz", "-o", alone, "--threads", 2).code == 0
    assert {path.read_bytes() for path in (tmp_path / "masks").iterdir()} == {alone.read_bytes()}
