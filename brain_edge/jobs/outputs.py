"""Outputs of one case: their files, which of them fit together, and that all of them appear or none."""

from __future__ import annotations

import math
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from brain_edge.errors import OutputError, UsageError
from brain_edge.io.inputs import DICOM_SUFFIX, InputKind, input_kind
from brain_edge.io.nifti import SUFFIXES
from brain_edge.machine.atomic import atomic_file, require_file_place
from brain_edge.machine.paths import require_text
from brain_edge.spec.preparation import PREPARED_GRID

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from brain_edge.io.dicom import SegOptions
    from brain_edge.spec import ModelSpec

MASK_SUFFIXES: Final = (*SUFFIXES, DICOM_SUFFIX)

_SUFFIXES: Final = {
    "mask": MASK_SUFFIXES,
    "brain": SUFFIXES,
    "probabilities": SUFFIXES,
    "report": (".json", ".png", DICOM_SUFFIX),
    "picture": (".png", DICOM_SUFFIX),
}

FURTHER: Final = "mask on "
"""Begin of the kind of a further mask; the sequence follows."""


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Files of the results of one case; a file that is None is not written.

    Attributes:
        mask: label map (`.nii`, `.nii.gz`) or DICOM SEG (`.dcm`).
        brain: reference image with 0 outside the mask.
        probabilities: float32 (I, J, K, D).
        report: `.json` record, `.png` mosaic, or `.dcm` structured report, which refers to the SEG.
        picture: mosaic, as `.png` or as `.dcm` secondary capture.
        seg: options of the SEG; None for the defaults, or without a SEG.
        border_mm: width of the margin around a mask of one label.
        strict: True to treat flags as errors; nothing is written then.
        staging: existing folder of the files while they are written; None for the folder of each file.
        on: sequence whose grid the mask gets, or `atlas` for the prepared grid; None for the reference. Only a package
            with a preparation has a choice.
        also: further masks, each with the sequence whose grid it gets.
    """

    mask: Path
    brain: Path | None = None
    probabilities: Path | None = None
    report: Path | None = None
    picture: Path | None = None
    seg: SegOptions | None = None
    border_mm: float = 0.0
    strict: bool = False
    staging: Path | None = None
    on: str | None = None
    also: tuple[tuple[str, Path], ...] = ()

    def files(self) -> dict[str, Path]:
        """Return every file to write by the name of its field, the mask first."""
        named = {name: getattr(self, name) for name in _SUFFIXES}
        further = {f"{FURTHER}{name}": path for name, path in self.also}
        return {name: path for name, path in named.items() if path is not None} | further

    def paths(self) -> tuple[Path, ...]:
        """Return every file to write."""
        return tuple(self.files().values())

    def dicom(self) -> tuple[Path, ...]:
        """Return the files that will be DICOM."""
        return tuple(path for path in self.paths() if is_dicom_name(path))

    @property
    def is_fractional(self) -> bool:
        """True if the SEG holds the probabilities of the network instead of its mask."""
        return self.seg is not None and self.seg.encoding == "fractional"


def is_dicom_name(path: Path) -> bool:
    """Return True if an output of this name is DICOM."""
    return path.name.lower().endswith(DICOM_SUFFIX)


def require_outputs(inputs: Mapping[str, Path], outputs: Outputs, spec: ModelSpec) -> None:
    """Check before the run that the outputs can be written, and that the model and the input can give them.

    Args:
        inputs: path per sequence; the first sequence gives the grid.
        outputs: files to write.
        spec: the model.

    Raises:
        UsageError: two outputs have one name, a suffix has no format, an output would overwrite an input, a border
            is given for several labels, or a DICOM output has no DICOM input.
        InputError: a name cannot be encoded as text.
        OutputError: a folder is missing or not writable.
        MissingExtraError: a library for a picture or a DICOM output is not installed.
    """
    if len({path.resolve() for path in outputs.paths()}) < len(outputs.paths()):
        raise UsageError(f"two outputs have the same name, choose others: {', '.join(map(str, outputs.paths()))}")
    for name, path in outputs.files().items():
        suffixes = _SUFFIXES["mask" if name.startswith(FURTHER) else name]
        if not path.name.lower().endswith(suffixes):
            raise UsageError(f"{path}: expected a {name} file that ends in {' or '.join(suffixes)}")
    _require_seg(outputs)
    _require_probabilities(outputs, spec)
    _require_border(outputs, spec)
    _require_grids(inputs, outputs, spec)
    _require_dicom_input(_under_mask(inputs, outputs, spec), outputs)
    for path in outputs.paths():
        require_file_place(require_text(path))
        for source in inputs.values():
            require_apart(path, source)
    _require_libraries(outputs)


def is_same_file(one: Path, other: Path) -> bool:
    """Return True if two names mean one file, also through links or on a file system that ignores case."""
    if one.exists() and other.exists():
        return one.samefile(other)
    return one.resolve() == other.resolve()


@contextmanager
def hidden(outputs: Outputs) -> Iterator[Outputs]:
    """Yield the outputs under hidden names; at the end of the block all get their own names, or none on an error."""
    with ExitStack() as stack:

        def staged(path: Path) -> Path:
            return stack.enter_context(_staged(path, outputs.staging))

        also = tuple((name, staged(path)) for name, path in outputs.also)
        files: dict[str, Any] = {name: staged(path) for name, path in replace(outputs, also=()).files().items()}
        yield replace(outputs, also=also, **files)


@contextmanager
def _staged(path: Path, staging: Path | None) -> Iterator[Path]:
    """Yield a hidden file that becomes `path`; errors about the file name `path`."""
    with atomic_file(path, staging) as partial:
        try:
            yield partial
        except OutputError as error:
            raise OutputError(str(error).replace(str(partial), str(path))) from error


def _require_seg(outputs: Outputs) -> None:
    if is_dicom_name(outputs.mask):
        return
    if outputs.seg is not None:
        raise UsageError(
            f"{outputs.mask}: --seg-encoding and --keep-empty-frames need a DICOM SEG; name a mask that ends in .dcm"
        )
    if outputs.report is not None and is_dicom_name(outputs.report):
        raise UsageError(
            f"{outputs.report}: a structured report needs a DICOM SEG, and {outputs.mask} is not DICOM; "
            f"name a mask in {DICOM_SUFFIX}, or a report in .json"
        )


def _require_probabilities(outputs: Outputs, spec: ModelSpec) -> None:
    if outputs.is_fractional and set(spec.stages[-1].label_channels()) != set(spec.label_names()):
        raise UsageError(
            f"{outputs.mask}: a fractional SEG needs a probability for each label, and {spec.name} makes labels of "
            "regions, levels or networks; write binary or labelmap, and --probabilities"
        )


def _require_border(outputs: Outputs, spec: ModelSpec) -> None:
    if not math.isfinite(outputs.border_mm):
        raise UsageError(f"expected a border in mm, got {outputs.border_mm}")
    if outputs.border_mm and len(spec.labels) > 1:
        names = ", ".join(label.name for label in spec.labels)
        raise UsageError(f"--border needs a mask of one label; {spec.name} has {len(spec.labels)} labels: {names}")
    if outputs.border_mm and outputs.is_fractional:
        raise UsageError("--border does not fit a fractional SEG, which holds probabilities; write a binary SEG")


def _require_grids(inputs: Mapping[str, Path], outputs: Outputs, spec: ModelSpec) -> None:
    """Refuse `--on` where there is no choice, and grids that no sequence has."""
    asked = [name for name in (outputs.on, *(name for name, _ in outputs.also)) if name is not None]
    if asked and not spec.preparation:
        raise UsageError(f"--on {asked[0]} has no effect: {spec.name} takes images as they are; remove --on")
    if unknown := [name for name in asked if name not in (*inputs, PREPARED_GRID)]:
        raise UsageError(
            f"expected --on as one of {', '.join(inputs)} or {PREPARED_GRID}, got {unknown[0]!r}; name a sequence of "
            "this study"
        )
    if PREPARED_GRID in asked and outputs.dicom():
        raise UsageError(
            f"{outputs.dicom()[0]}: a DICOM output lies on the frames of a series, and {PREPARED_GRID} has none; "
            f"write {SUFFIXES[-1]}, or name a sequence with --on"
        )


def _under_mask(inputs: Mapping[str, Path], outputs: Outputs, spec: ModelSpec) -> Path:
    """Return the input whose grid the mask gets."""
    names = (outputs.on or "", *(spec.preparation.references if spec.preparation else ()), *inputs)
    return next(inputs[name] for name in names if name in inputs)


def _require_dicom_input(reference: Path, outputs: Outputs) -> None:
    if outputs.dicom() and input_kind(reference, dicom=True) is not InputKind.DICOM:
        raise UsageError(
            f"{outputs.dicom()[0]}: a DICOM output needs a DICOM input, and {reference} is not DICOM; give the DICOM "
            f"series, or write {SUFFIXES[-1]}"
        )


def require_apart(output: Path, source: Path) -> None:
    """Refuse to write over, or into, an input or the package.

    Raises:
        UsageError: the output is the source, or lies in the folder of the source.
    """
    if is_same_file(output, source):
        raise UsageError(f"{output}: this output would overwrite an input; choose another name")
    if source.is_dir() and source.resolve() in output.resolve().parents:
        raise UsageError(f"{output}: this output would lie among the files of {source}; choose another folder")


def _require_libraries(outputs: Outputs) -> None:
    if outputs.picture is not None or (outputs.report is not None and outputs.report.suffix.lower() == ".png"):
        from brain_edge.jobs.pictures.sheet import require_matplotlib

        require_matplotlib()
    if outputs.dicom():
        from brain_edge.io.dicom.library import import_highdicom

        import_highdicom()
