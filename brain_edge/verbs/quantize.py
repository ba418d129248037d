"""`brain_edge.quantize`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from brain_edge.errors import UsageError
from brain_edge.machine.options import RuntimeOptions
from brain_edge.verbs.build_side import build_side
from brain_edge.verbs.given import chosen, path_or_none, reporter
from brain_edge.verbs.limits import budget_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Unpack

    from brain_edge.package import ModelPackage
    from brain_edge.verbs.given import FilePath
    from brain_edge.verbs.limits import BudgetLimits


def quantize(
    package: FilePath,
    output: FilePath | None = None,
    *,
    max_dice_drop: float | None = None,
    min_int8_share: float | None = None,
    calibration: FilePath | None = None,
    preset: str = "performance",
    report: FilePath | None = None,
    without_patients: bool = False,
    for_speed: bool = False,
    weight_changes: bool = True,
    gain: bool = True,
    time_limit_min: float | None = None,
    overwrite: bool = False,
    runtime: RuntimeOptions | None = None,
    progress: Callable[[str], None] | None = None,
    **limits: Unpack[BudgetLimits],
) -> ModelPackage:
    """Quantise an FP32 package to INT8 and write it only if its masks stay within a Dice budget.

    The same as `brain-edge quantize`; it needs the extra `convert`.

    Args:
        package: folder of the FP32 package.
        output: folder of the INT8 package; `NAME-int8` beside the other by default.
        max_dice_drop: greatest mean Dice drop of a label, 0 to 1; required unless `for_speed`.
        min_int8_share: minimum fraction of multiply-accumulates that run in INT8, 0 to 1; 0.5 by default.
        calibration: cohort, by the name of a shipped one or the path of a `.toml` file; the recipe's by default.
        preset: start of the search, `"performance"` or `"mixed"`.
        report: folder for figures and a page that names subjects and shows the worst cases.
        without_patients: report without names of subjects and without pictures.
        for_speed: quantisation of random weights on a phantom, without a budget and without a promise.
        weight_changes: fit of the weights to the float outputs of the calibration cases, if no setting suffices.
        gain: measurement of size, latency and memory before and after, for the report and for `progress`.
        time_limit_min: minutes after which no trial begins and no fit of weights goes on; none by default.
        overwrite: replacement of a package of the same name.
        runtime: threads, cache, memory limit, stage 0.
        progress: function that is told each step, in one line.
        **limits: further limits of the budget, as `BudgetLimits` lists them.

    Returns:
        The sealed package; its manifest carries the evidence.

    Raises:
        UsageError: no limit is stated, one cannot bind, or the package is INT8 already.
        InputError: the cohort lacks a split that is needed, or one of its files is refused.
        WeightsError: the weights are random, and `for_speed` is not set.
        BudgetError: the budget was missed; no package is written.
        MissingExtraError: a library of the build side is not installed.

    Examples:
        >>> import brain_edge
        >>> package = brain_edge.quantize("deepbet-fp32", max_dice_drop=0.01, report="report")
        >>> package.manifest.number_format
    """
    options = runtime or RuntimeOptions(resident_graphs=2)
    with build_side("quantize"):
        from brain_edge_conversion.quantize.by_request import GAIN_ROUNDS, quantize_request, speed_request
        from brain_edge_conversion.quantize.networks import import_nncf
        from brain_edge_conversion.quantize.quantize import Preset, QuantizeOptions

        import_nncf()
    begin = chosen(Preset, preset, "preset")
    if for_speed:
        _require_none(
            max_dice_drop=max_dice_drop,
            min_int8_share=min_int8_share,
            calibration=calibration,
            report=report,
            without_patients=without_patients or None,
            weight_changes=None if weight_changes else False,
            time_limit_min=time_limit_min,
            **limits,
        )
        return speed_request(Path(package), path_or_none(output), begin, options, overwrite=overwrite)
    if max_dice_drop is None:
        raise UsageError("expected max_dice_drop, got none; state what INT8 may cost, such as 0.01")
    asked = QuantizeOptions(
        budget=budget_of(max_dice_drop, 0.5 if min_int8_share is None else min_int8_share, **limits),
        preset=begin,
        weight_changes=weight_changes,
        gain_rounds=GAIN_ROUNDS if gain else 0,
        runtime=options,
        report=reporter(progress),
        report_folder=path_or_none(report),
        without_patients=without_patients,
        time_limit_min=time_limit_min,
        overwrite=overwrite,
    )
    quantized = quantize_request(Path(package), calibration, path_or_none(output), asked)
    for line in () if quantized.gain is None else quantized.gain.in_words:
        asked.report(line)
    return quantized.package


def _require_none(**given: object) -> None:
    """Refuse what has no effect without a budget.

    Raises:
        UsageError: it was given.
    """
    idle = [name for name, value in given.items() if value is not None]
    if idle:
        raise UsageError(
            f"with for_speed there is no budget and no report, got {', '.join(idle)}; omit these parameters"
        )
