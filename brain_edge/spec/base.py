"""The base of everything in a specification that is not a step."""

from __future__ import annotations

import msgspec


class Value(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the parts of a spec: immutable, compared by value, strict when read.

    Every field is spelt in the canonical JSON, defaults included, so a field with a default cannot be added to what
    packages already hold: it would change their digest. A field that is `UNSET` unless it is needed can.
    """
