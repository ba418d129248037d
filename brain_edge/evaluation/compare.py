"""Comparison of two packages of one model on the same cases: the cost of quantisation, a rewrite or another precision.

Both masks are compared with the reference mask (loss of accuracy) and with each other (any change, because opposite
errors can cancel in the loss).
"""

from __future__ import annotations

import math
from statistics import fmean
from typing import TYPE_CHECKING

from brain_edge.engine.segmenter import Segmenter
from brain_edge.errors import UsageError
from brain_edge.evaluation.cohort import distinct_cases, limits_of_images, load_case, require_cases
from brain_edge.evaluation.cohort.check import told
from brain_edge.evaluation.cohort.manifest import Split
from brain_edge.evaluation.evaluate import NO_ACCURACY, limits_of_cohort, limits_of_package, number, segment_case
from brain_edge.evaluation.evidence import ComparedLabel
from brain_edge.evaluation.markdown import markdown_table
from brain_edge.evaluation.scores import score_labels
from brain_edge.image.metrics import dice
from brain_edge.package.trained import require_trained
from brain_edge.spec import Value
from brain_edge.spec.plausibility import Flag

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from brain_edge.deploy.fetch import Report
    from brain_edge.evaluation.cohort import Case, CheckedCase, Cohort
    from brain_edge.image.volume import Mask
    from brain_edge.machine.options import RuntimeOptions
    from brain_edge.package import ModelPackage


class ComparedCase(Value, frozen=True, kw_only=True):
    """Two models on one case, under its number; no field names a patient.

    Attributes:
        case, split: number and split of the case in the cohort.
        has_reference: True if Dice and drop could be measured; agreement always is.
        elapsed_baseline_ms, elapsed_candidate_ms: time of the whole segmentations in ms.
        flags_baseline, flags_candidate: implausible findings.
        labels: comparison of each label.
        voxel_diagonal_mm: diagonal of a voxel of the masks in mm.
    """

    case: int
    split: Split
    has_reference: bool
    elapsed_baseline_ms: float
    elapsed_candidate_ms: float
    flags_baseline: tuple[Flag, ...]
    flags_candidate: tuple[Flag, ...]
    labels: tuple[ComparedLabel, ...]
    voxel_diagonal_mm: float


class ComparedSummary(Value, frozen=True, kw_only=True):
    """One label over the cases of a comparison; figures that no case has are None.

    Attributes:
        label: value of the label.
        cases: number of cases in which a mask or the reference has the label.
        with_reference: number of these cases with a reference mask, over which drops are computed.
        mean_drop, worst_drop: drop of Dice against the reference.
        mean_agreement, least_agreement: Dice between both masks, over all cases.
    """

    label: int
    cases: int
    with_reference: int
    mean_drop: float | None
    worst_drop: float | None
    mean_agreement: float | None
    least_agreement: float | None


class Comparison(Value, frozen=True, kw_only=True):
    """Two packages on the cases of a cohort; no field names a patient.

    Attributes:
        model: name of the specification.
        baseline_digest, candidate_digest: digests of the packages.
        cohort, cohort_sha256: name and hash of the cohort.
        split: judged split; None for all splits.
        limits: limits of the figures, in sentences.
        summaries: summary of each label.
        cases: comparison of each case.
    """

    model: str
    baseline_digest: str
    candidate_digest: str
    cohort: str
    cohort_sha256: str
    split: Split | None
    limits: tuple[str, ...]
    summaries: tuple[ComparedSummary, ...]
    cases: tuple[ComparedCase, ...]


def compare_packages(
    baseline: ModelPackage,
    candidate: ModelPackage,
    cohort: Cohort,
    split: Split | None = None,
    *,
    options: RuntimeOptions | None = None,
    report: Report | None = None,
) -> Comparison:
    """Run two packages of one model on the cases of a cohort, each in the precision that it pins.

    Raises:
        UsageError: the packages have different labels.
        WeightsError: the weights of a package are random.
        InputError: the split has no case, or a case cannot be used; raised before any case runs.
    """
    for package in (baseline, candidate):
        require_trained(package, NO_ACCURACY)
    if baseline.spec.label_names() != candidate.spec.label_names():
        raise UsageError(
            f"{baseline.folder}: expected a package with the labels of {candidate.folder}, "
            f"got {', '.join(baseline.spec.label_names().values())}; name another --baseline"
        )
    checked = distinct_cases(require_cases(cohort.cases(split), candidate.spec, report))
    cases = [each.case for each in checked]
    first, second = (Segmenter.open(package, options) for package in (baseline, candidate))
    compared = tuple(compare(first, second, told("running", cases, report)))
    return Comparison(
        model=candidate.spec.name,
        baseline_digest=baseline.digest,
        candidate_digest=candidate.digest,
        cohort=cohort.manifest.name,
        cohort_sha256=cohort.sha256,
        split=split,
        limits=tuple(dict.fromkeys(_limits((baseline, candidate), cohort, checked))),
        summaries=tuple(_summary(label, compared) for label in candidate.spec.label_names()),
        cases=compared,
    )


def _limits(packages: Iterable[ModelPackage], cohort: Cohort, cases: Sequence[CheckedCase]) -> Iterator[str]:
    known = sum(each.case.has_reference for each in cases)
    yield f"With a reference mask: {known} of {len(cases)} cases."
    if not known:
        yield "The accuracy on these images is unknown; only the agreement of the masks is known."
    yield from limits_of_cohort(cohort)
    for package in packages:
        yield from limits_of_package(package, cohort, cases)
        yield from limits_of_images(cases, package.spec)


def _summary(label: int, cases: Sequence[ComparedCase]) -> ComparedSummary:
    own = [each for case in cases for each in case.labels if each.label == label]
    drops = [each.drop for each in own if each.drop is not None]
    agreements = [each.agreement for each in own if each.agreement is not None]
    return ComparedSummary(
        label=label,
        cases=sum(each.drop is not None or each.agreement is not None for each in own),
        with_reference=len(drops),
        mean_drop=fmean(drops) if drops else None,
        worst_drop=max(drops, default=None),
        mean_agreement=fmean(agreements) if agreements else None,
        least_agreement=min(agreements, default=None),
    )


def format_comparison(comparison: Comparison) -> str:
    """Format a comparison as Markdown tables, aligned for a terminal."""
    title = f"{comparison.model} on {comparison.cohort}, {comparison.split or 'all splits'}: candidate against baseline"
    labels = [
        [str(each.label), str(each.cases), str(each.with_reference)]
        + [number(value, 5) for value in (each.mean_drop, each.worst_drop, each.mean_agreement, each.least_agreement)]
        for each in comparison.summaries
    ]
    cases = [
        [str(case.case), case.split, str(each.label)]
        + [number(value, 5) for value in (each.dice_baseline, each.dice_candidate, each.drop, each.agreement)]
        + [number(value, 2) for value in (each.hd95_baseline_mm, each.hd95_candidate_mm)]
        for case in comparison.cases
        for each in case.labels
    ]
    return "\n\n".join(
        (
            "\n".join((title, *comparison.limits)),
            markdown_table(LABEL_COLUMNS, labels),
            markdown_table(CASE_COLUMNS, cases),
        )
    )


LABEL_COLUMNS = ("Label", "Cases", "With reference", "Mean drop", "Worst drop", "Mean agreement", "Least agreement")
CASE_COLUMNS = (
    *("Case", "Split", "Label", "Dice baseline", "Dice candidate", "Drop", "Agreement"),
    *("HD95 baseline (mm)", "HD95 candidate (mm)"),
)


def compare(baseline: Segmenter, candidate: Segmenter, cases: Iterable[Case]) -> Iterator[ComparedCase]:
    """Run two models with the same labels on each case and compare their masks; one case in memory at a time.

    Raises:
        InputError: a case cannot be used; call `require_cases` first, because cases are checked one by one here.
        ValueError: the models have different labels.
    """
    labels = baseline.spec.label_names()
    if candidate.spec.label_names() != labels:
        raise ValueError(f"expected two models with the labels {labels}, got {candidate.spec.label_names()}")
    for case in cases:
        study, reference = load_case(case)
        first, second = segment_case(baseline, study), segment_case(candidate, study)
        yield ComparedCase(
            case=case.number,
            split=case.entry.split,
            has_reference=reference is not None,
            elapsed_baseline_ms=sum(first.elapsed_ms.values()),
            elapsed_candidate_ms=sum(second.elapsed_ms.values()),
            flags_baseline=first.flags,
            flags_candidate=second.flags,
            labels=compare_masks(first.mask, second.mask, reference, tuple(labels)),
            voxel_diagonal_mm=math.hypot(*first.mask.geometry.spacing_mm),
        )


def compare_masks(
    baseline: Mask, candidate: Mask, reference: Mask | None, labels: Sequence[int]
) -> tuple[ComparedLabel, ...]:
    """Compare two masks of one image label by label, in the order of `labels`.

    Raises:
        GeometryError: the masks have different shapes.
        InputError: a mask contains a value that is not in `labels`.
    """
    if reference is None:
        return tuple(_agreement_only(baseline, candidate, label) for label in labels)
    # masks of one image lie on the grid of its reference, as `require_cases` has checked
    first = score_labels(baseline.labels, reference.labels, reference.geometry, labels)
    second = score_labels(candidate.labels, reference.labels, reference.geometry, labels)
    return tuple(
        ComparedLabel(
            label=a.label,
            dice_baseline=a.dice,
            dice_candidate=b.dice,
            drop=_drop(a.dice, b.dice),
            agreement=dice(baseline.labels == a.label, candidate.labels == a.label),
            hd95_baseline_mm=a.hd95_mm,
            hd95_candidate_mm=b.hd95_mm,
            volume_baseline_ml=a.volume_ml,
            volume_candidate_ml=b.volume_ml,
            reference_volume_ml=a.reference_volume_ml,
        )
        for a, b in zip(first, second, strict=True)
    )


def _drop(baseline: float | None, candidate: float | None) -> float | None:
    if candidate is None:
        return None if baseline is None else 0.0
    return (1.0 if baseline is None else baseline) - candidate


def _agreement_only(baseline: Mask, candidate: Mask, label: int) -> ComparedLabel:
    return ComparedLabel(
        label=label,
        dice_baseline=None,
        dice_candidate=None,
        drop=None,
        agreement=dice(baseline.labels == label, candidate.labels == label),
        hd95_baseline_mm=None,
        hd95_candidate_mm=None,
        volume_baseline_ml=baseline.volume_ml(label),
        volume_candidate_ml=candidate.volume_ml(label),
        reference_volume_ml=None,
    )
