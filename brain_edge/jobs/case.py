"""run: one case from files to a mask, with a record of what happened."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypeAlias

import msgspec
import numpy as np

from brain_edge.errors import ImplausibleError, InputError, UsageError
from brain_edge.image.border import with_border
from brain_edge.image.contrast import NAMES
from brain_edge.image.volume import Study
from brain_edge.io.contrast import contrast_of_file
from brain_edge.io.contrast_words import named
from brain_edge.io.inputs import series_of
from brain_edge.io.nifti import read_volume, write_image, write_mask, write_probabilities, write_stripped
from brain_edge.jobs.outputs import hidden, is_dicom_name, require_apart, require_outputs
from brain_edge.jobs.record import RunRecord, printable, provenance, series_records
from brain_edge.machine.process import peak_rss_bytes
from brain_edge.spec.plausibility import check_contrast, is_empty

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from brain_edge.engine.segmenter import Segmentation, Segmenter, WarmSegmenter
    from brain_edge.image.volume import Mask, Volume
    from brain_edge.io.dicom import Algorithm, SeriesInfo
    from brain_edge.jobs.outputs import Outputs
    from brain_edge.package import ModelPackage
    from brain_edge.spec import ModelSpec
    from brain_edge.spec.plausibility import Flag

    NamedInput: TypeAlias = tuple[str | None, Path]
    """The name of a sequence, where the user gives one, and its file."""


@dataclass(frozen=True)
class Job:
    """One case: files in, files out.

    Attributes:
        inputs: path per sequence of the model; the first one gives the grid.
        outputs: where the results go.
        series: UID or contrast of the series that is meant, where the user chose in a DICOM input.
        case: its name in a batch.
    """

    inputs: Mapping[str, Path]
    outputs: Outputs
    series: Mapping[str, str] = field(default_factory=dict)
    case: str = ""


@dataclass(frozen=True, eq=False)
class _Result:
    """What was computed for a job, as it will be written.

    Attributes:
        job: what was asked for.
        series: the DICOM series among the inputs, by the name of the sequence.
        study: the images.
        segmentation: with the border that was asked for.
        algorithm: for DICOM outputs.
    """

    job: Job
    series: Mapping[str, SeriesInfo]
    study: Study
    segmentation: Segmentation
    algorithm: Algorithm | None

    @property
    def reference(self) -> Volume:
        """The image that gave the grid."""
        return self.study.volumes[self.study.reference]

    def notes(self) -> list[str]:
        """What must be seen beside the mask."""
        return [
            *(flag.message for flag in self.segmentation.flags),
            *(note for info in self.series.values() for note in info.notes),
        ]


def run_case(
    segmenter: WarmSegmenter,
    job: Job,
    tick: Callable[[], None] | None = None,
    complete: Callable[[RunRecord, Mask, Outputs], None] | None = None,
) -> RunRecord:
    """Read, segment, check and write one case.

    Every output is checked for being writable before minutes are spent. They appear together, each whole, or
    none does.

    Args:
        segmenter: of the package.
        job: what is asked for.
        tick: called after each pass of a network.
        complete: called when every output is written under a hidden name and none has its own yet, with the mask
            and these files; what it raises leaves none of them.

    Raises:
        InputError: an input is refused; with `strict` also one of another contrast than the model was made for.
        ImplausibleError: the mask is empty, or flagged with `strict`; nothing is written.
        OutputError: a result cannot be written.
        MissingExtraError: DICOM or a picture was asked for, and a library for it is not installed.
        UsageError: outputs that do not go together, with an input, or with the package.
    """
    clock = time.perf_counter
    start = clock()
    package = segmenter.package
    require_outputs(job.inputs, job.outputs, package.spec)
    for path in job.outputs.paths():
        require_apart(path, package.folder)
    algorithm = _algorithm(package, job.outputs)
    before_reading = clock()
    series = series_of(job.inputs, job.series, package.spec.contrasts)
    flags = _contrast_flags(job, series, package.spec)
    study = _read(job.inputs, series)
    if algorithm is not None:
        _require_writable_beside(study)
    after_reading = clock()
    segmentation = _segment(segmenter, study, job.outputs, tick)
    mask = with_border(segmentation.mask, job.outputs.border_mm)
    segmentation = replace(segmentation, mask=mask, flags=(*flags, *segmentation.flags))
    result = _Result(job, series, study, segmentation, algorithm)
    before_writing = clock()
    with hidden(job.outputs) as files:
        _write_images(result, package, files)
        end = clock()
        times_ms = {
            "read": (after_reading - before_reading) * 1000,
            **segmentation.elapsed_ms,
            "write": (end - before_writing) * 1000,
            "total": (end - start) * 1000,
        }
        record = _record(segmenter, result, times_ms)
        _write_report(result, record, package.spec, files)
        if complete is not None:
            complete(record, mask, files)
    return record


def read_study(inputs: Mapping[str, Path], spec: ModelSpec | None = None) -> Study:
    """The sequences of a case from their files or DICOM series; the first one gives the output grid.

    Args:
        inputs: path per sequence.
        spec: of the model that series are chosen for, as `brain_edge.io.inputs.series_of` says.
    """
    return _read(inputs, series_of(inputs, {}, {} if spec is None else spec.contrasts))


def assign_inputs(given: Iterable[NamedInput], spec: ModelSpec) -> dict[str, Path]:
    """Match files to the sequences of a model: by name (`T1=head.nii.gz`), or the only file to the only sequence.

    Raises:
        UsageError: unnamed files for a model of several sequences, or two files for one sequence.
        InputError: a sequence is missing, or is not one of the model's.
    """
    names = [sequence.name for sequence in spec.inputs]
    chosen: dict[str, Path] = {}
    for given_name, path in given:
        name = given_name or (names[0] if len(names) == 1 else None)
        if name is None:
            raise UsageError(f"{spec.name} takes {', '.join(names)}; name each file, for example {names[0]}={path}")
        if name in chosen:
            raise UsageError(f"two files for the sequence {name} of one case: {chosen[name]} and {path}")
        chosen[name] = path
    missing = [name for name in names if name not in chosen and name not in spec.optional]
    unknown = [name for name in chosen if name not in names]
    if missing or unknown:
        raise InputError(
            f"{spec.name} takes {', '.join(names)}; missing: {', '.join(missing) or 'none'}, "
            f"not wanted: {', '.join(unknown) or 'none'}"
        )
    return {name: chosen[name] for name in names if name in chosen}


def assign_series(given: Iterable[tuple[str | None, str]], spec: ModelSpec) -> dict[str, str]:
    """Match the choices of a series (UID, or contrast) to the sequences of a model, as `assign_inputs` does.

    Raises:
        UsageError: unnamed choices for a model of several sequences, two for one sequence, a sequence that is not
            one of the model's, or what is neither a UID nor a contrast.
    """
    from brain_edge.io.dicom.instance import UID_PATTERN

    chosen: dict[str, str] = {}
    for given_name, text in given:
        if not (UID_PATTERN.fullmatch(text) or named(text)):
            raise UsageError(f"expected a series as its UID (digits and points), or {NAMES}, got {text!r}")
        name = meant_sequence(given_name, "series", text, spec)
        if name in chosen:
            raise UsageError(f"two series for the sequence {name} of one case: {chosen[name]} and {text}")
        chosen[name] = text
    return chosen


def meant_sequence(given: str | None, what: str, text: str, spec: ModelSpec) -> str:
    """The sequence of a model that a choice is for: the named one, or the only one.

    Raises:
        UsageError: it names none of them.
    """
    names = list(spec.contrasts)
    name = given or (names[0] if len(names) == 1 else None)
    if name not in names:
        raise UsageError(
            f"{spec.name} takes {', '.join(names)}; say for which one of them the {what} {text} is, "
            f"for example {names[0]}={text}"
        )
    return name


def require_plausible(segmentation: Segmentation, *, strict: bool) -> None:
    """Let no absurd mask pass quietly.

    Raises:
        ImplausibleError: the mask is empty where it must not be, or there is any flag and `strict`.
    """
    if is_empty(segmentation.flags) or (strict and segmentation.flags):
        raise ImplausibleError("; ".join(flag.message for flag in segmentation.flags))


def _algorithm(package: ModelPackage, outputs: Outputs) -> Algorithm | None:
    """What DICOM outputs say of their maker; None where there are none.

    Raises:
        UsageError: the package must not write DICOM.
        PackageError: a label has no standard code.
    """
    if not outputs.dicom():
        return None
    from brain_edge.io.dicom import algorithm_of

    algorithm = algorithm_of(package)
    if not outputs.border_mm:
        return algorithm
    return replace(algorithm, name=f"{algorithm.name} with border {outputs.border_mm:g} mm")


def _contrast_flags(job: Job, series: Mapping[str, SeriesInfo], spec: ModelSpec) -> tuple[Flag, ...]:
    """Flags on images of another contrast than their sequence was made for.

    Raises:
        InputError: there is one, and flags are errors.
    """
    flags = []
    for sequence in spec.inputs:
        if sequence.stated and (path := job.inputs.get(sequence.name)) is not None:
            found = series[sequence.name].finding if sequence.name in series else contrast_of_file(path)
            flag = check_contrast(sequence, found)
            if flag is not None and job.outputs.strict:
                raise InputError(
                    f"{path}: {flag.message}; give an image that {spec.name} was made for, or leave out --strict"
                )
            flags += [] if flag is None else [flag]
    return tuple(flags)


def _read(inputs: Mapping[str, Path], series: Mapping[str, SeriesInfo]) -> Study:
    if series:
        from brain_edge.io.dicom import read_series
    volumes = {
        name: read_series(series[name]) if name in series else read_volume(path) for name, path in inputs.items()
    }
    return Study(volumes, next(iter(volumes)))


def _require_writable_beside(study: Study) -> None:
    """Refuse headers that would make an invalid DICOM result now, not when the network has run."""
    from brain_edge.io.dicom.target import origin_of

    origin_of(study.volumes[study.reference])


def _segment(segmenter: Segmenter, study: Study, outputs: Outputs, tick: Callable[[], None] | None) -> Segmentation:
    needs_probabilities = outputs.probabilities is not None or outputs.is_fractional
    name = study.volumes[study.reference].name
    try:
        segmentation = segmenter(study, probabilities=needs_probabilities, tick=tick)
        require_plausible(segmentation, strict=outputs.strict)
    except ImplausibleError as error:
        raise ImplausibleError(f"{name}: {error}; nothing was written") from error
    except InputError as error:
        if name in str(error):
            raise
        raise InputError(f"{name}: {error}") from error  # a step knows voxels, not the file they came from
    return segmentation


def _write_images(result: _Result, package: ModelPackage, files: Outputs) -> None:
    description, probabilities = provenance(package), result.segmentation.probabilities
    _write_mask(result, files, description)
    if files.brain is not None:
        _write_brain(result, files.brain, description)
    if files.probabilities is not None and probabilities is not None:
        write_probabilities(probabilities, result.reference, files.probabilities, description)
    if files.picture is not None:
        _write_picture(result, package.spec, files.picture)


def _write_mask(result: _Result, files: Outputs, description: str) -> None:
    if result.algorithm is None or not is_dicom_name(files.mask):
        write_mask(result.segmentation.mask, result.reference, files.mask, description)
        return
    from brain_edge.io.dicom import write_seg

    write_seg(result.segmentation, result.reference, result.algorithm, files.mask, files.seg)


def _write_brain(result: _Result, path: Path, description: str) -> None:
    name, mask = result.study.reference, result.segmentation.mask
    if name in result.series:
        brain = np.where(mask.labels, result.reference.voxels, np.float32(0))
        write_image(replace(result.reference, voxels=brain), path, description)
    else:
        write_stripped(result.job.inputs[name], mask, path, description)


def _write_picture(result: _Result, spec: ModelSpec, path: Path) -> None:
    """The mosaic as PNG, or as secondary capture."""
    if result.algorithm is None or not is_dicom_name(path):
        _write_mosaic(result, spec, path)
        return
    from brain_edge.io.dicom import write_picture

    with TemporaryDirectory() as folder:
        picture = Path(folder, "mosaic.png")
        _write_mosaic(result, spec, picture)
        write_picture(picture, result.reference, result.algorithm, path)


def _write_mosaic(result: _Result, spec: ModelSpec, path: Path) -> None:
    from brain_edge.jobs.pictures.mosaic import write_mosaic

    legend, notes = spec.label_names(), result.notes()
    write_mosaic(result.reference, result.segmentation.mask, path, title=spec.name, legend=legend, notes=notes)


def _write_report(result: _Result, record: RunRecord, spec: ModelSpec, files: Outputs) -> None:
    path = files.report
    if path is None:
        return
    if path.suffix.lower() == ".json":
        path.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=2))
    elif result.algorithm is not None and is_dicom_name(path):
        from brain_edge.io.dicom import write_report

        write_report(result.segmentation, result.reference, result.algorithm, files.mask, path)
    else:
        _write_mosaic(result, spec, path)


def _record(segmenter: WarmSegmenter, result: _Result, times_ms: Mapping[str, float]) -> RunRecord:
    package, job, segmentation = segmenter.package, result.job, result.segmentation
    files = {name: printable(path) for name, path in job.outputs.files().items()}
    names = package.spec.label_names()
    return RunRecord(
        model=package.spec.name,
        digest=package.digest,
        weights_status=package.manifest.weights_status,
        number_format=package.manifest.number_format,
        precision=package.manifest.precision,
        intended_use=package.manifest.intended_use,
        inputs={name: printable(path) for name, path in job.inputs.items()},
        series=series_records(result.series),
        mask=files["mask"],
        brain=files.get("brain"),
        probabilities=files.get("probabilities"),
        picture=files.get("picture"),
        border_mm=job.outputs.border_mm,
        volumes_ml={name: segmentation.mask.volume_ml(value) for value, name in names.items()},
        member_agreement=dict(segmentation.member_agreement),
        flags=segmentation.flags,
        threads=segmenter.threads,
        elapsed_ms=dict(times_ms),
        peak_rss_bytes=peak_rss_bytes(),
    )
