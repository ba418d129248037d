"""Write a whole cohort of synthetic heads from label maps: images, reference masks and a manifest that says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from brain_edge.cohort.cases import Cohort
from brain_edge.cohort.create import assign_splits
from brain_edge.cohort.manifest import CaseEntry, CohortManifest, FileEntry, Split, parse_manifest
from brain_edge.cohort.reference import read_reference
from brain_edge.cohort.synthesise import Synthesis, synthesise
from brain_edge.cohort.toml import format_manifest
from brain_edge.digest import sha256_of
from brain_edge.errors import UsageError
from brain_edge.io.atomic import atomic_folder
from brain_edge.io.nifti import write_image, write_mask

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from brain_edge.fetch import Report

SEQUENCE: Final = "synthetic"
MANIFEST: Final = "cohort.toml"
DESCRIPTION: Final = "SYNTHETIC, made by brain-edge"


@dataclass(frozen=True, kw_only=True)
class SyntheticPlan:
    """What to make.

    Attributes:
        name: of the cohort: letters, digits and `_.+-`.
        per_anatomy: heads made of each label map.
        seed: another seed, other heads and another split.
        shell_mm, merge: as in `Synthesis`.

    Raises:
        UsageError: fewer than one head.
    """

    name: str
    per_anatomy: int = 2
    seed: int = 0
    shell_mm: float = 12.0
    merge: bool = False

    def __post_init__(self) -> None:
        if self.per_anatomy < 1:
            raise UsageError(f"expected at least one head of each label map, got {self.per_anatomy}")


def create_synthetic_cohort(
    maps: Sequence[Path], folder: Path, plan: SyntheticPlan, report: Report | None = None
) -> Cohort:
    """Make heads of label maps, one in memory at a time, and describe them as a cohort.

    Heads of one label map share an anatomy and so a subject: they are in one split. Nothing names the maps.

    Args:
        maps: label maps, each of another person.
        folder: to be made; appears whole or not at all.
        plan: what.
        report: told before each head.

    Raises:
        InputError: too few label maps for three splits, or one that cannot be read.
        OutputError: the folder exists or cannot be written.
    """
    subjects = {f"synthetic-{number:02d}": path for number, path in enumerate(maps, start=1)}
    splits = assign_splits(dict.fromkeys(subjects, True), plan.seed, folder)
    seeds = (
        np.random.SeedSequence(plan.seed).generate_state(len(subjects) * plan.per_anatomy).reshape(len(subjects), -1)
    )
    with atomic_folder(folder) as draft:
        cases = []
        for (subject, path), row in zip(subjects.items(), seeds, strict=True):
            for repetition, seed in enumerate(row, start=1):
                if report is not None:
                    report(f"making head {repetition} of {plan.per_anatomy} of {subject}")
                synthesis = Synthesis(int(seed), plan.shell_mm, plan.merge)
                cases.append(_make_case(path, draft, subject, str(repetition), (splits[subject], synthesis)))
        text = format_manifest(
            _manifest(cases, plan, len(subjects)), f"SYNTHETIC heads, made with the seed {plan.seed}."
        )
        (draft / MANIFEST).write_text(text, encoding="utf-8", newline="\n")
    path = folder / MANIFEST
    return Cohort(str(path), path, parse_manifest(text, str(path)))


def _make_case(labels: Path, folder: Path, subject: str, visit: str, how: tuple[Split, Synthesis]) -> CaseEntry:
    split, synthesis = how
    volume, mask = synthesise(read_reference(labels, {}), synthesis)
    image, reference = (folder / subject / f"{visit}_{SEQUENCE}{end}.nii.gz" for end in ("", "_labels"))
    image.parent.mkdir(exist_ok=True)
    write_image(volume, image, DESCRIPTION)
    write_mask(mask, volume, reference, DESCRIPTION)
    return CaseEntry(
        subject=subject,
        visit=visit,
        split=split,
        inputs={SEQUENCE: _entry(image, folder)},
        reference=_entry(reference, folder),
    )


def _entry(path: Path, folder: Path) -> FileEntry:
    return FileEntry(source=path.relative_to(folder).as_posix(), sha256=sha256_of(path))


def _manifest(cases: Sequence[CaseEntry], plan: SyntheticPlan, subjects: int) -> CohortManifest:
    return CohortManifest(
        name=plan.name,
        title=f"SYNTHETIC: {len(cases)} heads made of {subjects} label maps",
        licence="that of the label maps",
        citation="Contrast synthesis after Billot et al., Medical Image Analysis 86 (2023) 102789 (SynthSeg)",
        synthetic=True,
        sequences=(SEQUENCE,),
        cases=tuple(cases),
    )
