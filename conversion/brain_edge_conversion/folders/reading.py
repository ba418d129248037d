"""Reader for JSON and YAML files of other programs, and for the names in them."""

from __future__ import annotations

import itertools
import math
import re
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from brain_edge.errors import InputError
from brain_edge.image.contrast import Contrast
from brain_edge.io.contrast_words import in_file_name
from brain_edge.machine.json import convert_plain, decode_json, unforeseen
from brain_edge.machine.paths import read_small

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Kind = TypeVar("Kind")
MOST_VALUES: Final = 100_000
"""Largest number of values in a configuration after references; a few lines that refer to each other can give more."""


def read_json(path: Path, kind: type[Kind], made_by: str) -> Kind:
    """Read a JSON file as a type.

    Raises:
        InputError: the file is missing, is no JSON, or does not have the content that `made_by` writes.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such file, which {made_by} writes; copy the whole folder")
    try:
        return convert_plain(decode_json(read_small(path), object), kind)
    except msgspec.DecodeError as error:
        raise InputError(
            f"{path}: expected a file in the format of {made_by}, got another ({error}); copy the whole folder again"
        ) from error


def read_yaml(path: Path, made_by: str) -> Any:
    """Read a YAML file as plain data; a tag that would build an object is refused.

    Raises:
        InputError: the file is missing, or is no YAML.
    """
    import yaml

    if not path.is_file():
        raise InputError(f"{path}: there is no such file, which {made_by} writes; copy the whole folder")
    try:
        loader = yaml.SafeLoader(read_small(path))
        root = loader.get_single_node()
        size = _values(root, {})
        # aliases in merges (<<) are copied while plain data are made, so the nodes are counted before
        content = loader.construct_document(root) if root is not None and size <= MOST_VALUES else None
    except InputError:
        raise
    except Exception as error:  # yaml's constructors raise anything on malformed dates, numbers and booleans
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path}: expected a file in the format of {made_by}, got another ({reason}); copy the whole folder again"
        ) from error
    if size > MOST_VALUES:
        raise InputError(
            f"{path}: expected at most {MOST_VALUES} values, got more (YAML aliases repeat them); write the file "
            "without aliases"
        )
    if problem := unforeseen(content):
        raise InputError(
            f"{path}: expected a file in the format of {made_by}, got {problem}; copy the whole folder again"
        )
    return content


def _values(node: Any, known: dict[int, float]) -> float:
    """Count the values of a node with its aliases written out; infinite if the node contains itself."""
    if node is None or isinstance(node.value, str):
        return 1
    if id(node) not in known:
        known[id(node)] = math.inf  # while it is counted
        parts = itertools.chain.from_iterable(each if isinstance(each, tuple) else (each,) for each in node.value)
        known[id(node)] = 1 + sum(_values(each, known) for each in parts)
    return known[id(node)]


def as_type(value: Any, kind: type[Kind], path: Path, made_by: str) -> Kind:
    """Convert a part of a JSON file to a type.

    Raises:
        InputError: the part is not understood here.
    """
    try:
        return convert_plain(value, kind)
    except msgspec.ValidationError as error:
        raise InputError(
            f"{path}: expected a file in the format of {made_by}, got another ({error}); copy the whole folder again"
        ) from error


def plain_names(names: Sequence[str], instead: str) -> list[str]:
    """Replace forbidden characters in names by `_`; an empty or repeated name becomes `instead` and a number."""
    plain: list[str] = []
    for number, name in enumerate(names):
        cleaned = re.sub(r"[^A-Za-z0-9.+-]+", "_", name).strip("_.+-")[:64]
        plain.append(cleaned if cleaned and cleaned not in plain else f"{instead}{number}")
    return plain


def stated(text: str) -> tuple[Contrast, ...] | UnsetType:
    """Return the contrast in a channel's name ("T1ce", "T2-weighted"); unset if the name states none."""
    found = in_file_name(text)
    contrast = None if found is None else found.contrast
    return UNSET if contrast is None or contrast is Contrast.OTHER else (contrast,)
