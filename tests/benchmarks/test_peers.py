"""The environment of the published programs can be made: its versions are those that pip is constrained to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks.harness.peers import CONSTRAINTS, REQUIREMENTS

if TYPE_CHECKING:
    from pathlib import Path


def versions_in(path: Path) -> dict[str, str]:
    """Return the pinned version of each project of a requirements file."""
    lines = [line.split("#")[0].strip() for line in path.read_text().splitlines()]
    pins = [Requirement(line) for line in lines if line]
    return {canonicalize_name(pin.name): str(pin.specifier) for pin in pins}


def test_the_published_programs_ask_for_the_versions_of_the_constraints():
    asked, allowed = versions_in(REQUIREMENTS), versions_in(CONSTRAINTS)
    shared = sorted(set(asked) & set(allowed))
    assert "torch" in shared
    assert {name: asked[name] for name in shared} == {name: allowed[name] for name in shared}
