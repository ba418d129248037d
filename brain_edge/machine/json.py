"""Decoder of untrusted JSON, with one error for every fault."""

from __future__ import annotations

from codecs import BOM_UTF8
from typing import Any, Final, TypeVar

import msgspec

Kind = TypeVar("Kind")
MOST_BITS: Final = 1023
MOST_LEVELS: Final = 64
"""Of lists and mappings in each other, where no type says it: whoever goes through more meets Python's own limit."""


def decode_json(content: bytes, kind: type[Kind]) -> Kind:
    """Decode JSON in UTF-8, with or without a byte order mark, as a type (`object` for any).

    Raises:
        msgspec.DecodeError: the JSON is damaged, nested too deeply, not UTF-8, or of another type.
    """
    try:
        found = msgspec.json.decode(content.removeprefix(BOM_UTF8), type=kind)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from error
    if kind is object and (problem := unforeseen(found)):
        raise msgspec.DecodeError(problem)
    return found


def unforeseen(value: object) -> str:
    """Name what makes plain data unreadable: nested levels, a number beyond floats; empty text for sound data."""
    level: list[Any] = [value]
    for _ in range(MOST_LEVELS + 1):
        if any(isinstance(each, int) and each.bit_length() > MOST_BITS for each in level):
            return "a number too large for a float"
        level = [each for each in level if isinstance(each, dict | list)]
        level = [each for held in level for each in (held.values() if isinstance(held, dict) else held)]
    return f"lists and mappings more than {MOST_LEVELS} levels deep" if level else ""
