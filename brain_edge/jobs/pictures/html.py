"""Pages of HTML from files of this package: all text is escaped, and only the script of the page runs."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from jinja2 import Environment

PATIENTS: Final = "This page CONTAINS PATIENT IMAGES: treat it and the pictures beside it like the images themselves."


def environment() -> Environment:
    """Return an environment of templates with the filters `hash` (of a policy) and `link` (of a relative path)."""
    from jinja2 import Environment, StrictUndefined

    made = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    made.filters |= {"hash": _hash, "link": _link}
    return made


def asset(name: str) -> str:
    """Return a file of this package: a template, a style or a script."""
    return files("brain_edge.jobs.pictures").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _link(path: str) -> str:
    """Return a relative address; "./" keeps a name with a colon from being read as a scheme."""
    return "./" + quote(path.encode("utf-8", "surrogateescape"))
