"""A preparation as a user asks for it: inputs, an output folder, a package or an atlas."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING

from brain_edge.engine.prepares import require_preparation
from brain_edge.engine.segmenter import skull_stripper
from brain_edge.engine.stage_zero import find_stage_zero, open_stripper
from brain_edge.errors import UsageError
from brain_edge.jobs.case import assign_series
from brain_edge.jobs.outputs import require_apart
from brain_edge.jobs.preparing.batch import prepare_all
from brain_edge.jobs.preparing.cases import DESCRIPTION, find_cases, left_out
from brain_edge.jobs.preparing.description import describe, open_datasets
from brain_edge.jobs.preparing.names import Style
from brain_edge.jobs.preparing.one import PrepareOptions
from brain_edge.jobs.preparing.wanted import of_four, of_model
from brain_edge.machine.atomic import make_folder, require_no_file
from brain_edge.machine.cpu import default_threads
from brain_edge.machine.options import RuntimeOptions
from brain_edge.package import open_package
from brain_edge.package.digest import sha256_of
from brain_edge.preparation.preparer import Preparer, require_stripper

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from brain_edge.jobs.bids.dataset import RawDataset
    from brain_edge.jobs.case import NamedInput
    from brain_edge.jobs.preparing.cases import RawCase
    from brain_edge.jobs.preparing.one import PreparedCase
    from brain_edge.jobs.preparing.wanted import Wanted
    from brain_edge.package import ModelPackage


@dataclass(frozen=True, kw_only=True)
class PrepareRequest:
    """Request to prepare studies.

    Attributes:
        inputs: files, each with the name of its sequence or None, and folders.
        out: folder of the prepared studies.
        like: package whose preparation is done; None for that of the tumour challenges.
        style: style of the file names; None for the style that fits the input.
        keeps_skull: True to leave the skull; not with a package.
        runtime: threads, stage 0, atlas.
        options: options of each study.
        series: DICOM series, each its UID or contrast with the name of its sequence.
    """

    inputs: tuple[NamedInput, ...]
    out: Path
    like: Path | None = None
    style: Style | None = None
    keeps_skull: bool = False
    runtime: RuntimeOptions = RuntimeOptions()  # noqa: RUF009 - frozen
    options: PrepareOptions = PrepareOptions()  # noqa: RUF009 - frozen
    series: tuple[tuple[str | None, str], ...] = ()


@dataclass(frozen=True, eq=False)
class PreparePlan:
    """Plan of a request.

    Attributes:
        cases: studies to prepare.
        preparer: preparation that is ready to run.
        out: folder of the prepared studies.
        options: options of each study.
        left_out: images in the folders that belong to no study.
        datasets: BIDS datasets of which the results are derivatives.
    """

    cases: tuple[RawCase, ...]
    preparer: Preparer
    out: Path
    options: PrepareOptions
    left_out: tuple[Path, ...] = ()
    datasets: tuple[RawDataset, ...] = ()

    def run(self) -> Iterator[PreparedCase]:
        """Prepare each study and yield its result when it ends.

        Raises:
            BatchError: the disk is full.
            OutputError: the folder cannot be made.
            UsageError: the first study shows a skull, and no skull-stripper is named.
        """
        if self.preparer.stripper is None:
            require_stripper(self.preparer.preparation, (case.study for case in self.cases if case.error is None))
        make_folder(self.out)
        if self.datasets:  # first, so that a folder left by a killed run is known as ours
            describe(self.datasets, self.out)
        yield from prepare_all(self.cases, self.preparer, self.out, self.options)


def plan_preparation(request: PrepareRequest) -> PreparePlan:
    """Find the studies and open what their preparation takes; nothing is written.

    Raises:
        UsageError: the package has no preparation, an option has no effect, or the output lies among the inputs.
        InputError: an input holds no study, or the atlas is refused.
        PackageError: a package is damaged, or the stage 0 that it names is missing.
        MissingExtraError: the library of the registration, or of the pictures, is not installed.
    """
    from brain_edge.registration.library import import_simpleitk

    import_simpleitk()
    require_no_file(request.out)
    if request.options.picture:
        from brain_edge.jobs.pictures.sheet import require_matplotlib

        require_matplotlib()
    datasets = _datasets(request)
    like = None if request.like is None else open_package(request.like)
    wanted = _wanted(request, like)
    wanted = replace(wanted, series=assign_series(request.series, wanted))
    zero = _stage_zero(request, like)
    preparer = _preparer(request, wanted, like, zero)
    means = {
        **({"stage 0": zero.digest} if zero else {}),
        **({"atlas": sha256_of(request.runtime.atlas)} if request.runtime.atlas else {}),
    }
    cases = find_cases(request.inputs, wanted, request.style)
    _require_places(cases, request.out)
    options = PrepareOptions(request.options.overwrite, request.options.strict, request.options.picture, means)
    datasets = () if request.style is Style.BRATS else datasets
    return PreparePlan(cases, preparer, request.out, options, left_out(request.inputs, wanted), datasets)


def _datasets(request: PrepareRequest) -> tuple[RawDataset, ...]:
    """Open the BIDS datasets among the inputs, and refuse an output that lies among the files of an input.

    Raises:
        UsageError: the output would change an input; only `derivatives/NAME` of a dataset is taken.
        InputError: a dataset cannot be read.
    """
    folders = [path for name, path in request.inputs if name is None and (path / DESCRIPTION).is_file()]
    for _, path in request.inputs:
        if path not in folders:
            require_apart(request.out, path)
    return open_datasets(folders, request.out)


def _require_places(cases: Sequence[RawCase], out: Path) -> None:
    """Refuse folders of results that hold images, because the folder of a study is replaced as a whole.

    Raises:
        UsageError: a folder holds images of a study.
    """
    taken = {(out / case.names.folder).resolve(): case.names.case for case in cases}
    for path in chain.from_iterable(case.inputs.values() for case in cases):
        # an image may be a link into another folder
        places = (path.resolve(), path.parent.resolve(), *path.parent.resolve().parents)
        if folder := next((place for place in places if place in taken), None):
            raise UsageError(
                f"{folder}: the results of {taken[folder]} would replace the folder of its images; choose another "
                "output folder"
            )


def _wanted(request: PrepareRequest, like: ModelPackage | None) -> Wanted:
    if like is None:
        from brain_edge.preparation.transforms import atlas_of_file

        atlas = None if request.runtime.atlas is None else atlas_of_file(request.runtime.atlas)
        return of_four(atlas, keeps_skull=request.keeps_skull)
    if request.keeps_skull:
        raise UsageError("--keep-skull has no effect with --like, whose package says it; remove one of them")
    wanted = of_model(like.spec)
    if wanted is None:
        raise UsageError(
            f"--like {like.folder}: expected a package with a preparation, got {like.spec.name}, which takes images as "
            "they are; name another package, or --atlas FILE"
        )
    require_preparation(like.spec, request.runtime)
    return wanted


def _stage_zero(request: PrepareRequest, like: ModelPackage | None) -> ModelPackage | None:
    if like is not None:
        return find_stage_zero(like, request.runtime.stage_zero)
    if request.keeps_skull and request.runtime.stage_zero is not None:
        raise UsageError("--stage-zero has no effect with --keep-skull; remove one of them")
    return None if request.runtime.stage_zero is None else open_stripper(request.runtime.stage_zero)


def _preparer(
    request: PrepareRequest, wanted: Wanted, like: ModelPackage | None, zero: ModelPackage | None
) -> Preparer:
    runtime = request.runtime
    named = None if like is None else like.manifest.stage_zero
    return Preparer(
        wanted.preparation,
        wanted.contrasts,
        runtime.threads or default_threads(),
        stripper=None if zero is None else skull_stripper(zero, RuntimeOptions(threads=runtime.threads)),
        shown=named.sequence if named else None,
        atlas=runtime.atlas,
    )
