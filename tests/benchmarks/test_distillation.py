"""The comparison before and after a distillation runs as it is called, on a graph that a trial has made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from outlier_package import phantom_cohort
from tiny_package import make_package

from benchmarks import distillation
from brain_edge.evaluation.cohort import Split, load_case
from brain_edge.machine.options import RuntimeOptions
from brain_edge_conversion.budget.capture import capture_inputs
from brain_edge_conversion.quantize.ladder import LADDER
from brain_edge_conversion.quantize.policy import Trial
from brain_edge_conversion.quantize.space import quantise_package

if TYPE_CHECKING:
    from pathlib import Path

# nncf reads its configuration with a deprecated corner of a library of its own
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def test_both_graphs_are_rows_and_validation_is_no_worse_after_the_training(tmp_path: Path):
    package = make_package(tmp_path / "fp32")
    for name in ("data", "inputs", "work"):
        (tmp_path / name).mkdir()
    cohort = phantom_cohort(tmp_path / "data", (Split.CALIBRATION, Split.VALIDATION, Split.TEST))
    study, _ = load_case(cohort.cases(Split.CALIBRATION)[0])
    inputs = capture_inputs(package, [study.volumes["T1"]], tmp_path / "inputs", RuntimeOptions(threads=1))
    quantise_package(Trial(setting=LADDER[1]), package, inputs, tmp_path / "trial")
    arguments = [str(package.folder), str(tmp_path / "trial"), str(cohort.path), "--steps", "20", "--threads", "1"]
    done = CliRunner().invoke(distillation.main, [*arguments, "--work", str(tmp_path / "work")], catch_exceptions=False)
    assert done.exit_code == 0
    assert "tiny: 1 calibration input(s), 1 validation input(s), 1 test input(s), 20 steps at most" in done.stdout
    rows = [line.strip("| ").split("|") for line in done.stdout.splitlines() if line.startswith("|")][2:]
    assert [row[0].strip() for row in rows] == ["fitted", "distilled"]
    assert float(rows[1][1]) <= float(rows[0][1])
    assert "distillation, step 20 of 20" in done.stderr
    assert (tmp_path / "work/distillation.npz").is_file()
