"""Many heads, one after the other: a failing one is told and does not stop the others."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from brain_edge.errors import OutputError, UsageError
from brain_edge.inputs import InputKind, image_name, images_in, input_kind
from brain_edge.io.atomic import require_writable_folder
from brain_edge.io.nifti import SUFFIXES
from brain_edge.outputs import MASK_SUFFIXES, is_same_file
from brain_edge.run import Job, assign_inputs, assign_series, run_case

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from brain_edge.outputs import Outputs
    from brain_edge.record import RunRecord
    from brain_edge.run import LoadedModel, NamedInput
    from brain_edge.spec import ModelSpec


@dataclass(frozen=True)
class FailedCase:
    """A case of a batch that has no mask, and why."""

    inputs: Mapping[str, Path]
    error: Exception


def names_folder(output: Path) -> bool:
    """Whether an output is meant as the folder of a batch: it is one, or it has no suffix at all."""
    if output.name.lower().endswith(MASK_SUFFIXES):
        return False
    return output.is_dir() or not output.suffix


def plan(
    given: Sequence[NamedInput],
    spec: ModelSpec,
    outputs: Outputs,
    series: Sequence[tuple[str | None, str]] = (),
) -> tuple[Job, ...]:
    """What is to be run: a batch where the mask names a folder, a single case where it names a file.

    Args:
        given: at least one file or folder.
        spec: of the model.
        outputs: where results go.
        series: which DICOM series are meant, each with the name of a sequence where the user gives one.

    Raises:
        UsageError: several images for one file, DICOM for a folder, or see `plan_batch`.
        InputError, OutputError: see `plan_batch`.
    """
    if names_folder(outputs.mask):
        _require_no_dicom(given, outputs, series)
        return plan_batch(given, spec, outputs)
    folder = next((path for _, path in given if input_kind(path) is InputKind.FOLDER), None)
    if folder is not None:
        images_in(folder)
        raise UsageError(
            f"{folder} is a folder of images; name a folder for their masks, too, instead of {outputs.mask}"
        )
    if len(spec.inputs) == 1 < len(given):
        raise UsageError(f"{len(given)} images, but {outputs.mask} is one file; name a folder for the masks")
    return (Job(assign_inputs(given, spec), outputs, assign_series(series, spec)),)


def plan_batch(given: Iterable[NamedInput], spec: ModelSpec, folders: Outputs) -> tuple[Job, ...]:
    """One job for each image that was named, and for each image in a folder that was named.

    Args:
        given: files and folders; a name must be that of the only sequence.
        spec: of the model, which takes one sequence.
        folders: the mask of `NAME.nii.gz` becomes `NAME_mask.nii.gz` in `folders.mask`; the others are folders
            too, for `NAME_brain.nii.gz`, `NAME_probabilities.nii.gz`, `NAME_report.png` and `NAME_picture.png`.

    Raises:
        UsageError: the model takes several sequences, or outputs would meet each other or an input.
        InputError: a folder without images.
        OutputError: a folder of the outputs is missing or cannot be written to.
    """
    names = [sequence.name for sequence in spec.inputs]
    if len(names) > 1:
        raise UsageError(
            f"{spec.name} takes {', '.join(names)}, and a batch needs a model of one sequence; "
            "run it case by case, with a file as output"
        )
    _require_folders(folders)
    named = [assign_inputs([pair], spec)[names[0]] for pair in given]
    images = [image for path in named for image in _images(path, folders)]
    jobs = tuple(Job({names[0]: image}, _outputs_for(image, folders)) for image in images)
    _require_apart(jobs)
    return jobs


def run_batch(model: LoadedModel, jobs: Iterable[Job]) -> Iterator[RunRecord | FailedCase]:
    """Run each job, and yield what became of it."""
    for job in jobs:
        yield _attempt(model, job)


def _attempt(model: LoadedModel, job: Job) -> RunRecord | FailedCase:
    try:
        return run_case(model, job)
    except Exception as error:  # noqa: BLE001 - a bug that one case meets must not cost a night of others; it is told
        return FailedCase(job.inputs, error)


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


def _require_folders(folders: Outputs) -> None:
    for path in folders.paths():
        if not path.is_dir():
            raise OutputError(
                f"{path}: expected a folder for the results of several images, and there is none of that name: "
                f"create it first (for a single mask, name a file that ends in {' or '.join(SUFFIXES)})"
            )
        require_writable_folder(path)


def _images(path: Path, folders: Outputs) -> tuple[Path, ...]:
    if input_kind(path) is not InputKind.FOLDER:
        return (path,)
    if any(is_same_file(path, folder) for folder in folders.paths()):
        raise UsageError(
            f"{path}: results would lie among the images, and the next run would take them for images; "
            "choose another folder for them"
        )
    return images_in(path)


def _outputs_for(image: Path, folders: Outputs) -> Outputs:
    name = image_name(image)
    return replace(
        folders,
        mask=folders.mask / f"{name}_mask.nii.gz",
        brain=folders.brain and folders.brain / f"{name}_brain.nii.gz",
        probabilities=folders.probabilities and folders.probabilities / f"{name}_probabilities.nii.gz",
        report=folders.report and folders.report / f"{name}_report.png",
        picture=folders.picture and folders.picture / f"{name}_picture.png",
    )


def _require_apart(jobs: Sequence[Job]) -> None:
    """No output may be that of another case or any case's input; names are compared as Windows and macOS do."""
    makers: dict[str, Path] = {}
    images = {_key(path): path for job in jobs for path in job.inputs.values()}
    for job in jobs:
        (image,) = job.inputs.values()
        for output in job.outputs.paths():
            other = makers.setdefault(_key(output), image)
            if other is not image:
                raise UsageError(f"{other} and {image} would both give {output}; run them into two folders")
            if _key(output) in images:
                raise UsageError(f"{output}: this output of {image} would overwrite an input; choose another folder")


def _key(path: Path) -> str:
    return str(path.resolve()).casefold()
