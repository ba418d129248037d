"""Every measured figure in the documentation stands in a record that its paragraph names."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

import pytest
from figures import Figure, blocks, figures_in, prose, values_of

ROOT = Path(__file__).resolve().parent.parent
GENERATED = {
    *(f"docs/reference/{name}.md" for name in ("cli", "coverage", "recipes", "steps")),
    "docs/benchmarks/README.md",
    "docs/examples/tuning-hd-bet-v1/tuning.md",
}
BY_HAND = ("README.md", "CONTRIBUTING.md", "benchmarks/README.md", "calibration_data/README.md")
PAGES = sorted({*BY_HAND, *(path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/**/*.md"))} - GENERATED)
KINDS = {"limit", "constant", "arithmetic", "size", "published"}
"""What is not measured: a limit, a number of the program, what can be worked out, a size of a file or a format, and a
figure of somebody else's, whose source stands beside it."""

PLACES = (ROOT / "benchmarks/results", ROOT / "docs/examples")


@cache
def excused() -> dict[str, dict[str, list[str]]]:
    """Page -> kind -> phrases, from `figures.toml`."""
    return tomllib.loads((ROOT / "tests/figures.toml").read_text(encoding="utf-8"))


@cache
def of_record(path: Path) -> tuple[tuple[str, float], ...]:
    return values_of(path)


def places(page: str, text: str) -> list[tuple[int, int]]:
    """Where the phrases of a page stand."""
    found = []
    for phrase in (each for phrases in excused().get(page, {}).values() for each in phrases):
        start = text.find(phrase)
        while start >= 0:
            found.append((start, start + len(phrase)))
            start = text.find(phrase, start + 1)
    return found


def record_of(page: str, name: str) -> Path:
    """The file that a page names, from its own place or from the root."""
    found = (ROOT / name[1:] if name.startswith("/") else ROOT / page / ".." / name).resolve()
    assert found.is_file(), f"{page} names {name}, which is not there"
    assert any(place in found.parents for place in PLACES), f"{page} names {name}, which is no record"
    return found


def within(figure: Figure, bounds: list[tuple[int, int]]) -> bool:
    return any(start <= figure.place[0] and figure.place[1] <= end + 1 for start, end in bounds)


def without_record(page: str, text: str) -> list[str]:
    """The figures of a page that stand in no record, each with its line."""
    shown, missing = prose(text), []
    not_measured = places(page, text)
    for (start, end), names in blocks(text):
        values = tuple(value for name in names for value in of_record(record_of(page, name)))
        for figure in figures_in(shown[start:end]):
            moved = Figure(figure.text, (figure.place[0] + start, figure.place[1] + start), *_rest(figure))
            if not within(moved, not_measured) and not figure.is_in(values):
                missing.append(f"{page}:{text.count(chr(10), 0, moved.place[0]) + 1}: {figure.text}")
    return missing


def _rest(figure: Figure) -> tuple[float, float, str]:
    return figure.size, figure.half, figure.unit


@pytest.mark.parametrize("page", PAGES)
def test_every_figure_stands_in_a_record(page: str):
    missing = without_record(page, (ROOT / page).read_text(encoding="utf-8"))
    assert missing == [], "link the record, or keep one by `python -m benchmarks keep`, or take the figure out"
