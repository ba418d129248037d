"""File names of BIDS: entities (`sub-01`), a suffix (`T1w`) and an extension."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Final, TypeAlias

from brain_edge.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

Entities: TypeAlias = "Mapping[str, str]"

SUBJECT: Final = "sub"
SESSION: Final = "ses"

TABLES: Final = tomllib.loads(files("brain_edge.jobs.bids").joinpath("tables.toml").read_text(encoding="utf-8"))
"""Tables of BIDS; the file names their version."""
ENTITY_ORDER: Final = tuple(TABLES["entity_order"])
RAW_ENTITIES: Final = frozenset(ENTITY_ORDER) - {"space", "seg", "desc"}
"""Entities that the name of a raw anatomical image can have (`rules.files.raw.anat`)."""

RAW_SUFFIXES: Final = frozenset(TABLES["raw_suffixes"])
IMAGE_EXTENSIONS: Final = (".nii.gz", ".nii")

_INDICES: Final = frozenset({"run", "echo", "flip", "inv", "chunk"})
_LABEL: Final = re.compile(r"[0-9A-Za-z+]+")
_INDEX: Final = re.compile(r"[0-9]+")


@dataclass(frozen=True)
class BidsName:
    """Name of one file.

    Attributes:
        entities: value by key, in the order of BIDS.
        suffix: kind of the file, such as `T1w` or `mask`.
        extension: extension with its point, or "".
    """

    entities: Entities
    suffix: str
    extension: str = ""

    def __str__(self) -> str:
        """Return the name as it is on disk."""
        chain = [f"{key}-{value}" for key, value in self.entities.items()]
        return "_".join((*chain, self.suffix)) + self.extension


def is_image_name(name: str) -> bool:
    """Return True if the extension is that of an image and the file is not hidden."""
    return name.endswith(IMAGE_EXTENSIONS) and not name.startswith(".")


def is_label(text: str) -> bool:
    """Return True if the text can be the value of an entity."""
    return _LABEL.fullmatch(text) is not None


def in_order(entities: Entities) -> dict[str, str]:
    """Return the entities in the order that BIDS prescribes."""
    return {key: entities[key] for key in sorted(entities, key=ENTITY_ORDER.index)}


def parse_raw_name(text: str) -> BidsName:
    """Parse the name of a raw anatomical image strictly.

    Raises:
        InputError: the name does not follow BIDS; the message begins with the name.
    """
    extension = next((ending for ending in IMAGE_EXTENSIONS if text.endswith(ending)), "")
    *chain, suffix = text.removesuffix(extension).split("_")
    if suffix not in RAW_SUFFIXES:
        raise InputError(f"{text}: {suffix!r} is not a suffix of an anatomical image{_meant(suffix)}")
    pairs = [_pair(text, part) for part in chain]
    keys = [key for key, _ in pairs]
    if keys[:1] != [SUBJECT]:
        raise InputError(f"{text}: expected a name that begins with sub-")
    if repeated := sorted({key for key in keys if keys.count(key) > 1}):
        raise InputError(f"{text}: expected each entity once, got {repeated[0]!r} twice")
    entities = dict(pairs)
    if list(in_order(entities)) != keys:
        raise InputError(f"{text}: expected the entities in the order {', '.join(in_order(entities))}")
    return BidsName(entities, suffix, extension)


def _pair(text: str, part: str) -> tuple[str, str]:
    key, _, value = part.partition("-")
    if key not in RAW_ENTITIES:
        known = ", ".join(key for key in ENTITY_ORDER if key in RAW_ENTITIES)
        raise InputError(f"{text}: {part!r} is not an entity of a raw anatomical image ({known})")
    if key in _INDICES and not _INDEX.fullmatch(value):
        raise InputError(f"{text}: expected a number after {key}-, got {value!r}")
    if not is_label(value):
        raise InputError(f"{text}: expected letters and digits after {key}-, got {value!r}")
    return key, value


def _meant(suffix: str) -> str:
    """Return a hint with the suffix that may be meant, or an empty text."""
    plain = re.sub(r"[^a-z0-9]", "", suffix.lower())
    close = next((known for known in sorted(RAW_SUFFIXES) if known.lower() in (plain, f"{plain}w")), None)
    return f"; perhaps {close} is meant" if close else ""
