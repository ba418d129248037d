"""`brain_edge.tune`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from brain_edge.machine.options import RuntimeOptions
from brain_edge.verbs.build_side import build_side
from brain_edge.verbs.given import path_or_none, reporter
from brain_edge.verbs.limits import budget_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Unpack

    from brain_edge.package import ModelPackage
    from brain_edge.verbs.given import FilePath
    from brain_edge.verbs.limits import BudgetLimits


def tune(
    package: FilePath,
    calibration: FilePath,
    output: FilePath | None = None,
    *,
    max_dice_drop: float,
    int8: FilePath | None = None,
    report: FilePath | None = None,
    without_patients: bool = False,
    rounds: int = 3,
    time_limit_min: float | None = None,
    overwrite: bool = False,
    runtime: RuntimeOptions | None = None,
    progress: Callable[[str], None] | None = None,
    **limits: Unpack[BudgetLimits],
) -> ModelPackage:
    """Find the cheapest settings of a package within a Dice budget and write them as a package of their own.

    The same as `brain-edge tune`; it needs the extra `convert`. Settings are members, mirrorings, windows, crop and
    INT8. They are tried on the validation cases of the cohort; the choice is judged once on its test cases.

    Args:
        package: folder of the trained package.
        calibration: cohort, by the name of a shipped one or the path of a `.toml` file.
        output: folder of the tuned package; `NAME-tuned` beside the other by default.
        max_dice_drop: greatest mean Dice drop of a label, 0 to 1.
        int8: folder of the INT8 package that was quantised from this one.
        report: folder for figures, times and a page that names subjects and shows the worst cases.
        without_patients: report without names of subjects and without pictures.
        rounds: number of timed cold runs of each setting.
        time_limit_min: minutes after which no trial begins; none by default.
        overwrite: replacement of a package of the same name.
        runtime: threads, cache, memory limit, stage 0.
        progress: function that is told each step, in one line.
        **limits: further limits of the budget, as `BudgetLimits` lists them.

    Returns:
        The sealed package; its manifest carries the evidence.

    Raises:
        UsageError: there is nothing to tune, a limit cannot bind, or the packages do not belong together.
        InputError: no validation case, or a file of the cohort is refused.
        WeightsError: the weights are random.
        BudgetError: nothing cheaper meets the budget; no package is written.
        MissingExtraError: a library of the build side is not installed.

    Examples:
        >>> import brain_edge
        >>> package = brain_edge.tune("hd-bet-fp32", "my-cohort.toml", max_dice_drop=0.01, int8="hd-bet-int8")
        >>> package.folder
    """
    with build_side("tune"):
        from brain_edge_conversion.tune.by_request import tune_request
        from brain_edge_conversion.tune.tune import TuneOptions

    options = TuneOptions(
        budget=budget_of(max_dice_drop, 0.0, **limits),
        rounds=rounds,
        runtime=runtime or RuntimeOptions(resident_graphs=2),
        report=reporter(progress),
        report_folder=path_or_none(report),
        without_patients=without_patients,
        time_limit_min=time_limit_min,
        overwrite=overwrite,
    )
    return tune_request(Path(package), calibration, path_or_none(output), options, path_or_none(int8))
