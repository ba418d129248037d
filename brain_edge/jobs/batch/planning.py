"""Which cases there are: what the user named, found and checked before anything runs."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field, replace
from itertools import product
from typing import TYPE_CHECKING

from brain_edge.errors import BrainEdgeError, InputError, UsageError
from brain_edge.io.inputs import InputKind, folders_in, image_name, images_in, input_kind
from brain_edge.io.nifti import SUFFIXES
from brain_edge.jobs.batch.grouping import ImageGroup, group
from brain_edge.jobs.case import Job, assign_inputs, assign_series
from brain_edge.jobs.outputs import MASK_SUFFIXES, is_same_file
from brain_edge.jobs.record import record_path
from brain_edge.machine.atomic import make_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from brain_edge.image.contrast import Contrast
    from brain_edge.jobs.case import NamedInput
    from brain_edge.jobs.outputs import Outputs
    from brain_edge.spec import ModelSpec


@dataclass(frozen=True)
class UnplannedCase:
    """A case that cannot be run, as its images are named: it is a failed one, and does not stop the others.

    Attributes:
        case: its name.
        inputs: what there is of it, per sequence.
        error: why.
    """

    case: str
    inputs: Mapping[str, Path] = field(default_factory=dict)
    error: BrainEdgeError = field(default_factory=BrainEdgeError)


def names_folder(output: Path) -> bool:
    """Whether an output is meant as the folder of a batch: it is one, or it has no suffix at all."""
    if output.name.lower().endswith(MASK_SUFFIXES):
        return False
    return output.is_dir() or not output.suffix


def plan_single(
    given: Sequence[NamedInput],
    spec: ModelSpec,
    outputs: Outputs,
    series: Sequence[tuple[str | None, str]] = (),
) -> Job:
    """The only case, where the mask names a file.

    Args:
        given: at least one file, or a DICOM folder.
        spec: of the model.
        outputs: files.
        series: which DICOM series are meant, each with the name of a sequence where the user gives one.

    Raises:
        UsageError: a folder of images, several images for one sequence, or see `assign_inputs`, `assign_series`.
        InputError: a folder without images, or see `assign_inputs`.
    """
    folder = next((path for _, path in given if input_kind(path) is InputKind.FOLDER), None)
    if folder is not None:
        _cases_in(folder, spec.contrasts)
        raise UsageError(
            f"{folder} is a folder of images; name a folder for their masks, too, instead of {outputs.mask}"
        )
    if len(spec.inputs) == 1 < len(given):
        raise UsageError(f"{len(given)} images, but {outputs.mask} is one file; name a folder for the masks")
    return Job(assign_inputs(given, spec), outputs, assign_series(series, spec))


def plan_batch(
    given: Sequence[NamedInput],
    spec: ModelSpec,
    folders: Outputs,
    series: Sequence[tuple[str | None, str]] = (),
) -> tuple[Job | UnplannedCase, ...]:
    """The cases among what was named, in the order in which they were named, those of a folder by their names.

    A model of one sequence: each file is a case, and each image of a folder. One of several sequences: the files by
    name (`T1=... T2=...`) are one case, and a folder, or the folders in it, are searched as
    `brain_edge.jobs.batch.grouping` says.

    Args:
        given: files and folders.
        spec: of the model.
        folders: the mask of the case NAME becomes `NAME_mask.nii.gz` in `folders.mask`; the others are folders
            too, for `NAME_brain.nii.gz`, `NAME_probabilities.nii.gz`, `NAME_report.png` and `NAME_picture.png`.
        series: must be empty; a choice of DICOM series is for a single case.

    Raises:
        UsageError: DICOM, an output that is no folder, or outputs that would meet each other or an input, or would lie
            among the images.
        InputError: a folder without images.
        MissingExtraError: pictures were asked for, and matplotlib is not installed.
    """
    _require_no_dicom(given, folders, series)
    if folders.picture is not None or folders.report is not None:
        from brain_edge.jobs.pictures.sheet import require_matplotlib

        require_matplotlib()
    for path in folders.paths():
        if not (path.is_dir() or names_folder(path)) or path.is_file():
            raise UsageError(
                f"{path}: expected a folder for the results of several images, and there is none of that name "
                f"(for a single mask, name a file that ends in {' or '.join(SUFFIXES)})"
            )
    folders_given = [path for _, path in given if input_kind(path) is InputKind.FOLDER]
    for folder, path in product(folders_given, folders.paths()):
        if is_same_file(path, folder) or folder.resolve() in path.resolve().parents:
            raise UsageError(
                f"{path}: results would lie among the images of {folder}, and the next run would take them for "
                "images; choose another folder for them"
            )
    found = [case for folder in folders_given for case in _cases_in(folder, spec.contrasts)]
    files = [(name, path) for name, path in given if path not in folders_given]
    cases = tuple(_with_outputs(case, folders) for case in (*_named_cases(files, spec), *found))
    require_distinct(cases, folders.mask)
    return cases


def prepare_batch(
    given: Sequence[NamedInput],
    spec: ModelSpec,
    folders: Outputs,
    series: Sequence[tuple[str | None, str]] = (),
    *,
    page: bool = False,
) -> tuple[Job | UnplannedCase, ...]:
    """Plan a batch as `plan_batch` does, and make its folders; a page has its pictures beside the masks by default."""
    if page and folders.picture is None:
        folders = replace(folders, picture=folders.mask)
    cases = plan_batch(given, spec, folders, series)
    for path in folders.paths():
        make_folder(path, parents=False)
    return cases


def _named_cases(files: Sequence[NamedInput], spec: ModelSpec) -> Iterator[ImageGroup]:
    if not files:
        return
    if len(spec.inputs) > 1:
        inputs = assign_inputs(files, spec)
        name, path = next(iter(inputs.items()))
        case = next(
            (found.case for found in group([path], {name: spec.contrasts[name]}, path.parent.name)), image_name(path)
        )
        yield ImageGroup(case, {name: [path] for name, path in inputs.items()})
        return
    for pair in files:
        ((name, path),) = assign_inputs([pair], spec).items()
        yield ImageGroup(image_name(path), {name: [path]})


def _cases_in(folder: Path, contrasts: Mapping[str, tuple[Contrast, ...]]) -> list[ImageGroup]:
    """The cases of a folder.

    Raises:
        InputError: there is none.
        UsageError: several sequences, and images both in the folder and below it.
    """
    if len(contrasts) == 1:
        (name,) = contrasts
        return [ImageGroup(image_name(path), {name: [path]}) for path in images_in(folder)]
    groups = _groups_in(folder, contrasts)
    if not groups:
        raise InputError(
            f"{folder}: expected images whose names end in {', '.join(f'_{name}' for name in contrasts)}, "
            "in it or in one folder per case, found none; rename them, or name the images of one case"
        )
    return groups


def _groups_in(folder: Path, contrasts: Mapping[str, tuple[Contrast, ...]]) -> list[ImageGroup]:
    own = [found for found in (group(_images(folder), contrasts),) if found]
    below = [(path, group(_images(path), contrasts, path.name)) for path in folders_in(folder)]
    filled = [(path, found) for path, found in below if found]
    if own and filled:
        raise UsageError(
            f"{folder}: there are images in it and in {filled[0][0]}; keep all cases in one folder, or each in its own"
        )
    return [case for found in (*own, *(found for _, found in filled)) for case in found]


def _images(folder: Path) -> tuple[Path, ...]:
    try:
        return images_in(folder)
    except InputError:
        return ()


def _with_outputs(found: ImageGroup, folders: Outputs) -> Job | UnplannedCase:
    # bytes that are no text, as 0xF6 of `k\xf6pf`, are spelt: the record of the case needs a name
    case = re.sub("[\udc80-\udcff]", lambda byte: f"%{ord(byte[0]) - 0xDC00:02X}", found.case)
    try:
        inputs = found.inputs()
    except InputError as error:  # the names of its images do not say which ones
        return UnplannedCase(case, {}, error)
    outputs = replace(
        folders,
        mask=folders.mask / f"{case}_mask.nii.gz",
        brain=folders.brain and folders.brain / f"{case}_brain.nii.gz",
        probabilities=folders.probabilities and folders.probabilities / f"{case}_probabilities.nii.gz",
        report=folders.report and folders.report / f"{case}_report.png",
        picture=folders.picture and folders.picture / f"{case}_picture.png",
    )
    return Job(inputs, outputs, case=case)


def _require_no_dicom(given: Iterable[NamedInput], folders: Outputs, series: Sequence[tuple[str | None, str]]) -> None:
    dicom = next((path for _, path in given if input_kind(path) is InputKind.DICOM), None)
    if dicom is not None:
        raise UsageError(
            f"{dicom}: DICOM is segmented one examination at a time; name a file ({', '.join(MASK_SUFFIXES)}) "
            f"instead of the folder {folders.mask}"
        )
    if series or folders.seg is not None:
        raise UsageError(
            f"{folders.mask} is a folder, and masks in it are NIfTI of images; leave out what is for DICOM"
        )


def require_distinct(cases: Sequence[Job | UnplannedCase], records: Path) -> None:
    """Let no output be that of another case or any case's input; names are compared as Windows and macOS do.

    Raises:
        UsageError: one is.
    """
    makers: dict[str, int] = {}
    images = {_key(path) for case in cases for path in case.inputs.values()}
    for number, case in enumerate(cases):
        outputs = case.outputs.paths() if isinstance(case, Job) else ()
        for output in (*outputs, record_path(records, case.case)):
            other = makers.setdefault(_key(output), number)
            if other != number:
                raise UsageError(
                    f"{_source(cases[other])} and {_source(case)} would both give {output}; run them into two folders"
                )
            if _key(output) in images:
                raise UsageError(
                    f"{output}: this output of {_source(case)} would overwrite an input; choose another folder"
                )


def _source(case: Job | UnplannedCase) -> str:
    return str(next(iter(case.inputs.values()), case.case))


def _key(path: Path) -> str:
    return unicodedata.normalize("NFC", str(path.resolve())).casefold()
