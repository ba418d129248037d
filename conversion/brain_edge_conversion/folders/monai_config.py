"""Configuration of a MONAI bundle as data: references are followed, expressions and macros are never evaluated.

MONAI's own parser imports the names in a configuration and evaluates its Python expressions. Here a component is a name
and its arguments. A value that only running code would give is refused, with its place.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from brain_edge.errors import InputError
from brain_edge_conversion.folders.reading import MOST_VALUES, read_json, read_yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

MADE_BY: Final = "a MONAI bundle"
ELSEWHERE: Final = "convert the network as module:attribute with --spec"
INFERENCE: Final = ("inference.json", "inference.yaml", "inference.yml")
REFERENCE: Final = re.compile(r"\$?@(\w+(?:(?:#|::)\w+)*)")
"""Pattern of a reference, `@name` or `@name::part::0`, that is a whole value; as Python (`$@name`) it is the same."""
COMMON_KEY: Final = re.compile(r"\$monai\.utils\.(?:enums\.)?CommonKeys\.(IMAGE|LABEL|LOSS|METADATA|PRED)")
"""Pattern of a name of MONAI for a string, which is its own in lower case."""
KNOWN_MARKS: Final = {"_target_", "_disabled_", "_desc_", "_mode_"}
DEEPEST: Final = 50
LARGEST: Final = 2**53


@dataclass(frozen=True)
class Component:
    """Object that MONAI would build from a configuration.

    Attributes:
        target: class as written, with or without its modules.
        arguments: name -> value of each argument; references are not resolved yet.
        place: id of the component in the file, for messages.
        config: configuration file of the component.
    """

    target: str
    arguments: Mapping[str, Any]
    place: str
    config: Config

    @property
    def name(self) -> str:
        """Name of the class without its modules."""
        return self.target.rpartition(".")[2]

    def data(self, argument: str, default: Any = None) -> Any:
        """Return an argument that consists of data only: numbers, strings, and lists and mappings of them.

        Raises:
            InputError: the argument contains a component, an expression or a macro.
        """
        if argument not in self.arguments:
            return default
        return self.config.data(self.arguments[argument], f"{self.place}::{argument}")


@dataclass(frozen=True)
class Config:
    """One configuration file."""

    path: Path
    content: Mapping[str, Any]

    def value(self, place: str) -> Any:
        """Return the value at an id such as `preprocessing::transforms::0`, with references followed.

        Raises:
            InputError: the id does not exist, or references form a circle.
        """
        return self._at(place, place, 0)

    def followed(self, value: Any, place: str, depth: int = 0) -> Any:
        """Return a value, or the value that it refers to.

        Raises:
            InputError: the value is an expression or a macro, or its reference leads nowhere or in a circle.
        """
        if not isinstance(value, str) or value[:1] not in ("@", "$", "%"):
            return value
        if (key := COMMON_KEY.fullmatch(value)) is not None:
            return key[1].lower()
        found = REFERENCE.fullmatch(value)
        if found is None:
            kind = "Python" if value.startswith("$") else "a macro or a relative reference"
            raise InputError(
                f"{self.path}: expected data at {place}, got {kind} ({value[:60]}), which is not evaluated; write "
                f"its value, or {ELSEWHERE}"
            )
        if depth > DEEPEST:
            raise InputError(f"{self.path}: the references at {place} form a circle ({value}); correct one of them")
        return self._at(found[1], place, depth + 1)

    def _at(self, target: str, place: str, depth: int) -> Any:
        value: Any = self.content
        for part in re.split(r"#|::", target):
            value = self.followed(value, place, depth)
            if isinstance(value, dict) and part in value:
                value = value[part]
            elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
                value = value[int(part)]
            else:
                where = "" if target == place else f", to which {place} refers"
                raise InputError(f"{self.path}: expected a value at {target}{where}, got nothing")
        return self.followed(value, place, depth)

    def data(self, value: Any, place: str, depth: int = 0, counter: Iterator[int] | None = None) -> Any:
        """Return a value that consists of data only, with all its references followed.

        Raises:
            InputError: the value contains a component, an expression or a macro, or more than `MOST_VALUES` values.
        """
        counter = counter or count(1)
        if next(counter) > MOST_VALUES:
            raise InputError(
                f"{self.path}: expected at most {MOST_VALUES} values at {place}, got more (references repeat them); "
                "write the values without references"
            )
        if depth > DEEPEST:
            raise InputError(f"{self.path}: the references at {place} form a circle; correct one of them")
        value = self.followed(value, place)
        if isinstance(value, list):
            return [self.data(each, f"{place}::{number}", depth + 1, counter) for number, each in enumerate(value)]
        if isinstance(value, dict):
            if "_target_" in value:
                raise InputError(
                    f"{self.path}: expected data at {place}, got {value['_target_']}, which would be run; {ELSEWHERE}"
                )
            return {key: self.data(each, f"{place}::{key}", depth + 1, counter) for key, each in value.items()}
        if isinstance(value, int) and abs(value) > LARGEST:
            raise InputError(f"{self.path}: expected a number at {place}, got one too large for a float; correct it")
        return value

    def component(self, value: Any, place: str) -> Component | None:
        """Return a value as a component; None if the component is switched off.

        Raises:
            InputError: the value is no component, or a component that is not made by calling its class.
        """
        value = self.followed(value, place)
        target = self.followed(value.get("_target_"), place) if isinstance(value, dict) else None
        if not isinstance(target, str) or not all(isinstance(key, str) for key in value):
            raise InputError(f"{self.path}: expected a component with a _target_ at {place}, got {_short(value)}")
        disabled = self.followed(value.get("_disabled_", False), place)
        if disabled in (True, "true", "True"):
            return None
        foreign = sorted(key for key in value if key.startswith("_") and key.endswith("_") and key not in KNOWN_MARKS)
        if foreign or value.get("_mode_", "default") != "default":
            raise InputError(
                f"{self.path}: expected {place} ({target}) to be made by calling it, got "
                f"{', '.join(foreign) or '_mode_'}, which would run something else; {ELSEWHERE}"
            )
        arguments = {key: each for key, each in value.items() if key not in KNOWN_MARKS}
        return Component(target, arguments, place, self)

    def components(self, value: Any, place: str) -> tuple[Component, ...]:
        """Return a list of components, without those that are switched off."""
        listed = self.followed(value, place)
        if not isinstance(listed, list):
            raise InputError(f"{self.path}: expected a list of transforms at {place}, got {_short(listed)}")
        found = (self.component(each, f"{place}::{number}") for number, each in enumerate(listed))
        return tuple(component for component in found if component is not None)


def read_inference(folder: Path) -> Config:
    """Read the inference configuration of a bundle.

    Raises:
        InputError: there is no such configuration, or it is neither JSON nor YAML.
    """
    paths = [folder / "configs" / name for name in INFERENCE]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise InputError(f"{paths[0]}: there is no such file, which {MADE_BY} needs; copy the whole folder")
    content = _read(path)
    if not isinstance(content, dict):
        raise InputError(
            f"{path}: expected a dictionary, as in {MADE_BY}, got {_short(content)}; copy the whole folder again"
        )
    return Config(path, content)


def _read(path: Path) -> Any:
    return read_json(path, object, MADE_BY) if path.suffix == ".json" else read_yaml(path, MADE_BY)


def _short(value: Any) -> str:
    return "nothing" if value is None else f"{value!r}"[:60]
