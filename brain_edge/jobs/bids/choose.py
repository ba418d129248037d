"""Which images of a dataset a model takes, by the contrasts that it states; nothing is guessed."""

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

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from brain_edge.jobs.bids.dataset import BidsImage
    from brain_edge.jobs.bids.name import Entities
    from brain_edge.spec import ModelSpec


@dataclass(frozen=True)
class BidsCase:
    """What one mask is made of.

    Attributes:
        images: by name of the sequence, in the order of the model; the first one gives the grid.
    """

    images: Mapping[str, BidsImage]

    @property
    def reference(self) -> BidsImage:
        """The image that gives the grid."""
        return next(iter(self.images.values()))

    @property
    def entities(self) -> Entities:
        """What the names of all its images have in common."""
        names = [image.name.entities for image in self.images.values()]
        return {key: value for key, value in names[0].items() if all(other.get(key) == value for other in names)}

    def inputs(self) -> dict[str, Path]:
        """Path by name of the sequence."""
        return {name: image.path for name, image in self.images.items()}


@dataclass(frozen=True)
class Choice:
    """What a model makes of the images of a dataset.

    Attributes:
        cases: one mask each.
        unfit: visits that have some of the sequences of a model, but not exactly one of each.
        left_out: images of contrasts that the model does not take.
    """

    cases: tuple[BidsCase, ...]
    unfit: tuple[UnplannedCase, ...] = ()
    left_out: tuple[BidsImage, ...] = ()


def contrasts_of(spec: ModelSpec, given: Iterable[tuple[str | None, str]] = ()) -> dict[str, tuple[Contrast, ...]]:
    """The contrasts that each sequence of a model may have.

    Args:
        spec: of the model.
        given: name of a sequence (None for the only one) and a contrast that the user says instead.

    Raises:
        UsageError: a sequence that states none, one the model does not have, or a contrast that is none.
    """
    contrasts = {**spec.contrasts, **_said(spec, given)}
    for name, kinds in contrasts.items():
        if not kinds:
            raise UsageError(
                f"{spec.name} does not state the contrast of its sequence {name}; "
                f"say it: --sequence {name}=T1w, for one"
            )
    return contrasts


def contrast_of(image: BidsImage) -> Contrast:
    """The contrast that the name of an image says; that of parts and maps, which show no anatomy, is another one."""
    found = in_file_name(image.path.name.removesuffix(image.name.extension))
    return found.contrast or Contrast.OTHER if found else Contrast.OTHER


def choose(contrasts: Mapping[str, tuple[Contrast, ...]], images: Sequence[BidsImage], where: Path) -> Choice:
    """The cases of a model in a dataset.

    A model of one sequence makes a case of every image that it takes. A model of several takes one image for
    each sequence in a visit (a session, or a subject without sessions); a visit that has none of them is no case.

    Args:
        contrasts: see `contrasts_of`.
        images: in the order of visits, as `find_images` gives them.
        where: the dataset, for messages.

    Raises:
        InputError: there is no image that the model takes.
    """
    taken = [image for image in images if any(takes(kinds, contrast_of(image)) for kinds in contrasts.values())]
    if not taken:
        wanted = ", ".join(dict.fromkeys(kind for kinds in contrasts.values() for kind in kinds))
        there = tuple(dict.fromkeys(map(contrast_of, images)))
        raise InputError(
            f"{where}: expected images of the contrast {wanted} in the folders {ANAT} of the chosen subjects and "
            f"sessions, there {'are only' if there else 'is'} {listed(there)}; choose others, or another model"
        )
    left_out = tuple(image for image in images if image not in taken)
    if len(contrasts) == 1:
        (name,) = contrasts
        return Choice(tuple(BidsCase({name: image}) for image in taken), left_out=left_out)
    visits = [_visit_case(contrasts, list(group)) for _, group in groupby(taken, key=visit_of)]
    cases = tuple(visit for visit in visits if isinstance(visit, BidsCase))
    return Choice(cases, tuple(visit for visit in visits if isinstance(visit, UnplannedCase)), left_out)


def visit_of(image: BidsImage) -> str:
    """`sub-01/ses-1`, or `sub-01` without sessions."""
    entities = image.name.entities
    return "/".join(f"{key}-{entities[key]}" for key in (SUBJECT, SESSION) if key in entities)


def _said(spec: ModelSpec, given: Iterable[tuple[str | None, str]]) -> dict[str, tuple[Contrast, ...]]:
    said: dict[str, tuple[Contrast, ...]] = {}
    for given_name, text in given:
        name, contrast = meant_sequence(given_name, "contrast", text, spec), named(text)
        if contrast is None:
            raise UsageError(f"expected a contrast ({NAMES}), got {text!r}")
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
            yield f"expected an image for the sequence {name} ({wanted}), there is none"
        elif len(fitting) > 1:
            names = ", ".join(image.path.name for image in fitting)
            yield f"expected one image for the sequence {name} ({wanted}), got {len(fitting)}: {names}"
