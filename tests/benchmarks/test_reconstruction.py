"""The comparison of changed weights on crops runs as it is called: a network that plain INT8 breaks, and its repair."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from outlier_package import make_outlier_package, phantom_cohort

from benchmarks import reconstruction
from benchmarks.reconstruction import PLAIN, SEVEN_BITS
from brain_edge.evaluation.cohort import Split
from brain_edge_conversion.quantize.ladder import MENDED

if TYPE_CHECKING:
    from pathlib import Path

    from brain_edge_conversion.quantize.ladder import Setting

# nncf reads its configuration with a deprecated corner of a library of its own
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

SPLITS = (Split.CALIBRATION, Split.VALIDATION, Split.TEST)


ALL = (PLAIN, MENDED, SEVEN_BITS)
FEWEST = (PLAIN[:1], MENDED[1:], ())


@pytest.mark.parametrize(
    "settings",
    [FEWEST, pytest.param(ALL, marks=pytest.mark.full)],  # each setting is a quantisation
    ids=["the fewest settings", "all settings"],
)
def test_each_setting_is_a_row_and_moved_scales_repair_what_one_range_breaks(
    settings: tuple[tuple[Setting, ...], ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name, chosen in zip(("PLAIN", "MENDED", "SEVEN_BITS"), settings, strict=True):
        monkeypatch.setattr(reconstruction, name, chosen)
    package = make_outlier_package(tmp_path / "fp32")
    (tmp_path / "data").mkdir()
    cohort = phantom_cohort(tmp_path / "data", SPLITS)
    arguments = [str(package.folder), str(cohort.path), "--side", "24", "--threads", "1"]
    done = CliRunner().invoke(reconstruction.main, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    assert "tiny: 1 calibration and 2 judged head(s), crops of 24^3" in done.stdout
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")][2:]
    worst = {title.strip(): float(figure) for title, figure, *_ in rows}
    assert list(worst) == [setting.title for several in settings for setting in several]
    assert worst[MENDED[1].title] < 0.1 < worst[PLAIN[0].title]
