"""run: one case from files to a mask, with a record of what happened."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from brain_edge import __version__
from brain_edge.border import with_border
from brain_edge.errors import ImplausibleError, InputError, UsageError
from brain_edge.io.atomic import atomic_file, require_writable_folder
from brain_edge.io.nifti import read_volume, write_mask, write_probabilities, write_stripped
from brain_edge.plausibility import is_empty
from brain_edge.process import peak_rss_bytes
from brain_edge.segmenter import Segmentation, Segmenter
from brain_edge.volume import Mask, Study

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from brain_edge.package import ModelPackage
    from brain_edge.plausibility import Flag
    from brain_edge.spec import ModelSpec
    from brain_edge.volume import Volume


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

    def paths(self) -> tuple[Path, ...]:
        """Every file that will be written."""
        paths = (self.mask, self.brain, self.probabilities, self.report)
        return tuple(path for path in paths if path is not None)


class FlagRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A flag as JSON."""

    kind: str
    message: str
    value: float
    low: float
    high: float
    label: int | None


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to one case.

    Attributes:
        model, digest: of the package; `precision` and `number_format` as it was run.
        inputs: file per sequence.
        mask: file that was written.
        volumes_ml: per label name.
        flags: what is not plausible.
        elapsed_ms: per stage; `read`, `write` and `total` are of this case, without program start.
        peak_rss_bytes: of this process so far.
    """

    model: str
    digest: str
    number_format: str
    precision: str
    intended_use: str
    inputs: dict[str, str]
    mask: str
    volumes_ml: dict[str, float]
    flags: list[FlagRecord] = []
    elapsed_ms: dict[str, float] = {}
    peak_rss_bytes: int | None = None
    brain_edge: str = __version__


def run_case(
    package: ModelPackage,
    segmenter: Segmenter,
    inputs: Mapping[str, Path],
    outputs: Outputs,
    tick: Callable[[], None] | None = None,
) -> RunRecord:
    """Read, segment, check and write one case.

    Every output is checked for being writable before minutes are spent, and appears whole or not at all.

    Raises:
        InputError: an input is refused.
        ImplausibleError: the mask is empty, or flagged with `strict`; nothing is written.
        OutputError: a result cannot be written.
    """
    start = time.perf_counter()
    _require_outputs(inputs.values(), outputs)
    study = read_study(inputs)
    read_ms = (time.perf_counter() - start) * 1000
    segmentation = segmenter(study, probabilities=outputs.probabilities is not None, tick=tick)
    require_plausible(segmentation, strict=outputs.strict)
    mask = with_border(segmentation.mask, outputs.border_mm)
    before_writing = time.perf_counter()
    _write(study, inputs, mask, segmentation, outputs, provenance(package))
    end = time.perf_counter()
    times = {"read": read_ms, **segmentation.elapsed_ms, "write": (end - before_writing) * 1000}
    record = _record(package, inputs, outputs, mask, segmentation)
    record = msgspec.structs.replace(record, elapsed_ms={**times, "total": (end - start) * 1000})
    _write_report(study.volumes[study.reference], mask, record, package.spec, outputs.report)
    return record


def read_study(inputs: Mapping[str, Path]) -> Study:
    """The sequences of a case from their files; the first one gives the output grid."""
    volumes = {name: read_volume(path) for name, path in inputs.items()}
    return Study(volumes, next(iter(volumes)))


def assign_inputs(given: Iterable[tuple[str | None, Path]], spec: ModelSpec) -> dict[str, Path]:
    """Match files to the sequences of a model: by name (`T1=head.nii.gz`), or the only file to the only sequence.

    Raises:
        UsageError: unnamed files for a model of several sequences, or a name given twice.
    """
    names = [sequence.name for sequence in spec.inputs]
    pairs = [(name or (names[0] if len(names) == 1 else None), path) for name, path in given]
    unnamed = [path for name, path in pairs if name is None]
    if unnamed:
        raise UsageError(
            f"{spec.name} takes {len(names)} sequences; name each file, for example {names[0]}={unnamed[0]}"
        )
    chosen = {name: path for name, path in pairs if name is not None}
    if len(chosen) != len(pairs):
        raise UsageError(f"a sequence was given twice: {', '.join(str(name) for name, _ in pairs)}")
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
        raise ImplausibleError("; ".join(flag.message for flag in segmentation.flags) + "; nothing was written")


def provenance(package: ModelPackage) -> str:
    """What a mask says of its maker, at most 79 bytes (NIfTI `descrip`)."""
    return f"RESEARCH ONLY brain-edge {__version__} {package.spec.name} {package.digest[:16]}"[:79]


def _require_outputs(inputs: Iterable[Path], outputs: Outputs) -> None:
    sources = {path.resolve() for path in inputs}
    for path in outputs.paths():
        if path.resolve() in sources:
            raise UsageError(f"{path}: this output would overwrite an input; choose another name")
        require_writable_folder(path.parent)


def _write(
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
    package: ModelPackage, inputs: Mapping[str, Path], outputs: Outputs, mask: Mask, segmentation: Segmentation
) -> RunRecord:
    return RunRecord(
        model=package.spec.name,
        digest=package.digest,
        number_format=package.manifest.number_format,
        precision=package.manifest.precision,
        intended_use=package.manifest.intended_use,
        inputs={name: str(path) for name, path in inputs.items()},
        mask=str(outputs.mask),
        volumes_ml={name: mask.volume_ml(value) for value, name in package.spec.label_names().items()},
        flags=[_flag_record(flag) for flag in segmentation.flags],
        peak_rss_bytes=peak_rss_bytes(),
    )


def _flag_record(flag: Flag) -> FlagRecord:
    return FlagRecord(
        kind=flag.kind, message=flag.message, value=flag.value, low=flag.low, high=flag.high, label=flag.label
    )


def _write_report(reference: Volume, mask: Mask, record: RunRecord, spec: ModelSpec, path: Path | None) -> None:
    if path is None:
        return
    if path.suffix == ".json":
        with atomic_file(path) as partial:
            partial.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=2))
    elif path.suffix == ".png":
        from brain_edge.report.mosaic import write_mosaic

        notes = [flag.message for flag in record.flags]
        write_mosaic(reference, mask, path, title=spec.name, legend=spec.label_names(), notes=notes)
    else:
        raise UsageError(f"{path}: expected a report that ends in .json or .png")
