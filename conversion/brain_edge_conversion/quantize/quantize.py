"""quantize: turn an FP32 package into an INT8 package within a Dice budget, or refuse.

NNCF's own accuracy control neither guarantees its limit nor raises, so it is not used. Settings are tried on search
data; the choice is frozen and then measured once through `Segmenter` in its deployed precision. The decision is made
here, not by NNCF (`docs/decisions/0005-budget-is-measured-through-segmenter.md`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from brain_edge.errors import UsageError
from brain_edge.package.trained import require_trained
from brain_edge_conversion.quantize.graphs import has_pairs, not_differentiable
from brain_edge_conversion.quantize.ladder import MENDED, FloatEnds, Preset, Weights, ladder_from
from brain_edge_conversion.quantize.space import Int8Space, require_float
from brain_edge_conversion.search.options import SearchOptions
from brain_edge_conversion.search.run import find_cheaper

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from brain_edge.evaluation.cohort import Cohort
    from brain_edge.package import ModelPackage
    from brain_edge_conversion.quantize.ladder import Setting

__all__ = ["Preset", "QuantizeOptions", "quantize"]


@dataclass(frozen=True, kw_only=True)
class QuantizeOptions(SearchOptions):
    """Options of a quantisation and its judgement.

    Attributes:
        preset: NNCF preset with which the search begins.
        weight_changes: True to fit weights to the float outputs of the calibration cases where settings do not suffice.
        gain_rounds: number of timed processes of each package for the gain; 0 leaves out the measurement.

    Raises:
        UsageError: the budget requires no INT8.
    """

    preset: Preset = Preset.PERFORMANCE
    gain_rounds: int = 0
    weight_changes: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gain_rounds < 0:
            raise ValueError(f"expected gain_rounds of 0 or more, got {self.gain_rounds}")
        if not self.budget.min_int8_share:
            raise UsageError("expected --min-int8-share above 0, got 0: a package without INT8 is not quantised")


def quantize(package: ModelPackage, cohort: Cohort, target: Path, options: QuantizeOptions) -> ModelPackage:
    """Quantise every graph of a package and write the result if, and only if, it meets the budget.

    Args:
        package: FP32 package, checked against PyTorch.
        cohort: cohort whose calibration split sets the ranges of the activations, whose validation split judges the
            trials, and whose test split (else validation split) judges the result.
        target: folder of the INT8 package; it appears complete or not at all.
        options: budget and preset.

    Raises:
        UsageError: the package is INT8 already, the budget would not bind a label, or the report's folder is a file.
        WeightsError: the weights are random.
        InputError: the cohort lacks a needed split, or one of its files is refused.
        BudgetError: the budget was missed, or the confidence needs more subjects; no package is written.
    """
    require_float(package)
    require_trained(package, "so that no budget can be judged; use --for-speed to quantise it for speed measurements")
    return find_cheaper(Int8Space(package, ladder_of(package, options)), cohort, target, options)


def ladder_of(package: ModelPackage, options: QuantizeOptions) -> tuple[Setting, ...]:
    """Return the settings that a search tries, in their order."""
    plain = ladder_from(options.preset)
    return (*plain, *_changes(package, options.report)) if options.weight_changes else plain


def _changes(package: ModelPackage, report: Callable[[str], None]) -> tuple[Setting, ...]:
    """Return the settings with changed weights that differ for this package."""
    equalises = has_pairs(package)
    fits = tuple(setting for setting in MENDED if equalises or setting.weights is not Weights.EQUALISED)
    # the layer that decides has few multiply-adds, and often the widest range of all
    fits = (*fits, msgspec.structs.replace(fits[-1], float_ends=FloatEnds.HEAD))
    unknown = not_differentiable(package)
    if unknown is not None:
        report(f"distillation cannot differentiate {unknown}; left out")
    return fits if unknown is not None else (*fits, msgspec.structs.replace(fits[-1], distilled=True))
