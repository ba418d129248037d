"""Find and check the cases that the user named, before any case runs."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from brain_edge.errors import BrainEdgeError, InputError, UsageError
from brain_edge.io.inputs import InputKind, folders_in, image_name, images_in, input_kind, require_one_kind
from brain_edge.io.nifti import SUFFIXES
from brain_edge.jobs.batch.case_list import listed_cases
from brain_edge.jobs.batch.grouping import ImageGroup, group
from brain_edge.jobs.case import Job, assign_inputs, assign_series
from brain_edge.jobs.outputs import MASK_SUFFIXES, is_same_file
from brain_edge.machine.atomic import make_folder
from brain_edge.machine.paths import folded, in_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from brain_edge.image.contrast import Contrast
    from brain_edge.jobs.batch.options import Batch
    from brain_edge.jobs.case import NamedInput
    from brain_edge.jobs.layout import Layout
    from brain_edge.jobs.outputs import Outputs
    from brain_edge.spec import ModelSpec


@dataclass(frozen=True)
class UnplannedCase:
    """Case that cannot run because of the names of its images; it counts as failed and does not stop the others.

    Attributes:
        case: name of the case.
        inputs: files that were found, per sequence.
        error: reason.
    """

    case: str
    inputs: Mapping[str, Path] = field(default_factory=dict)
    error: BrainEdgeError = field(default_factory=BrainEdgeError)


def names_folder(output: Path) -> bool:
    """Return True if an output names the folder of a batch: an existing folder, or a name without a suffix."""
    if output.name.lower().endswith(MASK_SUFFIXES):
        return False
    return output.is_dir() or not output.suffix


def plan_single(
    given: Sequence[NamedInput],
    spec: ModelSpec,
    outputs: Outputs,
    series: Sequence[tuple[str | None, str]] = (),
) -> Job:
    """Plan the only case of a run whose mask is a file.

    Args:
        given: files of the case (one or more), or a DICOM folder.
        spec: specification of the model.
        outputs: files to write.
        series: chosen DICOM series, each with the name of its sequence or None.

    Raises:
        UsageError: a folder of images, one with both images and DICOM, several images for one sequence, or see
            `assign_inputs`, `assign_series`.
        InputError: a folder without images, or see `assign_inputs`.
    """
    dicom = bool(series or outputs.dicom())
    given = _of_one_study(given, spec, dicom=dicom)
    folder = next((path for _, path in given if input_kind(path, dicom=dicom) is InputKind.FOLDER), None)
    if folder is not None:
        require_one_kind(folder)
        _cases_in(folder, spec.contrasts)
        raise UsageError(f"{folder} is a folder of images, and {outputs.mask} is one file; name a folder for the masks")
    if len(spec.inputs) == 1 < len(given):
        raise UsageError(f"{len(given)} images, but {outputs.mask} is one file; name a folder for the masks")
    return Job(assign_inputs(given, spec), outputs, assign_series(series, spec))


def _of_one_study(given: Sequence[NamedInput], spec: ModelSpec, *, dicom: bool) -> Sequence[NamedInput]:
    """Return the sequences of a study that is given as one folder; other inputs stay as they are."""
    if len(spec.inputs) == 1 or len(given) != 1 or given[0][0] is not None:
        return given
    ((_, place),) = given
    if input_kind(place, dicom=dicom) is InputKind.DICOM:
        return [(name, place) for name in spec.contrasts]
    groups = _groups_in(place, spec.contrasts) if place.is_dir() else []
    return [*groups[0].inputs().items()] if len(groups) == 1 else given


def plan_batch(
    given: Sequence[NamedInput] | Path,
    spec: ModelSpec,
    folders: Outputs,
    batch: Batch,
    series: Sequence[tuple[str | None, str]] = (),
) -> tuple[Job | UnplannedCase, ...]:
    """Plan the cases of a batch in the order of the inputs; cases of a folder are sorted by name.

    A list of cases gives only the cases of the shard of the batch; images and folders give the cases of all shards.

    For a model of one sequence, each file is a case, and so is each image of a folder. For a model of several
    sequences, the named files (`T1=... T2=...`) are one case; a folder and its subfolders are searched as described in
    `brain_edge.jobs.batch.grouping`.

    Args:
        given: files and folders, or the file that lists the cases (`brain_edge.jobs.batch.case_list`).
        spec: specification of the model.
        folders: output folders: `mask` for `NAME_mask.nii.gz` of the case NAME, the others for `NAME_brain.nii.gz`,
            `NAME_probabilities.nii.gz`, `NAME_report.png` and `NAME_picture.png`.
        batch: options of the batch, with the layout below the output folders.
        series: empty, because a DICOM series can be chosen for a single case only.

    Raises:
        UsageError: an input is DICOM, an output is not a folder, or an output would lie among the images.
        InputError: a folder without images, or a fault of the list.
        MissingExtraError: pictures need matplotlib, which is not installed.
    """
    _require_folders(folders, series)
    if isinstance(given, Path):
        found = [_listed(case, files) for case, files in listed_cases(given, spec, batch.shard)]
    else:
        found = _found_cases(given, spec, folders)
    return tuple(_with_outputs(case, folders, batch.layout) for case in found)


def prepare_batch(
    given: Sequence[NamedInput] | Path,
    spec: ModelSpec,
    folders: Outputs,
    batch: Batch,
    series: Sequence[tuple[str | None, str]] = (),
    *,
    page: bool = False,
) -> tuple[Job | UnplannedCase, ...]:
    """Plan a batch as `plan_batch` does, and make its folders; a page has its pictures beside the masks by default."""
    if page and folders.picture is None:
        folders = replace(folders, picture=folders.mask)
    cases = plan_batch(given, spec, folders, batch, series)
    for path in folders.paths():
        if not in_store(path):
            make_folder(path, parents=False)
    return cases


def _require_folders(folders: Outputs, series: Sequence[tuple[str | None, str]]) -> None:
    if series or folders.seg is not None:
        raise UsageError(
            f"{folders.mask} is a folder, and a batch neither reads nor writes DICOM; remove the options for DICOM"
        )
    if folders.picture is not None or folders.report is not None:
        from brain_edge.jobs.pictures.sheet import require_matplotlib

        require_matplotlib()
    for path in folders.paths():
        if not (path.is_dir() or names_folder(path)) or path.is_file():
            raise UsageError(
                f"{path}: expected a folder for the results of a batch; name a folder, or for a single mask a file "
                f"that ends in {' or '.join(SUFFIXES)}"
            )


def _found_cases(given: Sequence[NamedInput], spec: ModelSpec, folders: Outputs) -> list[ImageGroup | UnplannedCase]:
    """Return the cases of files and folders."""
    _require_no_dicom(given, folders)
    folders_given = [path for _, path in given if input_kind(path) is InputKind.FOLDER]
    for folder, path in product(folders_given, folders.paths()):
        if is_same_file(path, folder) or folder.resolve() in path.resolve().parents:
            raise UsageError(
                f"{path}: results would lie among the images of {folder}, and the next run would read them as "
                "images; choose another output folder"
            )
    found = [case for folder in folders_given for case in _cases_in(folder, spec.contrasts)]
    files = [(name, path) for name, path in given if path not in folders_given]
    return [*_named_cases(files, spec), *found]


def _listed(case: str, files: dict[str, Path] | InputError) -> ImageGroup | UnplannedCase:
    if isinstance(files, InputError):
        return UnplannedCase(case, {}, files)
    return ImageGroup(case, {name: [path] for name, path in files.items()})


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
    """Return the cases of a folder.

    Raises:
        InputError: the folder has no case.
        UsageError: several sequences, and images both in the folder and below it.
    """
    if len(contrasts) == 1:
        (name,) = contrasts
        return [ImageGroup(image_name(path), {name: [path]}) for path in images_in(folder)]
    groups = _groups_in(folder, contrasts)
    if not groups:
        raise InputError(
            f"{folder}: expected images whose names end in {', '.join(f'_{name}' for name in contrasts)}, "
            "in it or in one folder per case, found none; rename the images"
        )
    return groups


def _groups_in(folder: Path, contrasts: Mapping[str, tuple[Contrast, ...]]) -> list[ImageGroup]:
    own = [found for found in (group(_images(folder), contrasts),) if found]
    below = [(path, group(_images(path), contrasts, path.name)) for path in folders_in(folder)]
    filled = [(path, found) for path, found in below if found]
    if own and filled:
        raise UsageError(
            f"{folder}: both this folder and {filled[0][0]} hold images; use one folder for all cases, or one per case"
        )
    return [case for found in (*own, *(found for _, found in filled)) for case in found]


def _images(folder: Path) -> tuple[Path, ...]:
    try:
        return images_in(folder)
    except InputError:
        return ()


def _with_outputs(found: ImageGroup | UnplannedCase, folders: Outputs, layout: Layout) -> Job | UnplannedCase:
    if isinstance(found, UnplannedCase):
        return found
    # bytes that are not text, as 0xF6 of `k\xf6pf`, are spelt out: the record of the case needs a name
    case = re.sub("[\udc80-\udcff]", lambda byte: f"%{ord(byte[0]) - 0xDC00:02X}", found.case)
    try:
        inputs = found.inputs()
    except InputError as error:  # the file names do not tell which images belong to the case
        return UnplannedCase(case, {}, error)

    def named(folder: Path, end: str) -> Path:
        return layout.place(folder, case) / f"{case}_{end}"

    outputs = replace(
        folders,
        mask=named(folders.mask, "mask.nii.gz"),
        brain=folders.brain and named(folders.brain, "brain.nii.gz"),
        probabilities=folders.probabilities and named(folders.probabilities, "probabilities.nii.gz"),
        report=folders.report and named(folders.report, "report.png"),
        picture=folders.picture and named(folders.picture, "picture.png"),
        also=tuple((name, named(folder, f"{name}_mask.nii.gz")) for name, folder in folders.also),
    )
    return Job(inputs, outputs, case=case)


def _require_no_dicom(given: Iterable[NamedInput], folders: Outputs) -> None:
    dicom = next((path for _, path in given if input_kind(path) is InputKind.DICOM), None)
    if dicom is not None:
        raise UsageError(
            f"{dicom}: expected one DICOM examination with a file as its mask, got the folder {folders.mask}; name a "
            f"file ({', '.join(MASK_SUFFIXES)})"
        )


def require_distinct(cases: Sequence[Job | UnplannedCase], batch: Batch) -> None:
    """Refuse an output that is also an output of another case, or an input; names are compared as on Windows and macOS.

    Raises:
        UsageError: there is such an output.
    """
    makers: dict[str, int] = {}
    key_of = _keys()
    images = {key_of(path) for case in cases for path in case.inputs.values()}
    for number, case in enumerate(cases):
        outputs = case.outputs.paths() if isinstance(case, Job) else ()
        for output in (*outputs, batch.record(case.case)):
            key = key_of(output)
            other = makers.setdefault(key, number)
            if other != number:
                raise UsageError(
                    f"{_source(cases[other])} and {_source(case)} would both write {output}; use two output folders"
                )
            if key in images:
                raise UsageError(
                    f"{output}: this output of {_source(case)} would overwrite an input; choose another folder"
                )


def _source(case: Job | UnplannedCase) -> str:
    return str(next(iter(case.inputs.values()), case.case))


def _keys() -> Callable[[Path], str]:
    """Return the function that names the file of a path, whatever links lead to it; each folder is resolved once."""
    folders: dict[str, str] = {}

    def key_of(path: Path) -> str:
        folder, name = os.path.split(path)
        if folder not in folders:
            folders[folder] = os.path.realpath(folder)
        return folded(os.path.realpath(path) if path.is_symlink() else f"{folders[folder]}{os.sep}{name}")

    return key_of
