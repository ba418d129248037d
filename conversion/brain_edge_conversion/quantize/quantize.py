"""quantize: from an FP32 package to an INT8 package within a Dice budget, or to a refusal.

NNCF's own accuracy control neither guarantees its limit nor raises, so it is not used: settings are tried on search
data, the choice is frozen, and then measured once through `Segmenter` in the precision in which it will run. The
decision is ours (`docs/decisions/0005-budget-is-measured-through-segmenter.md`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from brain_edge.errors import UsageError
from brain_edge.package.trained import require_trained
from brain_edge_conversion.quantize.ladder import Preset, ladder_from
from brain_edge_conversion.quantize.space import Int8Space, require_float
from brain_edge_conversion.search.options import SearchOptions
from brain_edge_conversion.search.run import find_cheaper

if TYPE_CHECKING:
    from pathlib import Path

    from brain_edge.evaluation.cohort import Cohort
    from brain_edge.package import ModelPackage

__all__ = ["Preset", "QuantizeOptions", "quantize"]


@dataclass(frozen=True, kw_only=True)
class QuantizeOptions(SearchOptions):
    """How to quantise and how to judge.

    Attributes:
        preset: of NNCF that the search begins with.

    Raises:
        UsageError: the budget asks for no share of INT8.
    """

    preset: Preset = Preset.PERFORMANCE

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.budget.min_int8_share:
            raise UsageError("expected --min-int8-share above 0: a package with nothing in INT8 is not quantised")


def quantize(package: ModelPackage, cohort: Cohort, target: Path, options: QuantizeOptions) -> ModelPackage:
    """Quantise every graph of a package and write the result if, and only if, it meets the budget.

    Args:
        package: FP32, checked against PyTorch.
        cohort: its calibration split sets the ranges of the activations, its validation split judges the trials of
            the search, its test split (else its validation split) the result.
        target: the folder of the INT8 package; it appears whole or not at all.
        options: budget and preset.

    Raises:
        UsageError: the package is INT8 already, the budget would not bind a label, or the report's folder is a file.
        WeightsError: the weights are random.
        InputError: the cohort lacks a split that is needed, or one of its files is refused.
        BudgetError: the budget was missed, or the confidence needs more subjects; no package is written.
    """
    require_float(package)
    require_trained(package, "so that no budget can be judged; --for-speed quantises it for measuring how fast it is")
    return find_cheaper(Int8Space(package, ladder_from(options.preset)), cohort, target, options)
