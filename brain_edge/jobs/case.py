"""Run one case from files to a mask, with a record of the run."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Protocol, TypeAlias

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from brain_edge.errors import ImplausibleError, InputError, UsageError
from brain_edge.image.border import with_border
from brain_edge.image.contrast import NAMES, Contrast
from brain_edge.image.volume import Study
from brain_edge.io.contrast import contrast_of_file
from brain_edge.io.contrast_words import named
from brain_edge.io.inputs import series_of
from brain_edge.io.nifti import read_volume, write_image, write_mask, write_probabilities, write_stripped
from brain_edge.jobs.outputs import hidden, is_dicom_name, require_apart, require_outputs
from brain_edge.jobs.record import RunRecord, printable, provenance, series_records
from brain_edge.machine.nearest import did_you_mean
from brain_edge.machine.process import peak_rss_bytes
from brain_edge.runtime.session import precision_here
from brain_edge.spec.plausibility import check_contrast, is_empty

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from brain_edge.engine.segmenter import Segmentation, Segmenter, WarmSegmenter
    from brain_edge.image.volume import Mask, Volume
    from brain_edge.io.dicom import Algorithm, SeriesInfo
    from brain_edge.jobs.outputs import Outputs
    from brain_edge.package import ModelPackage
    from brain_edge.preparation.record import PreparationRecord
    from brain_edge.spec import ModelSpec, Sequence
    from brain_edge.spec.plausibility import Flag

    class TakesSequences(Protocol):
        """What takes sequences by name: a specification, or a preparation."""

        @property
        def name(self) -> str:
            """Name in messages."""

        @property
        def inputs(self) -> tuple[Sequence, ...]:
            """Sequences in order."""

        @property
        def optional(self) -> tuple[str, ...]:
            """Names of the sequences that may be missing."""

        @property
        def contrasts(self) -> Mapping[str, tuple[Contrast, ...]]:
            """Contrasts of each sequence."""

    NamedInput: TypeAlias = tuple[str | None, Path]
    """Name of a sequence, or None where the user gives no name, and its file."""


@dataclass(frozen=True)
class Job:
    """One case: files in, files out.

    Attributes:
        inputs: path per sequence of the model; the first sequence gives the grid.
        outputs: files to write.
        series: UID or contrast of the DICOM series that the user chose, per sequence.
        case: name of the case in a batch.
    """

    inputs: Mapping[str, Path]
    outputs: Outputs
    series: Mapping[str, str] = field(default_factory=dict)
    case: str = ""


@dataclass(frozen=True, eq=False)
class _Result:
    """Result of a job before it is written.

    Attributes:
        job: inputs, outputs and options of the case.
        series: the DICOM series among the inputs, by the name of the sequence.
        study: the images.
        segmentation: result of the model, with the border of the job added.
        algorithm: maker of the mask as DICOM outputs state it; None without DICOM outputs.
    """

    job: Job
    series: Mapping[str, SeriesInfo]
    study: Study
    segmentation: Segmentation
    algorithm: Algorithm | None

    @property
    def reference(self) -> Volume:
        """Image that gives the grid."""
        return self.volume_of(self.job.outputs.on or self.study.reference)

    def volume_of(self, name: str) -> Volume:
        """Return the image of a sequence as it was scanned; `atlas` for the prepared reference."""
        prepared = self.segmentation.prepared
        return self.study.volumes[name] if prepared is None else prepared.volume_of(name)

    def notes(self) -> list[str]:
        """Return the warnings to show beside the mask."""
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

    Each output is checked for being writable before the model runs. All outputs appear together and complete, or
    none appears.

    Args:
        segmenter: the opened package.
        job: files to read and to write.
        tick: function called after each pass of a network.
        complete: function called with the record, the mask and the hidden files, after all outputs are written and
            before any has its final name; if it raises, no output is kept.

    Raises:
        InputError: an input is refused; under `strict` also an input of a contrast that the model was not made for.
        ImplausibleError: the mask is empty, or has a flag under `strict`; nothing is written.
        OutputError: a result cannot be written.
        MissingExtraError: a library for a DICOM output or a picture is not installed.
        UsageError: an output conflicts with another output, an input or the package.
    """
    clock = time.perf_counter
    start = clock()
    package = segmenter.package
    require_outputs(job.inputs, job.outputs, package.spec)
    for path in job.outputs.paths():
        require_apart(path, package.folder)
    algorithm = _algorithm(package, job.outputs)
    before_reading = clock()
    series = series_of(
        job.inputs,
        job.series,
        package.spec.contrasts,
        dicom_output=bool(job.outputs.dicom()),
        registers=bool(package.spec.preparation),
    )
    flags = _contrast_flags(job, series, package.spec)
    study = _with_reference(_read(job.inputs, series), job.outputs, package.spec)
    if algorithm is not None:
        _require_writable_beside(study)
    after_reading = clock()
    flags += _alignment_flags(segmenter, study, job.outputs)
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


def _with_reference(study: Study, outputs: Outputs, spec: ModelSpec) -> Study:
    """Return the study with the sequence whose grid the mask gets as its reference."""
    if not spec.preparation:
        return study
    if outputs.on in study.volumes:
        return Study(study.volumes, str(outputs.on))
    given = next((name for name in spec.preparation.references if name in study.volumes), study.reference)
    return Study(study.volumes, given)


def read_study(
    inputs: Mapping[str, Path], spec: ModelSpec | None = None, chosen: Mapping[str, str] | None = None
) -> Study:
    """Read the sequences of a case from files or DICOM series; the first sequence gives the output grid.

    Args:
        inputs: path per sequence.
        spec: model whose contrasts choose the series, as in `brain_edge.io.inputs.series_of`.
        chosen: UID or contrast of the series that the user chose, by sequence.
    """
    contrasts, registers = ({}, False) if spec is None else (spec.contrasts, bool(spec.preparation))
    return _read(inputs, series_of(inputs, chosen or {}, contrasts, registers=registers))


def assign_inputs(given: Iterable[NamedInput], spec: TakesSequences) -> dict[str, Path]:
    """Match files to the sequences of a model: by name (`T1=head.nii.gz`), or the only file to the only sequence.

    Raises:
        UsageError: unnamed files for a model of several sequences, or two files for one sequence.
        InputError: a sequence of the model has no file, or a file is for an unknown sequence.
    """
    names = [sequence.name for sequence in spec.inputs]
    chosen: dict[str, Path] = {}
    for given_name, path in given:
        name = given_name or (names[0] if len(names) == 1 else None)
        if name is None:
            raise UsageError(f"{spec.name} takes {', '.join(names)}; name each file, such as {names[0]}={path}")
        if name in chosen:
            raise UsageError(f"expected one file for the sequence {name}, got {chosen[name]} and {path}; remove one")
        chosen[name] = path
    missing = [name for name in names if name not in chosen and name not in spec.optional]
    unknown = [name for name in chosen if name not in names]
    if missing or unknown:
        raise InputError(
            f"{spec.name} takes {', '.join(names)}; missing: {', '.join(missing) or 'none'}, "
            f"not wanted: {', '.join(unknown) or 'none'}{did_you_mean(unknown[0], missing) if unknown else ''}"
        )
    return {name: chosen[name] for name in names if name in chosen}


def assign_series(given: Iterable[tuple[str | None, str]], spec: TakesSequences) -> dict[str, str]:
    """Match chosen series (each a UID or a contrast) to the sequences of a model, as `assign_inputs` does.

    Raises:
        UsageError: a choice is neither a UID nor a contrast, has no name where the model takes several sequences,
            names an unknown sequence, or is the second one for a sequence.
    """
    from brain_edge.io.dicom.instance import UID_PATTERN

    chosen: dict[str, str] = {}
    for given_name, text in given:
        if not (UID_PATTERN.fullmatch(text) or named(text)):
            hint = did_you_mean(text, Contrast)
            raise UsageError(f"expected a series as its UID (digits and points) or as {NAMES}, got {text!r}{hint}")
        name = meant_sequence(given_name, "series", text, spec)
        if name in chosen:
            raise UsageError(f"expected one series for the sequence {name}, got {chosen[name]} and {text}; remove one")
        chosen[name] = text
    return chosen


def meant_sequence(given: str | None, what: str, text: str, spec: TakesSequences) -> str:
    """Return the sequence that a choice is for: the named sequence, or the only sequence of the model.

    Raises:
        UsageError: no sequence is named where the model takes several, or an unknown one.
    """
    names = list(spec.contrasts)
    name = given or (names[0] if len(names) == 1 else None)
    if name not in names:
        raise UsageError(
            f"{spec.name} takes {', '.join(names)}; name the sequence of the {what} {text}, such as {names[0]}={text}"
            f"{did_you_mean(given or '', names)}"
        )
    return name


def require_plausible(segmentation: Segmentation, *, strict: bool) -> None:
    """Refuse an implausible mask.

    Raises:
        ImplausibleError: the mask is empty although it must not be, or has any flag under `strict`.
    """
    if is_empty(segmentation.flags) or (strict and segmentation.flags):
        raise ImplausibleError("; ".join(flag.message for flag in segmentation.flags))


def _algorithm(package: ModelPackage, outputs: Outputs) -> Algorithm | None:
    """Return the maker that DICOM outputs state; None without DICOM outputs.

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
    """Return a flag for each image whose contrast does not fit its sequence.

    Raises:
        InputError: an image has such a flag, and flags are errors.
    """
    flags = []
    for sequence in spec.inputs:
        if sequence.stated and (path := job.inputs.get(sequence.name)) is not None:
            found = series[sequence.name].finding if sequence.name in series else contrast_of_file(path)
            flag = check_contrast(sequence, found)
            if flag is not None and job.outputs.strict:
                raise InputError(
                    f"{path}: {flag.message}; give an image that {spec.name} was made for, or remove --strict"
                )
            flags += [] if flag is None else [flag]
    return tuple(flags)


def _alignment_flags(segmenter: Segmenter, study: Study, outputs: Outputs) -> tuple[Flag, ...]:
    """Return a flag for each sequence that does not lie over the others and is not registered to them.

    Raises:
        InputError: a sequence has such a flag, and flags are errors.
    """
    if len(study.volumes) < 2 or segmenter.registers(study):
        return ()
    from brain_edge.preparation.alignment import check_alignment

    flags = check_alignment(study)
    if flags and outputs.strict:
        raise InputError(f"{flags[0].message} Register the sequences first, or remove --strict")
    return flags


def _read(inputs: Mapping[str, Path], series: Mapping[str, SeriesInfo]) -> Study:
    if series:
        from brain_edge.io.dicom import read_series
    volumes = {
        name: read_series(series[name]) if name in series else read_volume(path) for name, path in inputs.items()
    }
    return Study(volumes, next(iter(volumes)))


def _require_writable_beside(study: Study) -> None:
    """Refuse headers that would make an invalid DICOM result, before the network runs."""
    from brain_edge.io.dicom.target import origin_of

    origin_of(study.volumes[study.reference])


def _segment(segmenter: Segmenter, study: Study, outputs: Outputs, tick: Callable[[], None] | None) -> Segmentation:
    needs_probabilities = outputs.probabilities is not None or outputs.is_fractional
    name = study.volumes[study.reference].name
    try:
        segmentation = segmenter(study, probabilities=needs_probabilities, tick=tick, on=outputs.on)
        require_plausible(segmentation, strict=outputs.strict)
    except ImplausibleError as error:
        raise ImplausibleError(f"{name}: {error}; nothing was written") from error
    except InputError as error:
        if name in str(error):
            raise
        raise InputError(f"{name}: {error}") from error  # a step knows its voxels, not their file
    return segmentation


def _write_images(result: _Result, package: ModelPackage, files: Outputs) -> None:
    description, probabilities = provenance(package), result.segmentation.probabilities
    _write_mask(result, files, description)
    for name, path in files.also:
        _write_mask_on(result, name, path, files, description)
    if files.brain is not None:
        _write_brain(result, files.brain, description)
    if files.probabilities is not None and probabilities is not None:
        write_probabilities(probabilities, result.reference, files.probabilities, description)
    if files.picture is not None:
        _write_picture(result, package.spec, files.picture)


def _write_mask(result: _Result, files: Outputs, description: str) -> None:
    _write_one(result.segmentation, result.reference, result.algorithm, files, description)


def _write_mask_on(result: _Result, name: str, path: Path, files: Outputs, description: str) -> None:
    """Write the mask on the grid of another sequence."""
    mask = with_border(result.segmentation.mask_on(name), files.border_mm)
    found = replace(result.segmentation, mask=mask, probabilities=None)
    _write_one(found, result.volume_of(name), result.algorithm, replace(files, mask=path), description)


def _write_one(
    found: Segmentation, volume: Volume, algorithm: Algorithm | None, files: Outputs, description: str
) -> None:
    """Write a mask as NIfTI, or as DICOM SEG on the frames of its series."""
    if algorithm is None or not is_dicom_name(files.mask):
        write_mask(found.mask, volume, files.mask, description)
        return
    from brain_edge.io.dicom import write_seg

    write_seg(found, volume, algorithm, files.mask, files.seg)


def _write_brain(result: _Result, path: Path, description: str) -> None:
    name, mask = result.job.outputs.on or result.study.reference, result.segmentation.mask
    if name in result.series or name not in result.job.inputs:
        brain = np.where(mask.labels, result.reference.voxels, np.float32(0))
        write_image(replace(result.reference, voxels=brain), path, description)
    else:
        write_stripped(result.job.inputs[name], mask, path, description)


def _write_picture(result: _Result, spec: ModelSpec, path: Path) -> None:
    """Write the mosaic as PNG or as secondary capture."""
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
        precision=precision_here(package.manifest.precision),
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
        preparation=_preparation_record(package.spec, segmentation),
        also={name: printable(path) for name, path in job.outputs.also} or UNSET,
    )


def _preparation_record(spec: ModelSpec, segmentation: Segmentation) -> PreparationRecord | UnsetType:
    if segmentation.prepared is None or not spec.preparation:
        return UNSET
    from brain_edge.preparation.record import record_of

    return record_of(segmentation.prepared, spec.preparation)
