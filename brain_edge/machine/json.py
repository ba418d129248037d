"""Decoder of untrusted JSON, with one error for every fault."""

from __future__ import annotations

from codecs import BOM_UTF8
from typing import TypeVar

import msgspec

Kind = TypeVar("Kind")


def decode_json(content: bytes, kind: type[Kind]) -> Kind:
    """Decode JSON in UTF-8, with or without a byte order mark, as a type (`object` for any).

    Raises:
        msgspec.DecodeError: the JSON is damaged, nested too deeply, not UTF-8, or of another type.
    """
    try:
        return msgspec.json.decode(content.removeprefix(BOM_UTF8), type=kind)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from error
