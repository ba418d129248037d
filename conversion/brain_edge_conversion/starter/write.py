"""A starter as the text of a file: indented JSON whose lists of numbers stay on one line."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

from brain_edge_conversion.sources import bare_network
from brain_edge_conversion.specification import spec_from_json
from brain_edge_conversion.starter.look import look_at
from brain_edge_conversion.starter.templates import starter

if TYPE_CHECKING:
    from brain_edge_conversion.sources import Request
    from brain_edge_conversion.starter.templates import Like

FLAT: Final = re.compile(r"\[[^\[\]{}\"]+\]")
"""List of numbers, over several lines."""


def write_starter(request: Request, like: Like) -> str:
    """Try the network of a source and return a starter of its specification.

    Raises:
        UsageError: the source states its steps itself, or is code that is not trusted.
        WeightsError: a file is refused, or the network takes no input that was tried.
    """
    facts = look_at(bare_network(request))
    for line in facts.in_words:
        request.report(f"found: {line}")
    text = as_text(starter(name_of(request.source), like, facts))
    spec_from_json(text, "the starter")
    return text


def as_text(plain: object) -> str:
    """Return plain data as JSON for people."""
    text = json.dumps(plain, indent=2, ensure_ascii=False)
    return FLAT.sub(lambda found: re.sub(r"\s+", " ", found[0]).replace("[ ", "[").replace(" ]", "]"), text) + "\n"


def name_of(source: str) -> str:
    """Return a name for the model: that of the class or of the file, in signs that a name may have."""
    last = re.split(r"[/\\:]", source)[-1]
    stem = last if ":" in source else last.partition(".")[0]
    return re.sub(r"[^A-Za-z0-9_.+-]+", "-", stem).strip("-._+").lower()[:64] or "network"
