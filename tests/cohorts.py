"""Small cohorts on disk that tests share, and models that are one comparison: intensity above a threshold."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np

from brain_edge.engine.segmenter import Segmenter
from brain_edge.evaluation.cohort import CaseEntry, CohortManifest, FileEntry, Split
from brain_edge.evaluation.cohort.toml import format_manifest
from brain_edge.image.phantom import Phantom, make_volume
from brain_edge.image.resample import Interpolation
from brain_edge.package.digest import sha256_of
from brain_edge.spec import Label, ModelSpec, Network, Sequence, Stage, Task
from brain_edge.spec.steps import Restore
from brain_edge.spec.steps.decode import Threshold

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (12, 14, 13)
SPACING_MM = 16.0


def head(seed: int = 1) -> np.ndarray:
    """Intensities (I, J, K) of a coarse phantom, another noise for another seed."""
    return make_volume(Phantom(seed=seed, shape=SHAPE, spacing_mm=SPACING_MM)).voxels


def save(path: Path, voxels: np.ndarray, spacing_mm: float = SPACING_MM) -> Path:
    """Write an image or mask with nibabel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, np.diag([spacing_mm] * 3 + [1.0])), path)
    return path


def make_case(
    folder: Path,
    subject: str,
    split: Split = Split.TEST,
    *,
    voxels: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    sequence: str = "T1",
) -> CaseEntry:
    """Write one case of one image below a folder; without voxels, a head of its own."""
    voxels = head(zlib.crc32(subject.encode())) if voxels is None else voxels
    image = save(folder / subject / f"{sequence}.nii.gz", voxels)
    reference = None if mask is None else save(folder / subject / f"{sequence}_mask.nii.gz", mask)
    return CaseEntry(
        subject=subject,
        split=split,
        inputs={sequence: file_entry(image, folder)},
        reference=None if reference is None else file_entry(reference, folder),
    )


def file_entry(path: Path, folder: Path) -> FileEntry:
    """Source and hash of a file that is there."""
    return FileEntry(source=path.relative_to(folder).as_posix(), sha256=sha256_of(path))


def save_manifest(folder: Path, *cases: CaseEntry, **header: Any) -> Path:
    """Write a manifest of these cases."""
    fields = {"name": "tiny", "title": "tiny heads", "licence": "CC0", "citation": "", "sequences": ("T1",)}
    manifest = CohortManifest(cases=cases, **(fields | header))
    path = folder / "tiny.toml"
    path.write_text(format_manifest(manifest), encoding="utf-8")
    return path


class Identity:
    """A network that returns its input; counts its runs."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        self.runs += 1
        return batch.copy()


def threshold_spec(above: float, *, inputs: tuple[str, ...] = ("T1",), task: Task = Task.SKULL_STRIPPING) -> ModelSpec:
    """A model whose mask is `first channel > above`."""
    network = Network(graphs=("identity",), channels_in=len(inputs), channels_out=len(inputs))
    after = (Threshold(channel=0, above=float(above)), Restore(interpolation=Interpolation.NEAREST))
    return ModelSpec(
        name="threshold",
        task=task,
        inputs=tuple(Sequence(name=name) for name in inputs),
        stages=(Stage(name="only", before=(), network=network, after=after),),
        labels=(Label(value=1, name="bright"),),
    )


def threshold_model(above: float, session: Identity | None = None, **how: Any) -> Segmenter:
    """A segmenter of `threshold_spec`."""
    return Segmenter(threshold_spec(above, **how), {"identity": session or Identity()})
