"""A time limit that is over in the middle of a fit: the best so far is taken, and the journal has whole trials only."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from outlier_package import BLAMED, make_outlier_package, phantom_cohort
from tiny_package import make_package
from trial_setup import made_up, prepared

from brain_edge.evaluation.cohort import Split
from brain_edge.machine.options import RuntimeOptions
from brain_edge_conversion.budget.budget import AccuracyBudget
from brain_edge_conversion.quantize.ladder import LADDER, MENDED
from brain_edge_conversion.quantize.policy import Group, Trial
from brain_edge_conversion.quantize.space import RANKING, Int8Space
from brain_edge_conversion.search.journal import Log
from brain_edge_conversion.search.options import SearchOptions
from brain_edge_conversion.search.run import _Search
from brain_edge_conversion.search.space import Stop
from brain_edge_conversion.search.time_limit import report_within_limit

if TYPE_CHECKING:
    from pathlib import Path

# nncf reads its configuration with a deprecated corner of a library of its own
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

SPLITS = (Split.CALIBRATION, Split.VALIDATION, Split.TEST)
RANKED = tuple(Group(graph="tiny", layers=(name,)) for name in (BLAMED, "stem", "mean"))
OPTIONS = SearchOptions(
    budget=AccuracyBudget(max_dice_drop=0.02), runtime=RuntimeOptions(threads=1), time_limit_min=1e-3
)
"""The limit is shorter than any call of NNCF, so the first line of a fit comes after it."""


def test_a_limit_in_the_middle_of_a_fit_ends_the_search_with_the_best_so_far(tmp_path: Path):
    """Fitted weights with two groups in float meet the budget; the trial with one group does not come to its end."""
    (tmp_path / "data").mkdir()
    space = Int8Space(make_outlier_package(tmp_path / "fp32"), (LADDER[0], MENDED[0]))
    best = Trial(setting=MENDED[0], reverted=RANKED[:2])
    drops = {Trial(setting=LADDER[0]): 0.3, Trial(setting=MENDED[0]): 0.1, best: 0.01}
    trials = [made_up(choice, drop) for choice, drop in drops.items()]
    lines: list[str] = []
    options = replace(OPTIONS, report=lines.append)
    setup = prepared(space, phantom_cohort(tmp_path / "data", SPLITS), tmp_path, options, trials)
    Log(setup.journal.folder / RANKING, tuple[Group, ...]).append(RANKED)
    space.prepare(setup)
    stop = _Search(space, setup, {})._try_until_done()
    reason = "the time limit of 0.001 minutes was over after 3 trial(s), in the middle of another one"
    assert stop == Stop(best, reason)
    assert [line for line in lines if line.startswith("layer ")] == [lines[-2]]
    assert list(setup.journal.entries) == trials
    assert list(setup.journal.trial_folder(3).rglob("*.xml")) == []


def test_the_first_trial_comes_to_its_end_whatever_the_limit(tmp_path: Path):
    (tmp_path / "data").mkdir()
    space = Int8Space(make_package(tmp_path / "fp32"), MENDED)
    setup = prepared(space, phantom_cohort(tmp_path / "data", SPLITS), tmp_path, OPTIONS, [])
    assert report_within_limit(OPTIONS, setup.journal) is OPTIONS.report
