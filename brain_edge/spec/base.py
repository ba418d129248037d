"""Base of all parts of a specification that are not steps."""

from __future__ import annotations

import msgspec


class Value(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the parts of a spec: immutable, compared by value, strict when read.

    The canonical JSON contains every field, including defaults. A new field with a default would therefore change the
    digest of existing packages. A new field that is `UNSET` by default does not.
    """
