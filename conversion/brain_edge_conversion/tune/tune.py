"""tune: from a package to the same model in cheaper settings within a Dice budget, or to a refusal.

Settings are tried on validation cases, the choice is frozen and then judged once on test cases: the search, the budget
and the judge are those of a quantisation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from brain_edge.errors import UsageError
from brain_edge.package import NumberFormat, Precision
from brain_edge.package.trained import require_trained
from brain_edge.runtime.session import cpu_capabilities
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
    """How to tune and how to judge.

    Attributes:
        budget: what the masks may lose against the package as it is; a least share of INT8 would bind nothing here.
        rounds: cold runs of each setting for the times in the report.

    Raises:
        UsageError: the budget asks for a share of INT8.
    """

    budget: AccuracyBudget = field(default_factory=lambda: AccuracyBudget(min_int8_share=0.0))
    rounds: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.budget.min_int8_share:
            raise UsageError("tuning changes settings, not numbers: --min-int8-share would bind nothing; leave it out")


def tune(
    package: ModelPackage, cohort: Cohort, target: Path, options: TuneOptions, int8: ModelPackage | None = None
) -> ModelPackage:
    """Find the cheapest setting of a package that keeps within a budget, and write it as a package of its own.

    Args:
        package: trained.
        cohort: its validation split judges the trials, its test split (else its validation split) the choice.
        target: the folder of the tuned package; it appears whole or not at all.
        options: budget, times, threads.
        int8: a package that was quantised from this one, whose graphs may then be taken.

    Raises:
        UsageError: there is nothing to tune, the packages do not belong together, or the report's folder is a file.
        WeightsError: the weights are random.
        InputError: no validation case, or a file of the cohort is refused.
        BudgetError: nothing cheaper meets the budget; a report is written, no package.
    """
    space = SettingsSpace(package, int8, _dials(package, int8), options.rounds)
    return find_cheaper(space, cohort, target, options)


def _dials(package: ModelPackage, int8: ModelPackage | None) -> Dials:
    """The settings of a package.

    Raises:
        UsageError: it has none, it makes images, or the INT8 package was not made of it.
        WeightsError: its weights are random.
    """
    if package.spec.makes_images:
        raise UsageError(f"{package.folder}: the model {package.spec.name} makes images; a Dice budget binds masks")
    require_trained(package, "so that its masks have no accuracy to keep; convert the model with trained weights")
    if int8 is not None:
        _require_same_network(package, int8)
    dials = dials_of(package.spec, tuple(_arithmetic(package, int8)))
    if dials.is_empty:
        is_int8 = package.manifest.number_format is NumberFormat.INT8
        advice = "it is INT8 already" if is_int8 else "quantise it and give the result with --int8"
        raise UsageError(
            f"{package.folder}: nothing can be tuned: one member, no mirroring, no windows, a fixed grid; {advice}"
        )
    return dials


def _require_same_network(package: ModelPackage, int8: ModelPackage) -> None:
    if int8.manifest.number_format is not NumberFormat.INT8 or int8.manifest.converted_from != package.digest:
        raise UsageError(
            f"{int8.folder}: expected an INT8 package that was quantised from {package.folder} (digest "
            f"{package.digest[:12]}...), this one is {int8.manifest.number_format}, made of "
            f"{(int8.manifest.converted_from or 'no other')[:12]}; quantise {package.folder} first"
        )


def _arithmetic(package: ModelPackage, int8: ModelPackage | None) -> list[Arithmetic]:
    """The numbers in which a package can be computed here, its own first, the fastest last."""
    offered = [Arithmetic.OWN]
    is_f32 = package.manifest.number_format is NumberFormat.FP32 and package.manifest.precision is Precision.F32
    if is_f32 and "BF16" in cpu_capabilities():
        offered.append(Arithmetic.BF16)
    return [*offered, Arithmetic.INT8] if int8 is not None else offered
