"""Accuracy of a model on a cohort, measured through `Segmenter`.

One case is in memory at a time. Every case is checked before the first one runs. Values that cannot be measured are
counted and reported, never averaged: cases without a reference mask are listed separately, a label that is absent on
both sides is left out, and a model that finds no brain scores 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from brain_edge.engine.segmenter import Segmentation, Segmenter
from brain_edge.errors import ImplausibleError, UsageError
from brain_edge.evaluation.cohort import distinct_cases, limits_of_images, load_case, require_cases, study_for
from brain_edge.evaluation.cohort.check import told
from brain_edge.evaluation.cohort.manifest import Split
from brain_edge.evaluation.evidence import evidence_in
from brain_edge.evaluation.lesion_wise import LesionWise, RegionSummary, lesion_wise, summarize_region
from brain_edge.evaluation.markdown import markdown_table
from brain_edge.evaluation.scores import LabelScore, ScoreSummary, score_labels, summarize
from brain_edge.image.volume import Mask
from brain_edge.package.trained import require_trained
from brain_edge.spec import Label, Value
from brain_edge.spec.plausibility import Flag, FlagKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from brain_edge.deploy.fetch import Report
    from brain_edge.evaluation.cohort import CheckedCase, Cohort
    from brain_edge.evaluation.evidence import Evidence
    from brain_edge.image.volume import Study
    from brain_edge.machine.options import RuntimeOptions
    from brain_edge.package import ModelPackage
    from brain_edge.spec import ModelSpec


ONE_MM: Final = 1.0
SLACK_MM: Final = 0.2
"""Tolerance in mm from the 1 mm voxels of the challenge whose lesion-wise figures are computed."""


class CaseScores(Value, frozen=True, kw_only=True):
    """One case of an evaluation. It names the subject, so it is for reports and never for a package.

    Attributes:
        case: number of the case in the cohort, used where no name is allowed.
        subject, visit, sequences, split: values of the manifest.
        elapsed_ms: time of the whole segmentation in ms; the first case of a shape includes compilation.
        flags: implausible findings about the image or the mask.
        volume_ml: volume in ml of each label of the mask, by label name.
        scores: scores of each label against the reference mask; empty without a reference mask.
        lesion_wise: lesion-wise scores of each requested region, if there is a reference mask.
    """

    case: int
    subject: str
    visit: str
    sequences: tuple[str, ...]
    split: Split
    elapsed_ms: float
    flags: tuple[Flag, ...]
    volume_ml: dict[str, float]
    scores: tuple[LabelScore, ...] = ()
    lesion_wise: dict[str, LesionWise] = msgspec.field(default_factory=dict)


class Evaluation(Value, frozen=True, kw_only=True):
    """A model on the cases of a cohort.

    Attributes:
        model: name of the specification.
        package_digest: digest of the package, or None for a given segmenter.
        cohort, cohort_sha256, licence, citation: facts about the images.
        split: judged split; None for the whole cohort.
        limits: limits of the figures, in sentences.
        labels: name of each label of the model, by value.
        summaries: summary of each label, over `cases` only.
        cases: cases with a reference mask.
        without_reference: cases without a reference mask, which ran but whose accuracy is unknown.
        regions: lesion-wise summary of each requested region.
    """

    model: str
    package_digest: str | None
    cohort: str
    cohort_sha256: str
    licence: str
    citation: str
    split: Split | None
    limits: tuple[str, ...]
    labels: tuple[Label, ...]
    summaries: tuple[ScoreSummary, ...]
    cases: tuple[CaseScores, ...]
    without_reference: tuple[CaseScores, ...]
    regions: tuple[RegionSummary, ...] = ()


def evaluate(
    model: ModelPackage | Segmenter,
    cohort: Cohort,
    split: Split | None = None,
    *,
    options: RuntimeOptions | None = None,
    report: Report | None = None,
    regions: Mapping[str, tuple[int, ...]] | None = None,
) -> Evaluation:
    """Run a model on the cases of a cohort and compare its masks with the reference masks.

    Args:
        model: opened package, or segmenter with the caller's own sessions.
        cohort: cohort of cases, of which nothing is downloaded here.
        split: split to run; None for all. An image in several splits of a demonstration runs once.
        options: runtime options of a package.
        report: function called before each case is checked and before it is run.
        regions: unions of labels, by name, that are also judged lesion by lesion.

    Raises:
        UsageError: a region has a label that the model does not have.
        WeightsError: the weights of the package are random.
        InputError: the split has no case, or a case cannot be used with this model; raised before any case runs.
    """
    package = None if isinstance(model, Segmenter) else model
    if package is not None:
        require_trained(package, NO_ACCURACY)
    segmenter = model if isinstance(model, Segmenter) else Segmenter.open(model, options)
    wanted = dict(regions or {})
    _require_labels(wanted, segmenter.spec)
    checked = distinct_cases(require_cases(cohort.cases(split), segmenter.spec, report))
    by_number = {each.case.number: each for each in checked}
    running = told("running", [each.case for each in checked], report)
    results = [_judged(segmenter, by_number[case.number], wanted) for case in running]
    scored = tuple(result for result in results if result.scores)
    return Evaluation(
        model=segmenter.spec.name,
        package_digest=package.digest if package else None,
        cohort=cohort.manifest.name,
        cohort_sha256=cohort.sha256,
        licence=cohort.manifest.licence,
        citation=cohort.manifest.citation,
        split=split,
        limits=(
            *_limits(cohort, package, checked, results),
            *limits_of_images(checked, segmenter.spec),
            *(_lesion_limits(checked) if wanted else ()),
        ),
        labels=segmenter.spec.labels,
        summaries=summarize(result.scores for result in scored),
        cases=scored,
        without_reference=tuple(result for result in results if not result.scores),
        regions=tuple(
            summarize_region(name, labels, [result.lesion_wise[name] for result in scored])
            for name, labels in wanted.items()
            if scored
        ),
    )


def segment_case(segmenter: Segmenter, study: Study) -> Segmentation:
    """Segment a case; return an empty mask with a flag if a stage of a cascade finds nothing.

    To find no brain in a head is a result, although a bad one: it must lower the mean instead of ending the run.
    """
    given = study_for(study, segmenter.spec)
    try:
        return segmenter(given)
    except ImplausibleError as error:
        empty = Mask(np.zeros(given.geometry.shape, dtype=np.uint8), given.geometry)
        return Segmentation(empty, (Flag(FlagKind.EMPTY, str(error), 0.0, 0.0, 0.0),))


def format_table(evaluation: Evaluation) -> str:
    """Format an evaluation as Markdown tables, aligned for a terminal."""
    title = f"{evaluation.model} on {evaluation.cohort}, {evaluation.split or 'all splits'}"
    blocks = ["\n".join((title, *evaluation.limits))]
    if evaluation.summaries:
        names = {label.value: label.name for label in evaluation.labels}
        blocks.append(
            markdown_table(SUMMARY_COLUMNS, [_summary_row(summary, names) for summary in evaluation.summaries])
        )
        if evaluation.regions:
            blocks.append(markdown_table(REGION_COLUMNS, [_region_row(region) for region in evaluation.regions]))
        blocks.append(markdown_table(CASE_COLUMNS, [_case_row(result) for result in evaluation.cases]))
    if evaluation.without_reference:
        blocks.append("Cases without a reference mask, not included in the figures above:")
        others = [
            [*_who(result), number(sum(result.volume_ml.values()), 1), *_how(result)]
            for result in evaluation.without_reference
        ]
        blocks.append(markdown_table(OTHER_COLUMNS, others))
    return "\n\n".join(blocks)


def number(value: float | None, digits: int) -> str:
    """Format a figure, with a dash if it is undefined, because a 0 would be read as a figure."""
    return "-" if value is None else f"{value:.{digits}f}"


SUMMARY_COLUMNS = (
    *("Label", "Cases", "Absent", "Dice mean", "Dice worst"),
    *("HD95 mean (mm)", "HD95 worst (mm)", "HD95 undefined", "Volume difference (ml)"),
)
REGION_COLUMNS = (
    *("Lesion by lesion", "Labels", "Cases", "Dice mean", "HD95 mean (mm)"),
    *("Lesions", "Missed", "False"),
)
NO_ACCURACY: Final = "so its Dice says nothing about accuracy; convert the model with trained weights"
CASE_COLUMNS = ("Case", "Subject", "Visit", "Images", "Dice", "HD95 (mm)", "Time (s)", "Flags")
"""Columns of a case. For a model with several labels: the mean Dice and the largest HD95 of the labels present."""
OTHER_COLUMNS = ("Case", "Subject", "Visit", "Images", "Volume (ml)", "Time (s)", "Flags")


def _require_labels(regions: Mapping[str, tuple[int, ...]], spec: ModelSpec) -> None:
    for name, labels in regions.items():
        if unknown := sorted(set(labels) - set(spec.label_names())):
            raise UsageError(
                f"expected labels of {spec.name}, {sorted(spec.label_names())}, in the region {name}, "
                f"got also {unknown}"
            )


def _judged(segmenter: Segmenter, checked: CheckedCase, regions: Mapping[str, tuple[int, ...]]) -> CaseScores:
    case = checked.case
    study, reference = load_case(case)
    found = segment_case(segmenter, study)
    names = segmenter.spec.label_names()
    scores: tuple[LabelScore, ...] = ()
    by_lesion: dict[str, LesionWise] = {}
    if reference is not None:
        scores = score_labels(found.mask.labels, reference.labels, reference.geometry, tuple(names))
        by_lesion = {
            name: lesion_wise(np.isin(found.mask.labels, labels), np.isin(reference.labels, labels), reference.geometry)
            for name, labels in regions.items()
        }
    return CaseScores(
        case=case.number,
        subject=case.entry.subject,
        visit=case.entry.visit,
        sequences=tuple(case.inputs),
        split=case.entry.split,
        elapsed_ms=sum(found.elapsed_ms.values()),
        flags=tuple(dict.fromkeys((*checked.flags, *found.flags))),
        volume_ml={name: found.mask.volume_ml(value) for value, name in names.items()},
        scores=scores,
        lesion_wise=by_lesion,
    )


def _limits(
    cohort: Cohort, package: ModelPackage | None, cases: Sequence[CheckedCase], results: Sequence[CaseScores]
) -> Iterator[str]:
    judged = [result for result in results if result.scores]
    subjects = {result.subject for result in judged}
    yield f"With a reference mask: {len(judged)} of {len(results)} cases, {len(subjects)} subject(s)."
    if not judged:
        yield "The accuracy on these images is unknown."
    yield from limits_of_cohort(cohort)
    if package is not None:
        yield from limits_of_package(package, cohort, cases)


def limits_of_cohort(cohort: Cohort) -> Iterator[str]:
    """Yield the limits of figures on a cohort, for any model."""
    if cohort.manifest.demo:
        yield "Demonstration: one head stands in for many; no statement about accuracy elsewhere."
    if cohort.manifest.synthetic:
        yield "The images are synthetic; no statement about accuracy on real images."


def limits_of_package(package: ModelPackage, cohort: Cohort, cases: Sequence[CheckedCase]) -> Iterator[str]:
    """Yield the limits of a package's figures on cases of a cohort that it has seen before."""
    if package.manifest.mark:
        yield f"The weights were {package.manifest.mark}: Dice on these cases is measured on images they have seen."
    found = evidence_in(package.manifest)
    for evidence in () if found is None else found.chain:
        yield from _limits_of_evidence(evidence, cohort, cases)


def _limits_of_evidence(evidence: Evidence, cohort: Cohort, cases: Sequence[CheckedCase]) -> Iterator[str]:
    if evidence.cohort_sha256 != cohort.sha256:
        seen = frozenset(evidence.seen_images)
        if known := sum(not seen.isdisjoint(each.hashes) for each in cases):
            yield f"The settings of the package were chosen on {known} of these images, in another cohort."
    elif {each.case.entry.split for each in cases} - {Split.TEST}:
        yield "The settings of this package were chosen on cases of this cohort; only the test split is new to it."


def _lesion_limits(cases: Sequence[CheckedCase]) -> Iterator[str]:
    other = [case for case in cases if any(abs(side - ONE_MM) > SLACK_MM for side in case.spacing_mm)]
    if other:
        largest = max(max(case.spacing_mm) for case in other)
        yield (
            "Lesion by lesion: lesions are joined over three voxels, as in the challenge's program for 1 mm voxels; "
            f"{len(other)} of {len(cases)} cases have other voxels (up to {largest:.3g} mm) and join other lesions."
        )


def _summary_row(summary: ScoreSummary, names: Mapping[int, str]) -> list[str]:
    return [
        names[summary.label],
        str(summary.cases),
        str(summary.absent),
        number(summary.mean_dice, 4),
        number(summary.worst_dice, 4),
        number(summary.hd95_mean_mm, 2),
        number(summary.hd95_worst_mm, 2),
        str(summary.hd95_undefined),
        number(summary.mean_volume_difference_ml, 1),
    ]


def _region_row(region: RegionSummary) -> list[str]:
    return [
        region.region,
        "+".join(map(str, region.labels)),
        str(region.cases),
        number(region.mean_dice, 4),
        number(region.mean_hd95_mm, 2),
        *map(str, (region.lesions, region.missed, region.false)),
    ]


def _case_row(result: CaseScores) -> list[str]:
    dices = [score.dice for score in result.scores if score.dice is not None]
    distances = [score.hd95_mm for score in result.scores if score.hd95_mm is not None]
    mean = float(np.mean(dices)) if dices else None
    return [*_who(result), number(mean, 4), number(max(distances, default=None), 2), *_how(result)]


def _who(result: CaseScores) -> list[str]:
    return [str(result.case), result.subject, result.visit, "+".join(result.sequences)]


def _how(result: CaseScores) -> list[str]:
    return [number(result.elapsed_ms / 1000.0, 2), ", ".join(flag.kind for flag in result.flags)]
