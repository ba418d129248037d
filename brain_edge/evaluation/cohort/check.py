"""Is every case of a cohort there, unchanged and readable? Asked before hours are spent on the first ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from brain_edge.engine.assembly import assemble
from brain_edge.errors import InputError
from brain_edge.evaluation.cohort.cases import load_case, study_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from brain_edge.deploy.fetch import Report
    from brain_edge.evaluation.cohort.cases import Case, Cohort
    from brain_edge.image.geometry import Shape, Vector
    from brain_edge.spec import ModelSpec


@dataclass(frozen=True)
class CheckedCase:
    """What was found when a case was read as a whole.

    Attributes:
        case: which one.
        shape, spacing_mm: of the grid.
        labels: values of the reference mask after relabelling, without background; None without a mask.
    """

    case: Case
    shape: Shape
    spacing_mm: Vector
    labels: tuple[int, ...] | None


@dataclass(frozen=True)
class RefusedCase:
    """A case that cannot be used, and why, in one sentence."""

    case: Case
    problem: str


def check_case(case: Case, spec: ModelSpec | None = None) -> CheckedCase:
    """Read one case as it will be used, and let go of it.

    Args:
        case: files, hashes, image contents and the grid of the mask are checked.
        spec: the model that will run; its sequences, their overlap and its labels are checked too.

    Raises:
        InputError: the case cannot be used.
    """
    study, mask = load_case(case)
    labels = None if mask is None else tuple(int(value) for value in np.unique(mask.labels) if value)
    if spec is not None:
        grid = assemble(study_for(study, spec), spec).geometry
        if mask is not None and not mask.geometry.same_grid(grid):
            raise InputError(
                f"{case.title}: the reference mask lies on the grid of {study.reference}, an image that "
                f"{spec.name} does not take, and {spec.name} answers on another grid; list "
                f"{spec.inputs[0].name} first in the cohort's `sequences`, with masks on its grid"
            )
        _require_declared(case, labels or (), spec)
        if labels == () and not spec.may_be_empty:
            raise InputError(
                f"{case.title}: the reference mask is empty, which that of {spec.name} never is; correct it, or leave "
                "it out of the cohort"
            )
    return CheckedCase(case, study.geometry.shape, study.geometry.spacing_mm, labels)


def check_cohort(cohort: Cohort, report: Report | None = None) -> tuple[CheckedCase | RefusedCase, ...]:
    """Check every case of a cohort; a problem of one case does not hide those of the others."""
    return tuple(_checked(case) for case in _told(cohort.cases(), report))


def require_cases(cases: Sequence[Case], spec: ModelSpec, report: Report | None = None) -> tuple[CheckedCase, ...]:
    """Check that a model can run on all of these cases, before it runs on the first one.

    Raises:
        InputError: the first case that cannot be used with this model.
    """
    return tuple(check_case(case, spec) for case in _told(cases, report))


def _told(cases: Sequence[Case], report: Report | None) -> Iterator[Case]:
    for position, case in enumerate(cases, start=1):
        if report is not None:
            report(f"checking case {position} of {len(cases)}: {case.title}")
        yield case


def _checked(case: Case) -> CheckedCase | RefusedCase:
    try:
        return check_case(case)
    except InputError as error:
        return RefusedCase(case, str(error))


def _require_declared(case: Case, labels: tuple[int, ...], spec: ModelSpec) -> None:
    undeclared = sorted(set(labels) - set(spec.label_names()))
    if undeclared:
        names = ", ".join(f"{value} {name}" for value, name in spec.label_names().items())
        raise InputError(
            f"{case.title}: the reference mask holds the label {undeclared[0]}, but {spec.name} has {names}; "
            "say in the cohort's `labels` what the values of its masks mean"
        )
