"""Which wheels belong together: read from the wheels themselves, with nothing but tested versions."""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import brain_edge
from brain_edge.deploy.fetch import normalised_name
from brain_edge.errors import InputError
from brain_edge.machine.zips import BROKEN_ZIP

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from packaging.requirements import Requirement

    from brain_edge.deploy.wheelhouse.target import Target

CONSTRAINTS: Final = "constraints.txt"
_LONG: Final = 60
"""Letters from which a licence field is not a name but a text."""


@dataclass(frozen=True)
class Wheel:
    """A wheel and what it says of itself.

    Attributes:
        path: of the file.
        name: normalised (PEP 503).
        version: as written.
        requires: its requirements as written, with their markers.
        licence: its name, or "see the wheel".
    """

    path: Path
    name: str
    version: str
    requires: tuple[str, ...]
    licence: str


def read_wheel(path: Path) -> Wheel:
    """What a wheel's METADATA says; nothing of the wheel is executed.

    Raises:
        InputError: it is no wheel, or a damaged one.
    """
    from packaging.metadata import parse_email

    try:
        with zipfile.ZipFile(path) as archive:
            (member,) = (name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name))
            raw, _ = parse_email(archive.read(member))
    except (*BROKEN_ZIP, OSError) as error:
        raise InputError(f"{path}: expected a wheel (.whl) with its metadata, and could not read it: {error}") from None
    return Wheel(
        path=path,
        name=normalised_name(raw.get("name", "")),
        version=raw.get("version", ""),
        requires=tuple(raw.get("requires_dist", ())),
        licence=licence_name(raw.get("license_expression"), raw.get("license"), raw.get("classifiers", ())),
    )


def licence_name(expression: str | None, text: str | None, classifiers: Iterable[str]) -> str:
    """The name of a licence, where the metadata have one: newer field, older field, classifiers.

    >>> licence_name(None, None, ["License :: OSI Approved :: MIT License"])
    'MIT License'
    """
    if expression:
        return expression
    classified = [words.rpartition(" :: ")[2] for words in classifiers if words.startswith("License :: OSI")]
    if classified:
        return ", ".join(classified)
    first_line = (text or "").strip().partition("\n")[0]
    return first_line if 0 < len(first_line) < _LONG else "see the wheel"


def tested_versions() -> dict[str, str]:
    """Name -> version of everything that brain_edge is tested with: shipped in the wheel, or of the checkout."""
    package = Path(brain_edge.__file__).parent
    shipped = package / CONSTRAINTS
    return parse_pins((shipped if shipped.is_file() else package.parent / CONSTRAINTS).read_text(encoding="utf-8"))


def parse_pins(text: str) -> dict[str, str]:
    """Lines `name==version` of a constraints file, comments left out.

    >>> parse_pins("fill_voids==2.1.2  # holes")
    {'fill-voids': '2.1.2'}
    """
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    pairs = (line.partition("==") for line in lines if line)
    return {normalised_name(name): version for name, _, version in pairs}


def missing(
    wheels: Mapping[str, Wheel], root: Wheel, extras: Iterable[str], target: Target, pins: Mapping[str, str]
) -> dict[str, str]:
    """What is still needed: name -> tested version, from the requirements of what is there.

    Args:
        wheels: those that are there, by name.
        root: what is to be installed, with `extras`.
        extras: of `root`.
        target: for which markers are evaluated.
        pins: the tested versions.

    Raises:
        InputError: something is needed that was never tested, or in another version.
    """
    wanted: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [(root.name, frozenset(extras))]
    while waiting:
        name, chosen = waiting.pop()
        if (name, chosen) in seen:
            continue
        seen.add((name, chosen))
        if name not in wheels:
            wanted[name] = pins[name]
            continue
        for needed in requirements(wheels[name], chosen, target):
            _require_tested(needed, wheels[name], pins)
            waiting.append((normalised_name(needed.name), frozenset(needed.extras)))
    return wanted


def requirements(wheel: Wheel, extras: Iterable[str], target: Target) -> Iterator[Requirement]:
    """The requirements of a wheel that hold on a target, for what is always needed and for some extras."""
    from packaging.requirements import Requirement

    environments = [target.markers() | {"extra": extra} for extra in ("", *extras)]
    for text in wheel.requires:
        needed = Requirement(text)
        if needed.marker is None or any(needed.marker.evaluate(environment) for environment in environments):
            yield needed


def _require_tested(needed: Requirement, by: Wheel, pins: Mapping[str, str]) -> None:
    version = pins.get(normalised_name(needed.name))
    if version is None:
        raise InputError(
            f"{by.path.name} needs {needed}, of which no version was tested with this brain-edge; "
            "report this, or leave out the extra that brings it"
        )
    if not needed.specifier.contains(version, prereleases=True):
        raise InputError(f"{by.path.name} needs {needed}, and this brain-edge was tested with {version}; report this")
