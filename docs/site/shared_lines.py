"""Docstrings that describe several attributes in one line, for the reference on the site.

`first, last: of the pair.` becomes a line for each name, as the reader of docstrings wants it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from griffe import Extension

if TYPE_CHECKING:
    from griffe import Class

SHARED: Final = re.compile(r"^( +)(\w+(?:, \w+)+): ((?:.+)(?:\n\1 +.+)*)", re.MULTILINE)


class SharedLines(Extension):  # type: ignore[misc]
    """Gives each attribute of a class a line of its own."""

    def on_class(self, *, cls: Class, **_: Any) -> None:
        """Rewrite the docstring of a class."""
        if cls.docstring is not None:
            cls.docstring.value = SHARED.sub(_apart, cls.docstring.value)


def _apart(line: re.Match[str]) -> str:
    indent, names, words = line.groups()
    return "\n".join(f"{indent}{name}: {words}" for name in names.split(", "))
