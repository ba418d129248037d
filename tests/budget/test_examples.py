"""What today's limits say of the reports in docs/examples, which were recorded before: decision 0034 states it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from evidences import accuracy_case

from brain_edge.errors import UsageError
from brain_edge_conversion.budget.budget import AccuracyBudget, judge

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
NAMES = {"_fp32": "_baseline", "_int8": "_candidate"}
"""What format 1 calls them."""


def verdict_on(example: str, **limits: Any) -> tuple[bool, list[str]]:
    """Whether the package was written then, and what is missed now."""
    report = json.loads((EXAMPLES / f"accuracy-{example}" / "accuracy.json").read_text(encoding="utf-8"))
    record = report["accuracy"] if "accuracy" in report else report["evidence"]
    cases = [accuracy_case(**({"voxel_diagonal_mm": 1.732} | _renamed(case))) for case in record["cases"]]
    return report["met"], list(judge(cases, 1.0, AccuracyBudget(max_dice_drop=0.01, **limits)).failures)


def _renamed(case: dict[str, Any]) -> dict[str, Any]:
    for old, new in NAMES.items():
        case = {name.replace(old, new): value for name, value in case.items()}
    return case


@pytest.mark.parametrize("example", ["deepbet", "hd-bet-v1", "hd-bet-v1-tuned"])
def test_skull_strippers_meet_them_as_before(example: str):
    assert verdict_on(example) == (True, [])


def test_vox2vox_meets_them_where_nothing_is_promised_of_what_it_has_not_learnt():
    assert verdict_on("fit-vox2vox", unbound=(2,)) == (True, [])
    with pytest.raises(UsageError, match=r"label 2: the baseline has a mean Dice of only 0\.00000"):
        verdict_on("fit-vox2vox")


def test_the_necrosis_of_the_fit_nnunet_is_luck_and_refused():
    met, failures = verdict_on("fit-nnunet")
    assert met
    (failure,) = failures
    assert failure.startswith("mean disagreement of label 1 with the baseline is 0.89")


@pytest.mark.parametrize("example", ["meshnet-tissue", "meshnet-subcortical"])
def test_meshnets_miss_the_drop_as_before(example: str):
    met, failures = verdict_on(example)
    assert not met
    assert failures[0].startswith("mean drop of label")
