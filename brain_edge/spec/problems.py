"""Faults of a specification or manifest, all at once: place, value, allowed words and the word that was probably meant.

A decoder stops at the first fault. After a refusal, this module goes through the plain data beside the declared types.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import EnumType
from itertools import islice, repeat
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar, Union, get_args, get_origin

import msgspec

from brain_edge.errors import BrainEdgeError
from brain_edge.machine.json import convert_plain, decode_json
from brain_edge.machine.nearest import nearest
from brain_edge.spec.consistency import InconsistentError
from brain_edge.spec.model import ModelSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

Error = TypeVar("Error", bound=BrainEdgeError)

MOST_PROBLEMS: Final = 100
LONGEST_SHOWN: Final = 60
PLAIN: Final = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
}
"""Words for the types of JSON."""


@dataclass(frozen=True)
class Problem:
    """One fault of a document.

    Attributes:
        path: place in the document, such as `stages[0].before[1].op`; empty for the whole document.
        words: expected and found values in words.
        got: value at this place as JSON, shortened; empty if there is none.
        allowed: all allowed words; empty if the place takes more than a list of words.
        suggestion: allowed word that was probably meant; empty if none is near.
    """

    path: str
    words: str
    got: str = ""
    allowed: tuple[str, ...] = ()
    suggestion: str = ""

    def __str__(self) -> str:
        """Return the fault as one line."""
        place = f"{self.path}: " if self.path else ""
        return f"{place}{self.words}{f'; did you mean {self.suggestion}?' if self.suggestion else ''}"


def problems_in(content: bytes | str, kind: type = ModelSpec) -> tuple[Problem, ...]:
    """Return the faults of a JSON document, the first hundred in the order of the document; empty if it can be read.

    Args:
        content: JSON, UTF-8.
        kind: type of the document, such as `ModelSpec` or the manifest of a package.
    """
    text = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    try:
        value = decode_json(text, object)
    except msgspec.DecodeError as error:
        return (Problem("", f"expected JSON: {_syntax(text) or error}"),)
    return problems_of(value, kind)


def problems_of(value: object, kind: type) -> tuple[Problem, ...]:
    """Return the faults of plain data, such as those of a TOML file; see `problems_in`."""
    return tuple(islice(_faults(value, kind, ""), MOST_PROBLEMS))


def refusal(kind: type[Error], head: str, problems: Sequence[Problem]) -> Error:
    """Return the error about all faults: the first stands in its message, each further one in a note.

    Args:
        kind: class of the error.
        head: start of the message, which names the document.
        problems: faults, at least one.
    """
    count = f" (the first of {len(problems)} faults)" if len(problems) > 1 else ""
    error = kind(f"{head}: {problems[0]}{count}")
    for problem in problems[1:]:
        error.add_note(str(problem))
    return error


def _syntax(text: bytes) -> str:
    """Return the fault of a text that is no JSON, with its line and column; empty if Python takes it."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return f"{error.msg} at line {error.lineno}, column {error.colno}"
    except (ValueError, RecursionError):
        return ""
    return ""


def _faults(value: object, kind: Any, path: str) -> Iterator[Problem]:
    """Yield the faults of the parts of a value or, if these are sound, those of the value itself."""
    are_sound = True
    for problem in _parts(value, kind, path):
        are_sound = False
        yield problem
    if are_sound:
        try:
            convert_plain(value, kind)
        except msgspec.ValidationError as error:
            yield from _own(error, value, kind, path)


def _kinds(kind: Any) -> tuple[Any, ...]:
    """Return the alternatives of a declared type, without their limits."""
    if get_origin(kind) is Annotated:
        return _kinds(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return tuple(each for part in get_args(kind) for each in _kinds(part))
    return (kind,)


def _parts(value: object, kind: Any, path: str) -> Iterator[Problem]:
    kinds = _kinds(kind)
    if isinstance(value, dict):
        structs = [each for each in kinds if isinstance(each, type) and issubclass(each, msgspec.Struct)]
        if structs:
            yield from _struct(value, structs, path)
        for names, values in (get_args(each) for each in kinds if get_origin(each) is dict):
            for name, part in value.items():
                yield from _faults(name, names, _below(path, name))
                yield from _faults(part, values, _below(path, name))
    if isinstance(value, list):
        for parts in (get_args(each) for each in kinds if get_origin(each) in (tuple, list)):
            declared = repeat(parts[0]) if len(parts) == 1 or parts[1:] == (...,) else parts
            for number, (part, each) in enumerate(zip(value, declared, strict=False)):
                yield from _faults(part, each, f"{path}[{number}]")


def _struct(value: dict[str, Any], structs: list[type[msgspec.Struct]], path: str) -> Iterator[Problem]:
    """Yield the faults of an object: its kind, unknown and missing fields, and the faults of its fields."""
    tag_field, struct = structs[0].__struct_config__.tag_field, structs[0]
    if tag_field is not None:
        by_tag = {str(each.__struct_config__.tag): each for each in structs}
        tag = value.get(tag_field)
        if not isinstance(tag, str) or tag not in by_tag:
            yield _unlisted(tag, sorted(by_tag), _below(path, tag_field), is_there=tag_field in value)
            return
        struct = by_tag[tag]
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    absent, meant = [name for name in fields if name not in value], set()
    for name, part in value.items():
        if name in fields:
            yield from _faults(part, fields[name].type, _below(path, name))
        elif name != tag_field and struct.__struct_config__.forbid_unknown_fields:
            found = nearest(name, absent)
            meant.add(found)
            words = f"unknown field, expected one of {', '.join(fields)}"
            yield Problem(_below(path, name), words, json.dumps(name), tuple(fields), found)
    for name in absent:
        if fields[name].required and name not in meant:
            yield Problem(_below(path, name), "expected this field, got none")


def _own(error: msgspec.ValidationError, value: object, kind: Any, path: str) -> Iterator[Problem]:
    """Yield the faults of a value whose parts are sound."""
    allowed = [word for each in _kinds(kind) for word in _words(each)]
    if isinstance(error.__cause__, InconsistentError):
        yield from (Problem(".".join(filter(None, (path, part))), words) for part, words in error.__cause__.misfits)
    elif isinstance(error.__cause__, ValueError):
        yield Problem(path, str(error.__cause__), _shown(value))
    elif allowed:
        yield _unlisted(value, allowed, path)
    else:
        text, _, place = str(error).rstrip("`").partition(" - at `$")
        text = re.sub(r"`(\w+(?: \| \w+)*)`", lambda found: _plain(found[1]), re.sub(r", got .*", "", text))
        # the parts are sound: a place below comes from a check of the whole
        got = "" if place else _shown(value)
        words = f"{text[:1].lower()}{text[1:]}{f', got {got}' if got else ''}"
        yield Problem(f"{path}{place}".lstrip("."), words, got)


def _words(kind: Any) -> Iterable[object]:
    """Return the values of an enumeration or of a literal; empty for other types."""
    if isinstance(kind, EnumType):
        return [each.value for each in kind]  # type: ignore[var-annotated]  # an enumeration of any values
    return get_args(kind) if get_origin(kind) is Literal else ()


def _unlisted(got: object, allowed: Iterable[object], path: str, *, is_there: bool = True) -> Problem:
    words = tuple(map(str, allowed))
    expected = f"expected {'one of ' if len(words) > 1 else ''}{', '.join(words)}"
    found = nearest(got, words) if isinstance(got, str) else ""
    shown = _shown(got) if is_there else "none"
    newer = "; a newer brain-edge may have written it" if _is_version(got, words) else ""
    return Problem(path, f"{expected}, got {shown}{newer}", shown, words, found)


def _is_version(got: object, words: tuple[str, ...]) -> bool:
    """Return True if a number is higher than each of the numbers that are read."""
    return isinstance(got, int) and all(word.isdecimal() and got > int(word) for word in words)


def _plain(names: str) -> str:
    return " or ".join(PLAIN.get(name, name) for name in names.split(" | "))


def _shown(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def _below(path: str, name: str) -> str:
    """Return the path of a field; a name that is no word stands in brackets, as JSON."""
    if re.fullmatch(r"[\w-]{1,64}", name):
        return f"{path}.{name}" if path else name
    return f"{path}[{_shown(name)}]"
