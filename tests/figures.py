"""Figures in prose, and the records that they stand in.

A figure is a number with a unit of time or memory, a share, a ratio, an error such as 2e-6, or a number with decimals
such as a Dice. Text in code blocks, in inline code and between the marks of a generated block has none.
"""

from __future__ import annotations

import json
import re
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

UNITS: Final[dict[str, dict[str, float]]] = {
    "ms": {"printed": 1, "ms": 1, "s": 1e-3},
    "s": {"printed": 1, "ms": 1e3, "s": 1},
    "min": {"printed": 1, "ms": 60e3, "s": 60},
    "h": {"printed": 1, "ms": 3600e3, "s": 3600},
    "KB": {"printed": 1, "bytes": 1e3},
    "MB": {"printed": 1, "bytes": 1e6},
    "GB": {"printed": 1, "bytes": 1e9},
    "MiB": {"printed": 1, "MiB": 1, "bytes": 2**20},
    "GiB": {"printed": 1, "MiB": 2**10, "bytes": 2**30},
    "%": {"printed": 1, "number": 1e-2, "percent": 1},
    "x": {"printed": 1, "number": 1},
    "times": {"printed": 1, "number": 1},
    "": {"printed": 1, "number": 1},
}
"""What a number in that unit is multiplied with to be compared with a value of each kind in a record."""

KINDS: Final = ("ms", "bytes", "percent")
"""Of a value, by the end of its name; MiB and seconds besides, and what a program printed."""

LONG: Final = {"minute": "min", "minutes": "min", "second": "s", "seconds": "s", "hour": "h", "hours": "h"}
NUMBER: Final = r"(?<![\w.,^/:])(?<!\w-)\d[\d,]*(?:\.\d+)?(?:e-\d+)?(?![\w.]*\d)"
UNIT: Final = rf"\s?(?P<unit>{'|'.join([*LONG, *filter(None, UNITS)])})(?![\w^])(?!(?<=x) \d)"
WITH_UNIT: Final = re.compile(rf"(?P<number>{NUMBER}){UNIT}")
RANGE: Final = re.compile(rf"(?P<number>{NUMBER}) (?:to|and|or|against|instead of|->) (?={NUMBER}{UNIT})")
BARE: Final = re.compile(rf"(?P<number>{NUMBER})(?!\w)")
NOT_MEASURED: Final = re.compile(r" ?mm\b| x \d")
"""Behind a number: a size."""

SPREAD: Final = re.compile(rf"(?:{UNIT})\**,? \((?:{NUMBER} to )?$")
"""Before a number of a range in brackets: the unit of what it is the range of."""

VERSION: Final = re.compile(
    r"(Python|OpenVINO|PyTorch|NNCF|MONAI|nnU-Net|deepbet|minimal|glibc|Ubuntu|version|arXiv|BY) $"
)
"""Before a number: what it is a version of."""

OUTSIDE: Final = re.compile(
    r"^( *)```.*?^\1```$"
    r"|<!-- (?P<block>figures|rivals|methods):begin.*?<!-- (?P=block):end -->|`[^`\n]*`"
    r"|(?<=\n\n) {4}[^\n]*(?:\n {4}[^\n]*)*",
    re.MULTILINE | re.DOTALL,
)
LINK: Final = re.compile(r"\]\(([^)\s#]*(?:results|accuracy|tuning)[^)\s#]*\.json)\)")
COMMENT: Final = re.compile(r"<!-- figures: (.*?) -->", re.DOTALL)
ABOUT: Final = {"machine", "versions", "peer_versions", "library_versions", "commit", "started", "schema"}


@dataclass(frozen=True)
class Figure:
    """A number in a text.

    Attributes:
        text: as it is printed, with its unit.
        place: of its first and behind its last character.
        size: the number.
        half: of a unit of its last digit.
        unit: one of `UNITS`.
    """

    text: str
    place: tuple[int, int]
    size: float
    half: float
    unit: str

    def is_in(self, values: Iterable[tuple[str, float]]) -> bool:
        """Whether one of them is this figure, as it is or rounded to its digits; the sign does not count."""
        factors = UNITS[self.unit]
        slack = self.half * (1 + 1e-9)
        return any(abs(abs(value) / factors[kind] - self.size) <= slack for kind, value in values if kind in factors)


def prose(text: str) -> str:
    """A page with blanks for everything that has no figures; every character stays at its place."""
    return OUTSIDE.sub(lambda found: re.sub(r"\S", " ", found[0]), text)


def figures_in(text: str) -> list[Figure]:
    """The figures of a text without code, in its order."""
    found: dict[int, Figure] = {}
    for match in (*WITH_UNIT.finditer(text), *RANGE.finditer(text), *BARE.finditer(text)):
        number, unit = match["number"], match.groupdict().get("unit") or ""
        bare = match.re is BARE
        if bare and (not re.search(r"\.|e-", number) or NOT_MEASURED.match(text, match.end())):
            continue
        if match.start() in found or VERSION.search(text, match.start() - 20, match.start()):
            continue
        if bare and (spread := SPREAD.search(text, max(0, match.start() - 40), match.start())):
            unit = spread["unit"]
        found[match.start()] = _figure(match[0].strip(), match.span(), number.replace(",", ""), LONG.get(unit, unit))
    return [found[start] for start in sorted(found)]


def _figure(text: str, place: tuple[int, int], number: str, unit: str) -> Figure:
    mantissa, _, exponent = number.partition("e")
    decimals = len(mantissa.partition(".")[2])
    return Figure(text, place, float(number), 0.5 * 10.0 ** (int(exponent or 0) - decimals), unit)


def blocks(text: str) -> Iterator[tuple[tuple[int, int], list[str]]]:
    """Paragraphs and tables of a page: place, and the records that they name or that a comment after them names.

    A link is as it stands on the page; what a comment names begins with a slash, for the root of the repository.
    """
    found = [(match.span(), match[0]) for match in re.finditer(r"(?:[ \t]*\S.*(?:\n|\Z))+", text)]
    for number, (place, block) in enumerate(found):
        following = found[number + 1][1] if number + 1 < len(found) else ""
        comment = COMMENT.match(following.strip()) or COMMENT.search(block)
        yield place, [*LINK.findall(block), *(f"/{name}" for name in (comment[1].split() if comment else ()))]


def values_of(record: Path) -> tuple[tuple[str, float], ...]:
    """Kind and size of every number in a record but those about the machine; median and mean of each list of them."""
    return tuple(_numbers(json.loads(record.read_text(encoding="utf-8")), "number"))


def _numbers(value: Any, kind: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield kind, float(value)
    elif isinstance(value, str):
        yield from (("printed", float(number.replace(",", ""))) for number in re.findall(NUMBER, value))
    elif isinstance(value, dict):
        for name, part in value.items():
            if name not in ABOUT:
                yield from _numbers(part, _kind(name, kind))
    elif isinstance(value, list):
        for part in value:
            yield from _numbers(part, kind)
        yield from _summaries(value, kind)


def _summaries(values: list[Any], kind: str) -> Iterator[tuple[str, float]]:
    for name in {name for each in values if isinstance(each, dict) for name in each} | {""}:
        chosen = [each.get(name) if isinstance(each, dict) else each for each in values]
        numbers = [each for each in chosen if isinstance(each, int | float) and not isinstance(each, bool)]
        if len(numbers) > 1:
            yield from ((_kind(name, kind), each) for each in (statistics.median(numbers), statistics.fmean(numbers)))


def _kind(name: str, kind: str) -> str:
    """What a value of that name is, within one of some kind."""
    if name.endswith(("seconds", "_s", "s_per_case")):
        return "s"
    if name.endswith("_mib"):
        return "MiB"
    return next((each for each in KINDS if name.endswith(each)), kind)
