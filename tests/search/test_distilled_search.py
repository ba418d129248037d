"""A whole search that comes to a distillation: the trial is measured and judged as every other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from outlier_package import make_outlier_package, phantom_cohort

from brain_edge.errors import BudgetError
from brain_edge.evaluation.cohort import Split
from brain_edge.machine.options import RuntimeOptions
from brain_edge_conversion.budget.budget import AccuracyBudget
from brain_edge_conversion.distilling.lesson import Schedule
from brain_edge_conversion.quantize import graphs
from brain_edge_conversion.quantize import quantize as command
from brain_edge_conversion.quantize.ladder import MENDED
from brain_edge_conversion.quantize.quantize import QuantizeOptions, quantize

if TYPE_CHECKING:
    from pathlib import Path

# nncf reads its configuration with a deprecated corner of a library of its own
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.full]  # a search of four trials


def test_a_missed_budget_leads_to_a_distillation_of_the_fitted_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Plain fitted weights cannot repair this network, so the search goes on to its last setting and then refuses."""
    monkeypatch.setattr(graphs, "SCHEDULE", Schedule(steps=4, every=2))
    monkeypatch.setattr(command, "ladder_from", lambda _preset: ())
    monkeypatch.setattr(command, "MENDED", MENDED[:1])
    (tmp_path / "data").mkdir()
    cohort = phantom_cohort(tmp_path / "data", (Split.CALIBRATION, Split.VALIDATION))
    lines: list[str] = []
    budget = AccuracyBudget(max_dice_drop=1e-4, min_int8_share=1.0)
    options = QuantizeOptions(budget=budget, runtime=RuntimeOptions(threads=1), report=lines.append)
    with pytest.raises(BudgetError, match="the accuracy budget is not met"):
        quantize(make_outlier_package(tmp_path / "fp32"), cohort, tmp_path / "int8", options)
    trials = [line for line in lines if line.startswith("trial ")]
    assert ["head in float" in line for line in trials[:3]] == [False, True, True]
    assert ["(distillation)" in line for line in trials[:3]] == [False, False, True]
    assert "collecting network inputs from 1 validation case(s)" in lines
    assert sum(line.startswith("distillation, step") for line in lines) >= 1
    assert (tmp_path / "int8-report/accuracy.html").read_text(encoding="utf-8").count("(distillation)") >= 1
