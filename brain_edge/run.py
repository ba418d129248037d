"""run: one case from files to a mask, with a record of what happened."""

from __future__ import annotations

import math
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from brain_edge.border import with_border
from brain_edge.errors import ImplausibleError, InputError, OutputError, UsageError
from brain_edge.io.atomic import atomic_file, require_writable_folder
from brain_edge.io.nifti import SUFFIXES, read_volume, write_mask, write_probabilities, write_stripped
from brain_edge.plausibility import is_empty
from brain_edge.process import peak_rss_bytes
from brain_edge.record import RunRecord, flag_records, provenance
from brain_edge.runtime.cpu import default_threads
from brain_edge.runtime.options import RuntimeOptions
from brain_edge.segmenter import Segmenter
from brain_edge.volume import Mask, Study

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from pathlib import Path

    from brain_edge.package import ModelPackage
    from brain_edge.segmenter import Segmentation
    from brain_edge.spec import ModelSpec

    NamedInput: TypeAlias = tuple[str | None, Path]
    """The name of a sequence, where the user gives one, and its file."""

REPORT_SUFFIXES: Final = (".json", ".png")


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Where the results of one case go; what is None is not written.

    Attributes:
        mask: label map, `.nii` or `.nii.gz`.
        brain: the reference image with everything outside the mask set to 0.
        probabilities: float32 (I, J, K, D).
        report: `.json` record, or `.png` mosaic.
        border_mm: added around a mask of one label.
        strict: flags are errors, and nothing is written.
    """

    mask: Path
    brain: Path | None = None
    probabilities: Path | None = None
    report: Path | None = None
    border_mm: float = 0.0
    strict: bool = False

    def files(self) -> dict[str, Path]:
        """Every file that will be written, by the name of its field; the mask first."""
        named = {"mask": self.mask, "brain": self.brain, "probabilities": self.probabilities, "report": self.report}
        return {name: path for name, path in named.items() if path is not None}

    def paths(self) -> tuple[Path, ...]:
        """Every file that will be written."""
        return tuple(self.files().values())


@dataclass(frozen=True)
class LoadedModel:
    """A package that is ready to run on this machine.

    Attributes:
        package: as opened.
        segmenter: its networks; what is compiled for one case serves the next of the same shape.
        threads: that they run on.
    """

    package: ModelPackage
    segmenter: Segmenter
    threads: int

    @classmethod
    def load(cls, package: ModelPackage, options: RuntimeOptions | None = None) -> LoadedModel:
        """Load a package; a number of threads that the options leave open is settled here."""
        given = options or RuntimeOptions()
        threads = given.threads or default_threads()
        return cls(package, Segmenter.open(package, replace(given, threads=threads)), threads)


def run_case(
    model: LoadedModel, inputs: Mapping[str, Path], outputs: Outputs, tick: Callable[[], None] | None = None
) -> RunRecord:
    """Read, segment, check and write one case.

    Every output is checked for being writable before minutes are spent. They appear together, each whole, or
    none does.

    Raises:
        InputError: an input is refused.
        ImplausibleError: the mask is empty, or flagged with `strict`; nothing is written.
        OutputError: a result cannot be written.
        MissingExtraError: a picture was asked for, and matplotlib is not installed.
        UsageError: outputs that do not go together, with an input, or with the model.
    """
    clock = time.perf_counter
    start = clock()
    require_outputs(inputs.values(), outputs, model.package.spec)
    before_reading = clock()
    study = read_study(inputs)
    after_reading = clock()
    segmentation = _segment(model.segmenter, study, outputs, tick)
    mask = with_border(segmentation.mask, outputs.border_mm)
    before_writing = clock()
    with _hidden(outputs) as hidden:
        _write_images(study, inputs, mask, segmentation, hidden, provenance(model.package))
        end = clock()
        times_ms = {
            "read": (after_reading - before_reading) * 1000,
            **segmentation.elapsed_ms,
            "write": (end - before_writing) * 1000,
            "total": (end - start) * 1000,
        }
        record = _record(model, inputs, outputs, mask, segmentation, times_ms)
        _write_report(study, mask, record, model.package.spec, hidden.report)
    return record


def read_study(inputs: Mapping[str, Path]) -> Study:
    """The sequences of a case from their files; the first one gives the output grid."""
    volumes = {name: read_volume(path) for name, path in inputs.items()}
    return Study(volumes, next(iter(volumes)))


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
    missing = [name for name in names if name not in chosen]
    unknown = [name for name in chosen if name not in names]
    if missing or unknown:
        raise InputError(
            f"{spec.name} takes {', '.join(names)}; missing: {', '.join(missing) or 'none'}, "
            f"not wanted: {', '.join(unknown) or 'none'}"
        )
    return {name: chosen[name] for name in names}


def require_plausible(segmentation: Segmentation, *, strict: bool) -> None:
    """Let no absurd mask pass quietly.

    Raises:
        ImplausibleError: the mask is empty where it must not be, or there is any flag and `strict`.
    """
    if is_empty(segmentation.flags) or (strict and segmentation.flags):
        raise ImplausibleError("; ".join(flag.message for flag in segmentation.flags))


def require_outputs(inputs: Collection[Path], outputs: Outputs, spec: ModelSpec) -> None:
    """Find out before the work whether its results can be written, and are what this model can give.

    Raises:
        UsageError: a name twice, a suffix that cannot be written, an input that would be overwritten, or a border
            for a model of several labels.
        OutputError: a folder is missing or not writable.
        MissingExtraError: a picture was asked for, and matplotlib is not installed.
    """
    if len({path.resolve() for path in outputs.paths()}) < len(outputs.paths()):
        raise UsageError(f"two outputs have the same name: {', '.join(map(str, outputs.paths()))}")
    _require_suffixes(outputs)
    _require_border(outputs.border_mm, spec)
    for path in outputs.paths():
        require_writable_folder(path.parent)
        if any(is_same_file(path, source) for source in inputs):
            raise UsageError(f"{path}: this output would overwrite an input; choose another name")
    if outputs.report is not None and outputs.report.suffix.lower() == ".png":
        from brain_edge.report.sheet import require_matplotlib

        require_matplotlib()


def is_same_file(one: Path, other: Path) -> bool:
    """Whether two names mean one file, through links and whatever the file system thinks of upper case."""
    if one.exists() and other.exists():
        return one.samefile(other)
    return one.resolve() == other.resolve()


def _require_suffixes(outputs: Outputs) -> None:
    for name, path in outputs.files().items():
        suffixes = REPORT_SUFFIXES if name == "report" else SUFFIXES
        if not path.name.lower().endswith(suffixes):
            raise UsageError(f"{path}: expected a {name} file that ends in {' or '.join(suffixes)}")


def _require_border(border_mm: float, spec: ModelSpec) -> None:
    if not math.isfinite(border_mm):
        raise UsageError(f"expected a border in mm, got {border_mm}")
    if border_mm and len(spec.labels) > 1:
        names = ", ".join(label.name for label in spec.labels)
        raise UsageError(f"a border can be added to a mask of one label; {spec.name} has {len(spec.labels)}: {names}")


def _segment(segmenter: Segmenter, study: Study, outputs: Outputs, tick: Callable[[], None] | None) -> Segmentation:
    try:
        segmentation = segmenter(study, probabilities=outputs.probabilities is not None, tick=tick)
        require_plausible(segmentation, strict=outputs.strict)
    except ImplausibleError as error:
        name = study.volumes[study.reference].name
        raise ImplausibleError(f"{name}: {error}; nothing was written") from error
    return segmentation


@contextmanager
def _hidden(outputs: Outputs) -> Iterator[Outputs]:
    """The same outputs under hidden names; all get their own when the block ends well, the mask last, or none."""
    with ExitStack() as stack:
        hidden: dict[str, Any] = {name: stack.enter_context(_staged(path)) for name, path in outputs.files().items()}
        yield replace(outputs, **hidden)


@contextmanager
def _staged(path: Path) -> Iterator[Path]:
    """A hidden file that becomes `path`; errors about it name what the user has asked for."""
    with atomic_file(path) as partial:
        try:
            yield partial
        except OutputError as error:
            raise OutputError(str(error).replace(str(partial), str(path))) from error


def _write_images(
    study: Study,
    inputs: Mapping[str, Path],
    mask: Mask,
    segmentation: Segmentation,
    outputs: Outputs,
    description: str,
) -> None:
    reference = study.volumes[study.reference]
    write_mask(mask, reference, outputs.mask, description)
    if outputs.brain is not None:
        write_stripped(inputs[study.reference], mask, outputs.brain, description)
    if outputs.probabilities is not None and segmentation.probabilities is not None:
        write_probabilities(segmentation.probabilities, reference, outputs.probabilities, description)


def _record(
    model: LoadedModel,
    inputs: Mapping[str, Path],
    outputs: Outputs,
    mask: Mask,
    segmentation: Segmentation,
    times_ms: Mapping[str, float],
) -> RunRecord:
    package = model.package
    return RunRecord(
        model=package.spec.name,
        digest=package.digest,
        weights_status=package.manifest.weights_status,
        number_format=package.manifest.number_format,
        precision=package.manifest.precision,
        intended_use=package.manifest.intended_use,
        inputs={name: str(path) for name, path in inputs.items()},
        mask=str(outputs.mask),
        brain=None if outputs.brain is None else str(outputs.brain),
        probabilities=None if outputs.probabilities is None else str(outputs.probabilities),
        border_mm=outputs.border_mm,
        volumes_ml={name: mask.volume_ml(value) for value, name in package.spec.label_names().items()},
        flags=flag_records(segmentation.flags),
        threads=model.threads,
        elapsed_ms=dict(times_ms),
        peak_rss_bytes=peak_rss_bytes(),
    )


def _write_report(study: Study, mask: Mask, record: RunRecord, spec: ModelSpec, path: Path | None) -> None:
    if path is None:
        return
    if path.suffix.lower() == ".json":
        path.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=2))
    else:
        from brain_edge.report.mosaic import write_mosaic

        notes = [flag.message for flag in record.flags]
        reference = study.volumes[study.reference]
        write_mosaic(reference, mask, path, title=spec.name, legend=spec.label_names(), notes=notes)
