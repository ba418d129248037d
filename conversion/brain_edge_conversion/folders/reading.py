"""JSON and YAML files of other programs, and names that they give."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from brain_edge.errors import InputError
from brain_edge.image.contrast import Contrast
from brain_edge.io.contrast_words import in_file_name
from brain_edge.machine.json import decode_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Kind = TypeVar("Kind")


def read_json(path: Path, kind: type[Kind], made_by: str) -> Kind:
    """A JSON file as a type.

    Raises:
        InputError: it is missing, no JSON, or says something else than the program that makes such files.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such file, which {made_by} writes; copy the whole folder")
    try:
        return decode_json(path.read_bytes(), kind)
    except msgspec.DecodeError as error:
        raise InputError(f"{path}: expected what {made_by} writes, got something else ({error})") from error


def read_yaml(path: Path, made_by: str) -> Any:
    """A YAML file as plain data; a tag that would build an object is refused.

    Raises:
        InputError: it is missing, or no YAML.
    """
    import yaml

    if not path.is_file():
        raise InputError(f"{path}: there is no such file, which {made_by} writes; copy the whole folder")
    try:
        return yaml.safe_load(path.read_bytes())
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: expected what {made_by} writes, got something else ({reason})") from error


def as_type(value: Any, kind: type[Kind], path: Path, made_by: str) -> Kind:
    """A part of a JSON file as a type.

    Raises:
        InputError: it says something that is not understood here.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise InputError(f"{path}: expected what {made_by} writes, got something else ({error})") from error


def plain_names(names: Sequence[str], instead: str) -> list[str]:
    """The names with `_` for what none may hold here; `instead` and a number where nothing is left, or it is taken."""
    plain: list[str] = []
    for number, name in enumerate(names):
        cleaned = re.sub(r"[^A-Za-z0-9.+-]+", "_", name).strip("_.+-")[:64]
        plain.append(cleaned if cleaned and cleaned not in plain else f"{instead}{number}")
    return plain


def stated(text: str) -> tuple[Contrast, ...] | UnsetType:
    """The contrast that a channel is called by ("T1ce", "T2-weighted"); unset where its name says none."""
    found = in_file_name(text)
    contrast = None if found is None else found.contrast
    return UNSET if contrast is None or contrast is Contrast.OTHER else (contrast,)
