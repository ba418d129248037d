"""Pictures of the worst cases for a report: reference, baseline and candidate over the anatomy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from brain_edge.engine.segmenter import Segmenter
from brain_edge.evaluation.cohort import load_case
from brain_edge.evaluation.evaluate import segment_case
from brain_edge_conversion.budget.budget import losses
from brain_edge_conversion.budget.comparison import write_comparison_mosaic
from brain_edge_conversion.budget.measure import read_baseline

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from brain_edge.evaluation.cohort import Case
    from brain_edge.evaluation.evidence import AccuracyCase, Change
    from brain_edge.machine.options import RuntimeOptions
    from brain_edge.package import ModelPackage

MOST: Final = 3


def worst_cases(records: Sequence[AccuracyCase]) -> tuple[int, ...]:
    """Return the numbers of the cases that lose most in any label, worst first."""
    worst: dict[int, float] = {}
    for record, loss in losses(records).items():
        worst[record.case] = max(loss, worst.get(record.case, loss))
    return tuple(sorted(worst, key=lambda case: -worst[case])[:MOST])


def draw_cases(
    candidate: ModelPackage, change: Change, cases: Iterable[Case], masks: Path, folder: Path, runtime: RuntimeOptions
) -> dict[int, str]:
    """Draw cases into a folder; return case number -> file name.

    Args:
        candidate: package, sealed or not.
        change: change that made the candidate from the baseline.
        cases: cases to draw.
        masks: folder of the baseline's masks.
        folder: folder of the report.
        runtime: runtime options, such as threads.
    """
    segmenter = Segmenter.open(candidate, runtime)
    return {case.number: _draw(segmenter, change, case, masks, folder) for case in cases}


def _draw(segmenter: Segmenter, change: Change, case: Case, masks: Path, folder: Path) -> str:
    study, reference = load_case(case)
    mask = segment_case(segmenter, study).mask
    shown = {} if reference is None else {"reference": reference}
    name = f"case-{case.number}.png"
    write_comparison_mosaic(
        study.volumes[study.reference],
        {**shown, change.baseline: read_baseline(masks, case, mask.geometry), change.candidate: mask},
        folder / name,
        title=f"{segmenter.spec.name}, case {case.number}: {change.baseline} and {change.candidate}",
        notes=["CONTAINS PATIENT IMAGES"],
    )
    return name
