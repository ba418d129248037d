"""Which images of a dataset a model takes, by what it says of its sequences; nothing is guessed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Final

from brain_edge.errors import InputError, UsageError
from brain_edge.jobs.batch import UnplannedCase
from brain_edge.jobs.bids.dataset import ANAT, listed
from brain_edge.jobs.bids.name import SESSION, SUBJECT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from brain_edge.jobs.bids.dataset import BidsImage
    from brain_edge.jobs.bids.name import Entities
    from brain_edge.spec import ModelSpec


@dataclass(frozen=True)
class ImageType:
    """A kind of image that a model can take, as BIDS names it.

    Attributes:
        suffix: of the file name.
        contrast: whether it was taken after a contrast agent, which the entity `ce-` says.
    """

    suffix: str
    contrast: bool = False

    def __str__(self) -> str:
        """As a message names it."""
        return f"ce-*_{self.suffix}" if self.contrast else self.suffix

    def fits(self, image: BidsImage) -> bool:
        """Whether an image is of this type; phase, real and imaginary parts show no anatomy."""
        entities = image.name.entities
        return (
            image.name.suffix == self.suffix
            and ("ce" in entities) == self.contrast
            and entities.get("part", "mag") == "mag"
        )


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
        left_out: images of types that the model does not take.
    """

    cases: tuple[BidsCase, ...]
    unfit: tuple[UnplannedCase, ...] = ()
    left_out: tuple[BidsImage, ...] = ()


_PHRASES: Final = re.compile(r"[,;/]|\bor\b|\band\b")
_T1C: Final = re.compile(r"t1[-_ ]?(?:w[-_ ]?)?(?:c|ce|gd|post|contrast)(?![a-z])")
_CONTRAST: Final = re.compile(r"contrast|gadolinium|enhanced|\bpost\b|\bce\b|\bgd\b")
_NO_CONTRAST: Final = re.compile(r"without|before|\bpre\b|\bno\b|\bnon\b|\bnative\b|unenhanced")
_SUFFIXES: Final = (
    (re.compile(r"flair"), "FLAIR"),
    (re.compile(r"t2(?![0-9*]|[-_ ]?star)"), "T2w"),
    (re.compile(r"t1(?![0-9])"), "T1w"),
    (re.compile(r"\bpdw?\b|proton"), "PDw"),
)
"""The first one that occurs in a phrase decides: "T2-FLAIR" is a FLAIR."""


def types_in(text: str) -> tuple[ImageType, ...]:
    """The types that a text names: `T1w, T1w after contrast, T2w or FLAIR` names four, `T1c` one."""
    found = [_type_of(phrase) for phrase in _PHRASES.split(text.lower())]
    return tuple(dict.fromkeys(kind for kind in found if kind is not None))


def declared_types(spec: ModelSpec) -> dict[str, tuple[ImageType, ...]]:
    """The types that a model itself says of its sequences; none where it is silent."""
    return {sequence.name: types_in(sequence.description) or types_in(sequence.name) for sequence in spec.inputs}


def types_of(spec: ModelSpec, given: Iterable[tuple[str | None, str]] = ()) -> dict[str, tuple[ImageType, ...]]:
    """The types of image that each sequence of a model may be.

    Args:
        spec: of the model; the description of a sequence counts, or else its name.
        given: name of a sequence (None for the only one) and a type that the user says instead.

    Raises:
        UsageError: a sequence of which nothing is known, one the model does not have, or a type that is none.
    """
    types = {**declared_types(spec), **_said(spec, given)}
    for name, kinds in types.items():
        if not kinds:
            raise UsageError(
                f"{spec.name} does not say of which type its sequence {name} is; say it: --sequence {name}=T1w, for one"
            )
    return types


def choose(types: Mapping[str, tuple[ImageType, ...]], images: Sequence[BidsImage], where: Path) -> Choice:
    """The cases of a model in a dataset.

    A model of one sequence makes a case of every image that it takes. A model of several takes one image for
    each sequence in a visit (a session, or a subject without sessions); a visit that has none of them is no case.

    Args:
        types: see `types_of`.
        images: in the order of visits, as `find_images` gives them.
        where: the dataset, for messages.

    Raises:
        InputError: there is no image that the model takes.
    """
    taken = [image for image in images if any(kind.fits(image) for kinds in types.values() for kind in kinds)]
    if not taken:
        wanted = ", ".join(dict.fromkeys(str(kind) for kinds in types.values() for kind in kinds))
        found = (ImageType(image.name.suffix, contrast="ce" in image.name.entities) for image in images)
        there = tuple(dict.fromkeys(map(str, found)))
        raise InputError(
            f"{where}: expected images of the type {wanted} in the folders {ANAT} of the chosen subjects and sessions, "
            f"there {'are only' if there else 'is'} {listed(there)}; choose others, or another model"
        )
    left_out = tuple(image for image in images if image not in taken)
    if len(types) == 1:
        (name,) = types
        return Choice(tuple(BidsCase({name: image}) for image in taken), left_out=left_out)
    visits = [_visit_case(types, list(group)) for _, group in groupby(taken, key=visit_of)]
    cases = tuple(visit for visit in visits if isinstance(visit, BidsCase))
    return Choice(cases, tuple(visit for visit in visits if isinstance(visit, UnplannedCase)), left_out)


def visit_of(image: BidsImage) -> str:
    """`sub-01/ses-1`, or `sub-01` without sessions."""
    entities = image.name.entities
    return "/".join(f"{key}-{entities[key]}" for key in (SUBJECT, SESSION) if key in entities)


def _said(spec: ModelSpec, given: Iterable[tuple[str | None, str]]) -> dict[str, tuple[ImageType, ...]]:
    names = [sequence.name for sequence in spec.inputs]
    said: dict[str, tuple[ImageType, ...]] = {}
    for given_name, text in given:
        name = given_name or (names[0] if len(names) == 1 else None)
        if name not in names:
            raise UsageError(
                f"{spec.name} takes {', '.join(names)}; say for which one of them {text} is: {names[0]}={text}, for one"
            )
        kinds = types_in(text)
        if not kinds:
            raise UsageError(f"expected a type of image (T1w, T1c after contrast, T2w, PDw, FLAIR), got {text!r}")
        said[name] = (*said.get(name, ()), *kinds)
    return said


def _type_of(phrase: str) -> ImageType | None:
    suffix = next((suffix for pattern, suffix in _SUFFIXES if pattern.search(phrase)), None)
    if suffix is None:
        return None
    enhanced = _T1C.search(phrase) or _CONTRAST.search(phrase)
    return ImageType(suffix, contrast=bool(enhanced) and not _NO_CONTRAST.search(phrase))


def _visit_case(types: Mapping[str, tuple[ImageType, ...]], images: Sequence[BidsImage]) -> BidsCase | UnplannedCase:
    found = {
        name: [image for image in images if any(kind.fits(image) for kind in kinds)] for name, kinds in types.items()
    }
    problems = list(_problems(types, found))
    if problems:
        inputs = {name: fitting[0].path for name, fitting in found.items() if fitting}
        visit = visit_of(images[0])
        return UnplannedCase(visit.replace("/", "_"), inputs, InputError(f"{visit}: {'; '.join(problems)}"))
    return BidsCase({name: fitting[0] for name, fitting in found.items()})


def _problems(types: Mapping[str, tuple[ImageType, ...]], found: Mapping[str, Sequence[BidsImage]]) -> Iterator[str]:
    for name, fitting in found.items():
        wanted = " or ".join(map(str, types[name]))
        if not fitting:
            yield f"expected an image for the sequence {name} ({wanted}), there is none"
        elif len(fitting) > 1:
            names = ", ".join(image.path.name for image in fitting)
            yield f"expected one image for the sequence {name} ({wanted}), got {len(fitting)}: {names}"
