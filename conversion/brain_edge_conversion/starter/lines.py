"""Line numbers of the parts of a JSON document."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')

Token: TypeAlias = tuple[str, int]


def lines_of(text: str) -> dict[str, int]:
    """Return the line of each part of a sound JSON document by its path, such as `stages[0].name`.

    A field lies where its name stands. The path of the whole document is empty.
    """
    return dict(_value(_tokens(text), ""))


def line_of(path: str, lines: dict[str, int]) -> int | None:
    """Return the line of a path, or of the smallest part around it; None if nothing is known."""
    while path and path not in lines:
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return lines.get(path)


def _tokens(text: str) -> Iterator[Token]:
    line, last = 1, 0
    for found in TOKEN.finditer(text):
        line += text.count("\n", last, found.start())
        last = found.start()
        yield found[0], line


def _value(tokens: Iterator[Token], path: str) -> Iterator[tuple[str, int]]:
    sign, line = next(tokens)
    yield from _rest(sign, line, tokens, path)


def _rest(sign: str, line: int, tokens: Iterator[Token], path: str) -> Iterator[tuple[str, int]]:
    """Yield the places in a value that begins with a sign."""
    yield path, line
    if sign == "{":
        yield from _fields(tokens, path)
    elif sign == "[":
        yield from _elements(tokens, path)


def _fields(tokens: Iterator[Token], path: str) -> Iterator[tuple[str, int]]:
    for sign, line in tokens:
        if sign == "}":
            return
        if sign != ",":
            name = json.loads(sign)
            below = f"{path}.{name}" if path else name
            next(tokens)  # the colon
            yield from _value(tokens, below)
            yield below, line


def _elements(tokens: Iterator[Token], path: str) -> Iterator[tuple[str, int]]:
    number = 0
    for sign, line in tokens:
        if sign == "]":
            return
        if sign == ",":
            number += 1
        else:
            yield from _rest(sign, line, tokens, f"{path}[{number}]")
