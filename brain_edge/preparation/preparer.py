"""Preparation of a study: what is missing is done, once, and what is there already stays as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from brain_edge.errors import BrainEdgeError, UsageError
from brain_edge.preparation.checks import require_volumes
from brain_edge.preparation.parts import Part, missing_parts, reference_of
from brain_edge.preparation.prepared import Prepared, require_grid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from brain_edge.image.contrast import Contrast
    from brain_edge.image.volume import Mask, Study, Volume
    from brain_edge.spec.plausibility import Flag
    from brain_edge.spec.preparation import Preparation


class Stripper(Protocol):
    """A skull-stripper that is ready to run."""

    @property
    def name(self) -> str:
        """Name of its model."""

    @property
    def digest(self) -> str:
        """Digest of its package."""

    @property
    def contrasts(self) -> tuple[Contrast, ...]:
        """Contrasts that it was made for; empty if not stated."""

    def __call__(self, volume: Volume) -> tuple[Mask, tuple[Flag, ...]]:
        """Return the brain of an image on its own grid, and doubtful findings."""


@dataclass(frozen=True, eq=False)
class Preparer:
    """A preparation that is ready to run.

    Attributes:
        preparation: preparation of the model.
        contrasts: contrasts of each sequence that the model takes.
        threads: number of threads of the registration.
        stripper: stage 0; None if there is none.
        shown: sequence in which stage 0 finds the brain; None for the reference.
        atlas: file of the atlas; None for no file, which refuses a study that is to be registered to it.
        kept: folder of studies that were prepared already; None keeps nothing.
    """

    preparation: Preparation
    contrasts: Mapping[str, tuple[Contrast, ...]]
    threads: int
    stripper: Stripper | None = None
    shown: str | None = None
    atlas: Path | None = None
    kept: Path | None = None

    def __call__(self, study: Study) -> Prepared:
        """Return the study as the network wants it; the same images where nothing is missing.

        Raises:
            InputError: the reference is missing, an image cannot be used, or a registration is outside of its limits.
            UsageError: the skull is to be removed, and no skull-stripper is named.
            MissingExtraError: images are to be registered, and the library is not installed.
            ImplausibleError: stage 0 found no brain.
        """
        reference_of(study, self.preparation)
        missing = missing_parts(study, self.preparation)
        if not missing:
            return Prepared(study, study)
        self.require(missing)
        require_volumes(study)
        from brain_edge.preparation.work import prepare

        return prepare(self, study, missing)

    def registers(self, study: Study) -> bool:
        """Return True if the sequences of a study do not yet lie over each other by their grids."""
        return Part.SEQUENCES in missing_parts(study, self.preparation)

    def require(self, missing: tuple[Part, ...]) -> None:
        """Refuse, before any work, parts that cannot be done here.

        Raises:
            UsageError: no skull-stripper is named.
            MissingExtraError: the library of the registration is not installed.
        """
        if Part.SKULL in missing and self.stripper is None:
            raise UsageError(
                "expected images without a skull, or a skull-stripper that removes it, got a head with its skull and "
                "no skull-stripper; give --stage-zero PKG"
            )
        if Part.SEQUENCES in missing or Part.ATLAS in missing:
            from brain_edge.registration.library import import_simpleitk

            import_simpleitk()

    def require_grid(self, study: Study, name: str) -> None:
        """Refuse the name of a grid that a mask of this study cannot have.

        Raises:
            UsageError: the name is neither a sequence of the study nor `atlas`.
        """
        require_grid(study, name)

    def brain_sequence(self, study: Study) -> str:
        """Return the sequence in which stage 0 finds the brain."""
        return self.shown if self.shown in study.volumes and self.shown else reference_of(study, self.preparation)


def require_stripper(preparation: Preparation, reads: Iterable[Callable[[], Study]]) -> None:
    """Refuse studies, before any work, if there is no skull-stripper and the first study shows a skull.

    Args:
        preparation: preparation of the studies.
        reads: function that reads each study; a study that is refused by itself is left to its turn.

    Raises:
        UsageError: the study shows a skull.
        MissingExtraError: the library of the registration is not installed.
    """
    for read in reads if preparation.removes_skull else ():
        try:
            missing = missing_parts(read(), preparation)
        except BrainEdgeError:
            continue  # its turn comes, and tells the reason
        Preparer(preparation, {}, 1).require(missing)
        return
