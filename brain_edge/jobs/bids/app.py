"""Plan the jobs of a batch from a raw dataset, and write the files that explain the masks from the records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from brain_edge.errors import UsageError
from brain_edge.jobs.batch import CaseOutcome
from brain_edge.jobs.bids.choose import choose, contrasts_of, visit_of
from brain_edge.jobs.bids.dataset import find_images, listed
from brain_edge.jobs.bids.derivative import (
    EXTENSION,
    brain_name,
    brain_sidecar,
    case_folder,
    derivative_name,
    lookup_table,
    sidecar,
)
from brain_edge.jobs.bids.description import as_json, write_if_changed
from brain_edge.jobs.bids.name import BidsName
from brain_edge.jobs.case import Job
from brain_edge.jobs.layout import Layout
from brain_edge.jobs.outputs import Outputs
from brain_edge.spec import Task

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from brain_edge.jobs.batch import CaseResult, UnplannedCase
    from brain_edge.jobs.bids.choose import BidsCase, Choice
    from brain_edge.jobs.bids.dataset import BidsImage, RawDataset
    from brain_edge.package import ModelPackage
    from brain_edge.spec import ModelSpec

LOGS: Final = "logs"
"""Folder of the records, summary, page and pictures of a batch; BIDS ignores this folder of a dataset."""


@dataclass(frozen=True, kw_only=True)
class BidsRequest:
    """Request to segment a dataset.

    Attributes:
        subjects, sessions: labels with or without `sub-`, `ses-`; empty means all.
        contrasts: pairs of a sequence (None for the only sequence) and the contrast of its images, from the user.
        brain: also write the image with 0 outside the mask.
        pictures: also make a mosaic of each case.
        layout: layout of the pictures and records below `LOGS`.
        border_mm, strict: see `brain_edge.jobs.outputs.Outputs`.
    """

    subjects: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    contrasts: tuple[tuple[str | None, str], ...] = ()
    brain: bool = False
    pictures: bool = False
    layout: Layout = Layout.FLAT
    border_mm: float = 0.0
    strict: bool = False


@dataclass(frozen=True)
class BidsPlan:
    """Plan of a dataset.

    Attributes:
        out: root of the derivatives.
        jobs: cases of the batch, including visits that cannot be a case.
        cases: cases by the name of their job.
        notes: sentences about images and visits that are left out.
    """

    out: Path
    jobs: tuple[Job | UnplannedCase, ...]
    cases: Mapping[str, BidsCase]
    notes: tuple[str, ...]


def plan_dataset(dataset: RawDataset, out: Path, spec: ModelSpec, request: BidsRequest) -> BidsPlan:
    """Find the images that a model takes, and plan their outputs.

    Raises:
        UsageError, InputError: see `find_images`, `contrasts_of` and `choose`.
    """
    contrasts = contrasts_of(spec, request.contrasts)
    if request.brain and spec.task is not Task.SKULL_STRIPPING:
        raise UsageError(f"--brain needs a brain mask, and {spec.name} makes labels ({spec.task}); remove --brain")
    images = find_images(dataset, request.subjects, request.sessions)
    choice = choose(contrasts, images, dataset.folder)
    cases = {_case_name(case): case for case in choice.cases}
    jobs = [Job(case.inputs(), _outputs(case, out, spec, request), case=name) for name, case in cases.items()]
    return BidsPlan(out, (*jobs, *choice.unfit), cases, tuple(_notes(images, choice)))


def explained(plan: BidsPlan, package: ModelPackage, result: CaseResult) -> CaseResult:
    """Write the `.json` and `.tsv` beside the outputs of a result, and return the result; correct files stay.

    The files are made from the record of the case. If a run is killed before they are written, the next run makes them
    without the network.

    Raises:
        OutputError: a file cannot be written.
    """
    record = result.record.run
    if result.outcome is CaseOutcome.FAILED or record is None:
        return result
    case = plan.cases[result.case]
    base, name = plan.out / case_folder(case), derivative_name(case, package.spec)
    write_if_changed(base / f"{name}.json", as_json(sidecar(case, package, record)))
    if package.spec.task is not Task.SKULL_STRIPPING:
        write_if_changed(base / f"{name}.tsv", lookup_table(package.spec))
    if record.brain is not None:
        write_if_changed(base / f"{brain_name(case)}.json", as_json(brain_sidecar(case, package, record)))
    return result


def _case_name(case: BidsCase) -> str:
    """Return the name of a case in records and messages: its image, or its visit for several images."""
    name = case.reference.name
    if len(case.images) > 1:
        return visit_of(case.reference).replace("/", "_")
    return str(BidsName(name.entities, name.suffix))


def _outputs(case: BidsCase, out: Path, spec: ModelSpec, request: BidsRequest) -> Outputs:
    base, name = out / case_folder(case), _case_name(case)
    return Outputs(
        mask=base / f"{derivative_name(case, spec)}{EXTENSION}",
        brain=base / f"{brain_name(case)}{EXTENSION}" if request.brain else None,
        picture=request.layout.place(out / LOGS, name) / f"{name}_picture.png" if request.pictures else None,
        border_mm=request.border_mm,
        strict=request.strict,
        on=next(iter(case.images)) if spec.preparation else None,
    )


def _notes(images: Sequence[BidsImage], choice: Choice) -> Iterator[str]:
    """Yield notes about images and visits that the user may expect to be segmented, but that are left out."""
    if choice.left_out:
        names = [image.path.name for image in choice.left_out]
        yield f"images left out, because the model does not take their contrast: {listed(names)}"
    done = {visit_of(case.reference).replace("/", "_") for case in choice.cases} | {each.case for each in choice.unfit}
    without = [visit for visit in dict.fromkeys(map(visit_of, images)) if visit.replace("/", "_") not in done]
    if without:
        yield f"visits left out, because they have no image that the model takes: {listed(without)}"
