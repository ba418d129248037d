"""Decoder of untrusted JSON and of plain data into types, with one error for every fault, safe in threads.

Of both packages, only this module decodes into types. `msgspec` fills the table of a struct at its first use, and lets
other threads use the table before it is full: the process dies of a segmentation fault. Here one thread at a time makes
the tables.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from threading import Lock
from typing import Any, Final, TypeVar

import msgspec

Kind = TypeVar("Kind")
_making_tables: Final = Lock()
_decoders: Final[dict[Any, msgspec.json.Decoder[Any]]] = {}
MOST_BITS: Final = 1023
MOST_LEVELS: Final = 64
"""Of lists and mappings in each other, where no type says it: whoever goes through more meets Python's own limit."""


def decode_json(content: bytes, kind: type[Kind]) -> Kind:
    """Decode JSON in UTF-8, with or without a byte order mark, as a type (`object` for any).

    Raises:
        msgspec.DecodeError: the JSON is damaged, nested too deeply, not UTF-8, or of another type.
    """
    try:
        found = _decoder_of(kind).decode(content.removeprefix(BOM_UTF8))
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from error
    if kind is object and (problem := unforeseen(found)):
        raise msgspec.DecodeError(problem)
    return found


def decode_json_lines(content: bytes, kind: type[Kind]) -> list[Kind]:
    """Decode lines of JSON in UTF-8 as a type.

    Raises:
        msgspec.DecodeError: a line is damaged, nested too deeply, not UTF-8, or of another type.
    """
    try:
        return _decoder_of(kind).decode_lines(content)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from error


def convert_plain(value: object, kind: type[Kind]) -> Kind:
    """Convert plain data (as JSON, TOML or YAML give it) to a type.

    Raises:
        msgspec.ValidationError: the data are of another type.
    """
    _decoder_of(kind)
    return msgspec.convert(value, kind)


def _decoder_of(kind: type[Kind]) -> msgspec.json.Decoder[Kind]:
    """Return the decoder of a type, whose tables are full."""
    with _making_tables:
        if kind not in _decoders:
            _decoders[kind] = msgspec.json.Decoder(kind)
        return _decoders[kind]


def unforeseen(value: object) -> str:
    """Name what makes plain data unreadable: nested levels, a number beyond floats; empty text for sound data."""
    level: list[Any] = [value]
    for _ in range(MOST_LEVELS + 1):
        if any(isinstance(each, int) and each.bit_length() > MOST_BITS for each in level):
            return "a number too large for a float"
        level = [each for each in level if isinstance(each, dict | list)]
        level = [each for held in level for each in (held.values() if isinstance(held, dict) else held)]
    return f"lists and mappings more than {MOST_LEVELS} levels deep" if level else ""
