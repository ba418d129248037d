"""Refusal of a batch before its first study, where each study would fail for the same reason."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from brain_edge.jobs.case import Job, read_study
from brain_edge.machine.paths import in_store

if TYPE_CHECKING:
    from collections.abc import Iterable

    from brain_edge.jobs.batch import UnplannedCase
    from brain_edge.machine.options import RuntimeOptions
    from brain_edge.package import ModelPackage


def require_stage_zero(package: ModelPackage, cases: Iterable[Job | UnplannedCase], options: RuntimeOptions) -> None:
    """Refuse a batch without a skull-stripper if its first study shows a skull that the preparation removes.

    A batch of prepared studies needs none. Studies in an object store are not read for this.

    Raises:
        UsageError: no skull-stripper is named.
        MissingExtraError: the library of the registration is not installed.
    """
    spec, named = package.spec, options.stage_zero or package.manifest.stage_zero
    if named or options.as_they_are or not spec.preparation:
        return
    from brain_edge.preparation.preparer import require_stripper

    jobs = (each for each in cases if isinstance(each, Job) and not any(map(in_store, each.inputs.values())))
    require_stripper(spec.preparation, (partial(read_study, job.inputs, spec, job.series) for job in jobs))
