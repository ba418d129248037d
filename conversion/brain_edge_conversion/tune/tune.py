"""tune: turn a package into the same model with cheaper settings within a Dice budget, or refuse.

Settings are tried on validation cases; the choice is frozen and then judged once on test cases. Search, budget and
judgement are the same as in a quantisation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from brain_edge.errors import UsageError
from brain_edge.package import NumberFormat
from brain_edge.package.trained import require_trained
from brain_edge_conversion.budget.bf16 import native_bf16
from brain_edge_conversion.budget.budget import AccuracyBudget
from brain_edge_conversion.search.options import SearchOptions
from brain_edge_conversion.search.run import find_cheaper
from brain_edge_conversion.tune.settings import Arithmetic, dials_of
from brain_edge_conversion.tune.space import SettingsSpace

if TYPE_CHECKING:
    from pathlib import Path

    from brain_edge.evaluation.cohort import Cohort
    from brain_edge.package import ModelPackage
    from brain_edge_conversion.tune.settings import Dials


@dataclass(frozen=True, kw_only=True)
class TuneOptions(SearchOptions):
    """Options of a tuning and its judgement.

    Attributes:
        budget: accuracy that the masks may lose against the package as it is; its INT8 share must be 0 here.
        rounds: number of cold runs of each setting for the times in the report.

    Raises:
        UsageError: the budget requires an INT8 share.
    """

    budget: AccuracyBudget = field(default_factory=lambda: AccuracyBudget(min_int8_share=0.0))
    rounds: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.budget.min_int8_share:
            raise UsageError("--min-int8-share has no effect in tuning, which quantises nothing; remove it")


def tune(
    package: ModelPackage, cohort: Cohort, target: Path, options: TuneOptions, int8: ModelPackage | None = None
) -> ModelPackage:
    """Find the cheapest setting of a package that keeps within a budget, and write it as a package of its own.

    Args:
        package: package with trained weights.
        cohort: cohort whose validation split judges the trials and whose test split (else validation split) judges the
            choice.
        target: folder of the tuned package; it appears complete or not at all.
        options: budget, times, threads.
        int8: package quantised from `package`, whose graphs may be used.

    Raises:
        UsageError: there is nothing to tune, the packages do not belong together, or the report's folder is a file.
        WeightsError: the weights are random.
        InputError: the cohort has no validation case, or one of its files is refused.
        BudgetError: no cheaper setting meets the budget; a report is written, no package.
    """
    space = SettingsSpace(package, int8, _dials(package, int8), options.rounds)
    return find_cheaper(space, cohort, target, options)


def _dials(package: ModelPackage, int8: ModelPackage | None) -> Dials:
    """Return the dials of a package.

    Raises:
        UsageError: the package has no dials or makes images, or the INT8 package was not made from it.
        WeightsError: the weights of the package are random.
    """
    if package.spec.makes_images:
        raise UsageError(
            f"{package.folder}: expected a model that makes masks, got {package.spec.name}, which makes images; name "
            "another"
        )
    require_trained(package, "so that its masks have no accuracy to keep; convert the model with trained weights")
    if int8 is not None:
        _require_same_network(package, int8)
    dials = dials_of(package.spec, tuple(_arithmetic(package, int8)))
    if dials.is_empty:
        is_int8 = package.manifest.number_format is NumberFormat.INT8
        advice = "it is INT8 already" if is_int8 else "quantise it and give the result with --int8"
        raise UsageError(
            f"{package.folder}: nothing can be tuned (one member, no mirroring, no windows, a fixed grid); {advice}"
        )
    return dials


def _require_same_network(package: ModelPackage, int8: ModelPackage) -> None:
    if int8.manifest.number_format is not NumberFormat.INT8 or int8.manifest.converted_from != package.digest:
        raise UsageError(
            f"{int8.folder}: expected an INT8 package quantised from {package.folder} (digest "
            f"{package.digest[:12]}...), got {int8.manifest.number_format} made from "
            f"{(int8.manifest.converted_from or 'no package')[:12]}; quantise {package.folder} first"
        )


def _arithmetic(package: ModelPackage, int8: ModelPackage | None) -> list[Arithmetic]:
    """Return the number formats in which a package can run here, its own first, the fastest last."""
    offered = [Arithmetic.OWN]
    if native_bf16(package) is not None:
        offered.append(Arithmetic.BF16)
    return [*offered, Arithmetic.INT8] if int8 is not None else offered
