"""Choose the images of a dataset that a model takes, by the contrasts that the model states; nothing is guessed."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from brain_edge.errors import InputError, UsageError
from brain_edge.image.contrast import NAMES, Contrast, takes
from brain_edge.io.contrast_words import in_file_name, named
from brain_edge.jobs.batch import UnplannedCase
from brain_edge.jobs.bids.dataset import ANAT, listed
from brain_edge.jobs.bids.name import SESSION, SUBJECT
from brain_edge.jobs.case import meant_sequence
from brain_edge.machine.nearest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from brain_edge.jobs.bids.dataset import BidsImage
    from brain_edge.jobs.bids.name import Entities
    from brain_edge.spec import ModelSpec


@dataclass(frozen=True)
class BidsCase:
    """Images of one mask.

    Attributes:
        images: image per sequence, in the order of the model; the first image gives the grid.
    """

    images: Mapping[str, BidsImage]

    @property
    def reference(self) -> BidsImage:
        """Image that gives the grid."""
        return next(iter(self.images.values()))

    @property
    def entities(self) -> Entities:
        """Entities that the names of all images have in common."""
        names = [image.name.entities for image in self.images.values()]
        return {key: value for key, value in names[0].items() if all(other.get(key) == value for other in names)}

    def inputs(self) -> dict[str, Path]:
        """Return the path per sequence."""
        return {name: image.path for name, image in self.images.items()}


@dataclass(frozen=True)
class Choice:
    """Choice among the images of a dataset.

    Attributes:
        cases: cases, one mask each.
        unfit: visits with some sequences of the model, but not exactly one image of each.
        left_out: images of contrasts that the model does not take.
    """

    cases: tuple[BidsCase, ...]
    unfit: tuple[UnplannedCase, ...] = ()
    left_out: tuple[BidsImage, ...] = ()


def contrasts_of(spec: ModelSpec, given: Iterable[tuple[str | None, str]] = ()) -> dict[str, tuple[Contrast, ...]]:
    """Return the contrasts that each sequence of a model may have.

    Args:
        spec: specification of the model.
        given: pairs of a sequence (None for the only sequence) and a contrast that replaces the model's.

    Raises:
        UsageError: a sequence without a stated contrast, a sequence unknown to the model, or an unknown contrast.
    """
    contrasts = {**spec.contrasts, **_said(spec, given)}
    for name, kinds in contrasts.items():
        if not kinds:
            raise UsageError(
                f"{spec.name} does not state the contrast of its sequence {name}; "
                f"give it, for example --sequence {name}=T1w"
            )
    return contrasts


def contrast_of(image: BidsImage) -> Contrast:
    """Return the contrast in the name of an image; parts and maps, which show no anatomy, have `Contrast.OTHER`."""
    found = in_file_name(image.path.name.removesuffix(image.name.extension))
    return found.contrast or Contrast.OTHER if found else Contrast.OTHER


def choose(contrasts: Mapping[str, tuple[Contrast, ...]], images: Sequence[BidsImage], where: Path) -> Choice:
    """Choose the cases of a model in a dataset.

    For a model of one sequence, each image that it takes is a case. For a model of several sequences, a case is a visit
    (a session, or a subject without sessions) with one image per sequence; a visit without any such image is no case.

    Args:
        contrasts: contrasts of each sequence, from `contrasts_of`.
        images: images in the order of visits, from `find_images`.
        where: folder of the dataset, for messages.

    Raises:
        InputError: the model takes no image of the dataset.
    """
    taken = [image for image in images if any(takes(kinds, contrast_of(image)) for kinds in contrasts.values())]
    if not taken:
        wanted = ", ".join(dict.fromkeys(kind for kinds in contrasts.values() for kind in kinds))
        there = tuple(dict.fromkeys(map(contrast_of, images)))
        raise InputError(
            f"{where}: expected images of the contrast {wanted} in the {ANAT} folders of the chosen subjects and "
            f"sessions, got {'only ' if there else ''}{listed(there)}; choose others, or another model"
        )
    left_out = tuple(image for image in images if image not in taken)
    if len(contrasts) == 1:
        (name,) = contrasts
        return Choice(tuple(BidsCase({name: image}) for image in taken), left_out=left_out)
    visits = [_visit_case(contrasts, list(group)) for _, group in groupby(taken, key=visit_of)]
    cases = tuple(visit for visit in visits if isinstance(visit, BidsCase))
    return Choice(cases, tuple(visit for visit in visits if isinstance(visit, UnplannedCase)), left_out)


def visit_of(image: BidsImage) -> str:
    """Return the visit of an image: `sub-01/ses-1`, or `sub-01` without sessions."""
    entities = image.name.entities
    return "/".join(f"{key}-{entities[key]}" for key in (SUBJECT, SESSION) if key in entities)


def _said(spec: ModelSpec, given: Iterable[tuple[str | None, str]]) -> dict[str, tuple[Contrast, ...]]:
    said: dict[str, tuple[Contrast, ...]] = {}
    for given_name, text in given:
        name, contrast = meant_sequence(given_name, "contrast", text, spec), named(text)
        if contrast is None:
            raise UsageError(f"expected a contrast ({NAMES}), got {text!r}{did_you_mean(text, Contrast)}")
        said[name] = (*said.get(name, ()), contrast)
    return said


def _visit_case(contrasts: Mapping[str, tuple[Contrast, ...]], images: Sequence[BidsImage]) -> BidsCase | UnplannedCase:
    found = {name: [image for image in images if takes(kinds, contrast_of(image))] for name, kinds in contrasts.items()}
    problems = list(_problems(contrasts, found))
    if problems:
        inputs = {name: fitting[0].path for name, fitting in found.items() if fitting}
        visit = visit_of(images[0])
        return UnplannedCase(visit.replace("/", "_"), inputs, InputError(f"{visit}: {'; '.join(problems)}"))
    return BidsCase({name: fitting[0] for name, fitting in found.items()})


def _problems(contrasts: Mapping[str, tuple[Contrast, ...]], found: Mapping[str, Sequence[BidsImage]]) -> Iterator[str]:
    for name, fitting in found.items():
        wanted = " or ".join(contrasts[name])
        if not fitting:
            yield f"expected an image for the sequence {name} ({wanted}), got none"
        elif len(fitting) > 1:
            names = ", ".join(image.path.name for image in fitting)
            yield f"expected one image for the sequence {name} ({wanted}), got {len(fitting)}: {names}"
