"""Write a cohort of synthetic heads from label maps: images, reference masks and a manifest that says "synthetic"."""

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
    """Options for making a synthetic cohort.

    Attributes:
        name: name of the cohort: letters, digits and `_.+-`.
        per_anatomy: number of heads made from each label map.
        seed: seed of the heads and of the split.
        shell_mm, merge: options of `Synthesis`.
        generator: generator that replaces drawn contrasts, always with the same result; None for drawn contrasts.
        like: real label maps that define the filter of the paper (`brain_edge.evaluation.cohort.typical`).
        allow_untrained: True to accept a generator with random weights, for tests of the plumbing; the cohort says so.

    Raises:
        UsageError: the number of heads is below one, or above one with a generator; or `like` is given without a
            generator.
        WeightsError: the generator has random weights, and `allow_untrained` is False.
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
            raise UsageError(f"expected at least one head per label map, got {self.per_anatomy}")
        if self.generator is None:
            if self.like:
                raise UsageError("--like needs a generator; name its package with --generator")
            return
        if self.per_anatomy > 1:
            raise UsageError(
                f"expected one head per label map with a generator, which always makes the same head, "
                f"got {self.per_anatomy}; give more label maps"
            )
        if self.generator.is_untrained and not self.allow_untrained:
            require_trained(
                self.generator.package,
                "its images are noise and useless for calibration; add --allow-untrained only to test the plumbing",
            )

    @property
    def is_plumbing(self) -> bool:
        """True if the heads are noise."""
        return self.generator is not None and self.generator.is_untrained


def create_synthetic_cohort(
    maps: Sequence[Path], folder: Path, plan: SyntheticPlan, report: Report | None = None
) -> Cohort:
    """Make heads from label maps, one in memory at a time, and write a cohort of them.

    Heads of one label map share an anatomy and therefore a subject: they are in one split. The cohort does not name the
    maps.

    Args:
        maps: paths of label maps, each of another person.
        folder: folder to create; it appears whole or not at all.
        plan: name, number of heads, seed and generator.
        report: function called before each head.

    Raises:
        InputError: there are too few label maps for three splits, or a map cannot be read.
        UsageError: the folder already exists.
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
    """Place of a case in the cohort."""

    folder: Path
    subject: str
    visit: str
    split: Split


def _made(labels: Path, seed: int, plan: SyntheticPlan) -> tuple[Volume, Mask]:
    """Make a head from a label map, by the generator if there is one, else with drawn contrasts."""
    tissues = read_reference(labels, {})
    try:
        if plan.generator is not None:
            return plan.generator.head(tissues, merge=plan.merge)
        return synthesize(tissues, Synthesis(seed, plan.shell_mm, plan.merge))
    except InputError as error:
        # errors about voxels do not name their file
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
