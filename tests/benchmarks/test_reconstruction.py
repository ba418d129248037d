"""The comparison of changed weights on crops runs as it is called: a network that plain INT8 breaks, and its repair."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from outlier_package import make_outlier_package, phantom_cohort

from benchmarks.reconstruction import PLAIN, SEVEN_BITS, main
from brain_edge.evaluation.cohort import Split
from brain_edge_conversion.quantize.ladder import MENDED

if TYPE_CHECKING:
    from pathlib import Path

# nncf reads its configuration with a deprecated corner of a library of its own
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

SPLITS = (Split.CALIBRATION, Split.VALIDATION, Split.TEST)


def test_each_setting_is_a_row_and_moved_scales_repair_what_one_range_breaks(tmp_path: Path):
    package = make_outlier_package(tmp_path / "fp32")
    (tmp_path / "data").mkdir()
    cohort = phantom_cohort(tmp_path / "data", SPLITS)
    arguments = [str(package.folder), str(cohort.path), "--side", "24", "--threads", "1"]
    done = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    assert "tiny: 1 calibration and 2 judged head(s), crops of 24^3" in done.stdout
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")][1:]
    worst = {title.strip(): float(figure) for title, figure, *_ in rows if not title.startswith("-")}
    assert list(worst) == [setting.title for setting in (*PLAIN, *MENDED, *SEVEN_BITS)]
    assert worst[MENDED[1].title] < 0.1 < worst[PLAIN[0].title]
