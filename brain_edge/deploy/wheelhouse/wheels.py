"""Requirements between wheels, read from the wheels themselves, in tested versions only."""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import brain_edge
from brain_edge.deploy.fetch import normalised_name
from brain_edge.errors import InputError
from brain_edge.machine.paths import MOST_SMALL_BYTES, require_regular
from brain_edge.machine.zips import BROKEN_ZIP

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from packaging.requirements import Requirement

    from brain_edge.deploy.wheelhouse.target import Target

CONSTRAINTS: Final = "constraints.txt"
_LONG: Final = 60
"""Length in characters from which a licence field is a text, not a name."""


@dataclass(frozen=True)
class Wheel:
    """Wheel and its metadata.

    Attributes:
        path: path of the file.
        name: normalised name (PEP 503).
        version: version as written.
        requires: requirements as written, with markers.
        licence: name of the licence, or "see the wheel".
    """

    path: Path
    name: str
    version: str
    requires: tuple[str, ...]
    licence: str


def read_wheel(path: Path) -> Wheel:
    """Read the METADATA of a wheel; no code of the wheel is executed.

    Raises:
        InputError: the file is not a wheel, or is damaged.
    """
    from packaging.metadata import parse_email

    try:
        with zipfile.ZipFile(require_regular(path)) as archive:
            (member,) = (name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name))
            if archive.getinfo(member).file_size > MOST_SMALL_BYTES:
                raise ValueError(f"metadata of more than {MOST_SMALL_BYTES} bytes")
            raw, _ = parse_email(archive.read(member))
    except (*BROKEN_ZIP, OSError) as error:
        raise InputError(f"{path}: expected a wheel (.whl) with metadata, but could not read it: {error}") from None
    return Wheel(
        path=path,
        name=normalised_name(raw.get("name", "")),
        version=raw.get("version", ""),
        requires=tuple(raw.get("requires_dist", ())),
        licence=licence_name(raw.get("license_expression"), raw.get("license"), raw.get("classifiers", ())),
    )


def licence_name(expression: str | None, text: str | None, classifiers: Iterable[str]) -> str:
    """Return the name of a licence from the metadata: newer field, classifiers, older field.

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
    """Return the tested version of each requirement by name, from the installed wheel or from the checkout."""
    package = Path(brain_edge.__file__).parent
    shipped = package / CONSTRAINTS
    return parse_pins((shipped if shipped.is_file() else package.parent / CONSTRAINTS).read_text(encoding="utf-8"))


def parse_pins(text: str) -> dict[str, str]:
    """Parse the lines `name==version` of a constraints file, without comments.

    >>> parse_pins("prompt_toolkit==3.0.52  # prompts")
    {'prompt-toolkit': '3.0.52'}
    """
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    pairs = (line.partition("==") for line in lines if line)
    return {normalised_name(name): version for name, _, version in pairs}


def missing(
    wheels: Mapping[str, Wheel], root: Wheel, extras: Iterable[str], target: Target, pins: Mapping[str, str]
) -> dict[str, str]:
    """Return the missing requirements of the present wheels, as tested version by name.

    Args:
        wheels: present wheels by name.
        root: wheel to install, with `extras`.
        extras: extras of `root`.
        target: machine for which markers are evaluated.
        pins: tested version by name.

    Raises:
        InputError: a requirement was never tested, or not in the required version.
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
    """Yield the requirements of a wheel that hold on a target, without extras and for the given extras."""
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
            f"{by.path.name} needs {needed}, which was not tested with this brain-edge; report this, or remove the "
            "extra that needs it"
        )
    if not needed.specifier.contains(version, prereleases=True):
        raise InputError(f"{by.path.name} needs {needed}, but this brain-edge was tested with {version}; report this")
