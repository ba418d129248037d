"""Comparison of a candidate's masks with the baseline: every figure through `Segmenter`, one case in memory at a time.

The baseline is the parity-checked package in f32. Its masks are computed once and kept on disk, because every trial
is compared with the same masks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from brain_edge.errors import InputError
from brain_edge.evaluation.cohort import load_case
from brain_edge.evaluation.cohort.manifest import person_key
from brain_edge.evaluation.compare import compare_masks
from brain_edge.evaluation.evaluate import segment_case
from brain_edge.evaluation.evidence import AccuracyCase
from brain_edge.evaluation.lesions import lesion_recall
from brain_edge.image.volume import Mask
from brain_edge.machine.atomic import atomic_file
from brain_edge.spec import Task

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from brain_edge.engine.segmenter import Segmenter
    from brain_edge.evaluation.cohort import Case, Cohort
    from brain_edge.evaluation.evidence import ComparedLabel
    from brain_edge.image.geometry import Geometry
    from brain_edge.image.volume import LabelArray
    from brain_edge.spec import ModelSpec


LESION_TASKS: Final = frozenset({Task.LESION, Task.TUMOUR})
"""Tasks whose reference masks have connected components that a reader counts."""


def write_baseline(baseline: Segmenter, cases: Iterable[Case], folder: Path, unbound: tuple[int, ...] = ()) -> None:
    """Segment every case and keep the masks in `folder`; an existing whole mask is not made again.

    Args:
        baseline: package that candidates are compared with.
        cases: cases to judge.
        folder: folder for the masks of this baseline alone.
        unbound: labels that may be absent from all cases.

    Raises:
        InputError: another label is in no mask and no reference of these cases, so a budget would not bind it.
    """
    unseen = set(baseline.spec.label_names()) - set(unbound)
    for case in cases:
        study, reference = load_case(case)
        if not _is_kept(folder, case):
            _keep(segment_case(baseline, study).mask, folder, case)
        unseen.difference_update(np.unique(_kept_labels(folder, case)).tolist())
        if reference is not None:
            unseen.difference_update(np.unique(reference.labels).tolist())
    if unseen:
        raise InputError(_unseen_words(baseline.spec, min(unseen)))


def write_mask_of(segmenter: Segmenter, case: Case, folder: Path) -> None:
    """Segment one case and write its mask to the file of `write_baseline`; an existing mask is replaced."""
    _keep(segment_case(segmenter, load_case(case)[0]).mask, folder, case)


def measure(
    candidate: Segmenter, cases: Sequence[Case], folder: Path, subjects: Mapping[int, int]
) -> tuple[AccuracyCase, ...]:
    """Compare a package, in its deployed precision, with the baseline and the references.

    Args:
        candidate: package to judge.
        cases: cases to judge the package on.
        folder: folder with the masks that `write_baseline` wrote for these cases.
        subjects: case number -> number of the person.
    """
    labels = tuple(candidate.spec.label_names())
    records: list[AccuracyCase] = []
    for case in cases:
        study, reference = load_case(case)
        mask = segment_case(candidate, study).mask
        baseline = read_baseline(folder, case, mask.geometry)
        compared = compare_masks(baseline, mask, reference, labels)
        diagonal_mm = float(np.linalg.norm(mask.geometry.spacing_mm))
        found = [_record(case, label, subjects[case.number], diagonal_mm) for label in compared]
        if reference is not None and candidate.spec.task in LESION_TASKS:
            found = [_with_lesions(record, baseline, mask, reference) for record in found]
        records.extend(found)
    return tuple(records)


def read_baseline(folder: Path, case: Case, geometry: Geometry) -> Mask:
    """Read the mask of the baseline, on the grid of the case."""
    return Mask(_kept_labels(folder, case), geometry)


def subject_numbers(cohort: Cohort) -> dict[int, int]:
    """Case number -> number of the person, in the manifest's order; a package may state nothing else of a subject."""
    people = [person_key(case.entry.subject) for case in cohort.cases()]
    order = {person: number for number, person in enumerate(dict.fromkeys(people), start=1)}
    return {case.number: order[person] for case, person in zip(cohort.cases(), people, strict=True)}


def _keep(mask: Mask, folder: Path, case: Case) -> None:
    with atomic_file(_mask_file(folder, case)) as partial:
        np.savez_compressed(partial, labels=mask.labels)


def _kept_labels(folder: Path, case: Case) -> LabelArray:
    with _mask_file(folder, case).open("rb") as file, np.load(file, allow_pickle=False) as saved:
        labels: LabelArray = saved["labels"]
        return labels


def _is_kept(folder: Path, case: Case) -> bool:
    """Return True if the mask exists and can be read; a damaged mask is made again."""
    try:
        _kept_labels(folder, case)
    except Exception:  # noqa: BLE001 - numpy's parser of headers raises whatever it trips over
        return False
    return True


def _mask_file(folder: Path, case: Case) -> Path:
    return folder / f"baseline-{case.number}.npz"


def _record(case: Case, label: ComparedLabel, subject: int, diagonal_mm: float) -> AccuracyCase:
    return AccuracyCase(
        case=case.number,
        split=case.entry.split,
        subject=subject,
        voxel_diagonal_mm=diagonal_mm,
        **msgspec.structs.asdict(label),
    )


def _with_lesions(record: AccuracyCase, baseline: Mask, mask: Mask, reference: Mask) -> AccuracyCase:
    first, second = (
        lesion_recall(each.labels == record.label, reference.labels == record.label) for each in (baseline, mask)
    )
    return msgspec.structs.replace(
        record, lesions=first.lesions, found_baseline=first.found, found_candidate=second.found
    )


def _unseen_words(spec: ModelSpec, label: int) -> str:
    return (
        f"label {label} ({spec.label_names()[label]}) occurs in no reference and no mask of the baseline in the cases "
        "to be judged, so no budget would bind it; add a case that has the label"
    )
