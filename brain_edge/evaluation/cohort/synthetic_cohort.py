"""Write a whole cohort of synthetic heads from label maps: images, reference masks and a manifest that says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from brain_edge.errors import InputError, UsageError
from brain_edge.evaluation.cohort.cases import Cohort
from brain_edge.evaluation.cohort.create import assign_splits
from brain_edge.evaluation.cohort.generated import those_like
from brain_edge.evaluation.cohort.manifest import CaseEntry, CohortManifest, FileEntry, Split, parse_manifest
from brain_edge.evaluation.cohort.reference import read_reference
from brain_edge.evaluation.cohort.synthesize import Synthesis, synthesize
from brain_edge.evaluation.cohort.toml import format_manifest
from brain_edge.io.nifti import write_image, write_mask
from brain_edge.machine.atomic_folder import atomic_folder
from brain_edge.package.digest import sha256_of
from brain_edge.package.trained import require_trained

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from brain_edge.deploy.fetch import Report
    from brain_edge.evaluation.cohort.generated import Generator
    from brain_edge.image.volume import Mask, Volume

SEQUENCE: Final = "synthetic"
MANIFEST: Final = "cohort.toml"
DESCRIPTION: Final = "SYNTHETIC, made by brain-edge"
CITATION: Final = "Contrast synthesis after Billot et al., Medical Image Analysis 86 (2023) 102789 (SynthSeg)"


@dataclass(frozen=True, kw_only=True)
class SyntheticPlan:
    """What to make.

    Attributes:
        name: of the cohort: letters, digits and `_.+-`.
        per_anatomy: heads made of each label map.
        seed: another seed, other heads and another split.
        shell_mm, merge: as in `Synthesis`.
        generator: paints the label maps in place of drawn contrasts, the same way each time; None: they are drawn.
        like: real label maps, of which the paper's filter makes the measure (`brain_edge.evaluation.cohort.typical`).
        allow_untrained: a generator with random weights will do, for tests of the plumbing; the cohort says so.

    Raises:
        UsageError: fewer than one head; with a generator more than one; without one, maps to compare
            with.
        WeightsError: a generator with random weights that was not asked for.
    """

    name: str
    per_anatomy: int = 2
    seed: int = 0
    shell_mm: float = 12.0
    merge: bool = False
    generator: Generator | None = None
    like: tuple[Path, ...] = ()
    allow_untrained: bool = False

    def __post_init__(self) -> None:
        if self.per_anatomy < 1:
            raise UsageError(f"expected at least one head of each label map, got {self.per_anatomy}")
        if self.generator is None:
            if self.like:
                raise UsageError("label maps are compared with real ones as a generator sees them; name its package")
            return
        if self.per_anatomy > 1:
            raise UsageError(
                f"a generator makes the same head of a label map each time, {self.per_anatomy} were asked for; "
                "give more label maps"
            )
        if self.generator.is_untrained and not self.allow_untrained:
            require_trained(
                self.generator.package,
                "its images are noise and calibrate nothing; to test the plumbing alone, say --allow-untrained",
            )

    @property
    def is_plumbing(self) -> bool:
        """Whether the heads are noise."""
        return self.generator is not None and self.generator.is_untrained


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
        UsageError: the folder exists already.
        OutputError: the folder cannot be written.
    """
    if plan.generator is not None and plan.like:
        maps = those_like(plan.like, maps, plan.generator, report)
    subjects = {f"synthetic-{number:02d}": path for number, path in enumerate(maps, start=1)}
    splits = assign_splits(dict.fromkeys(subjects, True), plan.seed, folder)
    seeds = (
        np.random.SeedSequence(plan.seed).generate_state(len(subjects) * plan.per_anatomy).reshape(len(subjects), -1)
    )
    description = DESCRIPTION if plan.generator is None else plan.generator.description
    with atomic_folder(folder) as draft:
        cases = []
        for (subject, path), row in zip(subjects.items(), seeds, strict=True):
            for repetition, seed in enumerate(row, start=1):
                if report is not None:
                    report(f"making head {repetition} of {plan.per_anatomy} of {subject}")
                entry = _Place(draft, subject, str(repetition), splits[subject])
                cases.append(_write_case(*_made(path, int(seed), plan), entry, description))
        text = format_manifest(
            _manifest(cases, plan, len(subjects)), f"SYNTHETIC heads, made with the seed {plan.seed}."
        )
        (draft / MANIFEST).write_text(text, encoding="utf-8", newline="\n")
    path = folder / MANIFEST
    return Cohort(str(path), path, parse_manifest(text, str(path)))


@dataclass(frozen=True)
class _Place:
    """Where a case goes."""

    folder: Path
    subject: str
    visit: str
    split: Split


def _made(labels: Path, seed: int, plan: SyntheticPlan) -> tuple[Volume, Mask]:
    """A head of a label map: painted where there is a generator, else drawn."""
    tissues = read_reference(labels, {})
    try:
        if plan.generator is not None:
            return plan.generator.head(tissues, merge=plan.merge)
        return synthesize(tissues, Synthesis(seed, plan.shell_mm, plan.merge))
    except InputError as error:
        # what is made of voxels does not know their file
        raise InputError(f"{labels}: {error}") from error


def _write_case(volume: Volume, mask: Mask, place: _Place, description: str) -> CaseEntry:
    folder = place.folder / place.subject
    image, reference = (folder / f"{place.visit}_{SEQUENCE}{end}.nii.gz" for end in ("", "_labels"))
    folder.mkdir(exist_ok=True)
    write_image(volume, image, description)
    write_mask(mask, volume, reference, description)
    return CaseEntry(
        subject=place.subject,
        visit=place.visit,
        split=place.split,
        inputs={SEQUENCE: _entry(image, place.folder)},
        reference=_entry(reference, place.folder),
    )


def _entry(path: Path, folder: Path) -> FileEntry:
    return FileEntry(source=path.relative_to(folder).as_posix(), sha256=sha256_of(path))


def _manifest(cases: Sequence[CaseEntry], plan: SyntheticPlan, subjects: int) -> CohortManifest:
    noise = "NOISE OF RANDOM WEIGHTS, " if plan.is_plumbing else ""
    title = f"SYNTHETIC: {noise}{len(cases)} heads made of {subjects} label maps"
    citation = CITATION
    if plan.generator is not None:
        manifest = plan.generator.package.manifest
        title = f"{title} by {manifest.spec.name}, package {plan.generator.package.digest[:16]}"
        citation = manifest.card.citation
    return CohortManifest(
        name=plan.name,
        title=title,
        licence="that of the label maps",
        citation=citation,
        demo=plan.is_plumbing,  # so that no record made with it passes for one of patients
        synthetic=True,
        sequences=(SEQUENCE,),
        cases=tuple(cases),
    )
