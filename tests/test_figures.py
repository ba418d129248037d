"""Every measured figure in the documentation stands in a record that its paragraph names."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from figures import Figure, blocks, figures_in, prose, values_of

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).resolve().parent.parent
GENERATED = {
    *(f"docs/reference/{name}.md" for name in ("cli", "coverage", "recipes", "steps")),
    "docs/benchmarks/README.md",
    *(f"docs/reference/{name}.md" for name in ("hunt", "mutants", "test-runs")),
    "docs/examples/tuning-hd-bet-v1/tuning.md",
}
BY_HAND = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "benchmarks/README.md", "calibration_data/README.md")
PAGES = sorted({*BY_HAND, *(path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/**/*.md"))} - GENERATED)
KINDS = {"limit", "constant", "arithmetic", "size", "published"}
"""What is not measured: a limit, a number of the program, what can be worked out, a size of a file or a format, and a
figure of somebody else's, whose source stands beside it."""

KEPT = ROOT / "benchmarks/results/kept"
PLACES = (ROOT / "benchmarks/results", ROOT / "docs/examples")


@cache
def excused() -> dict[str, dict[str, list[str]]]:
    """Page -> kind -> phrases, from `figures.toml`."""
    return tomllib.loads((ROOT / "tests/figures.toml").read_text(encoding="utf-8"))


@cache
def of_record(path: Path) -> tuple[tuple[str, float], ...]:
    return values_of(path)


def places(text: str, phrases: Iterable[str]) -> list[tuple[int, int]]:
    """Where some phrases stand."""
    found = []
    for phrase in phrases:
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
    not_measured = places(text, (each for phrases in excused().get(page, {}).values() for each in phrases))
    for (start, end), names in blocks(text):
        values = tuple(value for name in names for value in of_record(record_of(page, name)))
        for figure in figures_in(shown[start:end]):
            moved = replace(figure, place=(figure.place[0] + start, figure.place[1] + start))
            if not within(moved, not_measured) and not figure.is_in(values):
                missing.append(f"{page}:{text.count(chr(10), 0, moved.place[0]) + 1}: {figure.text}")
    return missing


@pytest.mark.parametrize("page", PAGES)
def test_every_figure_stands_in_a_record(page: str):
    missing = without_record(page, (ROOT / page).read_text(encoding="utf-8"))
    assert missing == [], "link the record, or keep one by `python -m benchmarks keep`, or take the figure out"


@pytest.mark.parametrize("page", excused())
def test_every_phrase_that_is_excused_stands_there_and_holds_a_figure(page: str):
    assert page in PAGES
    assert excused()[page].keys() <= KINDS
    text = (ROOT / page).read_text(encoding="utf-8")
    figures = figures_in(prose(text))
    for phrase in (each for phrases in excused()[page].values() for each in phrases):
        found = places(text, [phrase])
        assert found, f"{phrase!r} is no longer there"
        assert any(within(figure, found) for figure in figures), f"{phrase!r} holds no figure"
        assert "\n\n" not in phrase


@pytest.mark.parametrize("path", sorted(KEPT.glob("*.json")), ids=lambda path: path.stem)
def test_what_is_kept_says_how_it_was_made_and_is_named_somewhere(path: Path):
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record["command"].split()[0] in ("python", "brain-edge")
    assert re.fullmatch("[0-9a-f]{40}", record["commit"]["id"])
    assert {"machine", "versions", "started"} <= record.keys()
    assert any(f"kept/{path.name}" in (ROOT / page).read_text(encoding="utf-8") for page in PAGES)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It took 1.5 s, or 20 ms a slice.", ["1.5 s", "20 ms"]),
        ("After 13 minutes 11 GiB were taken, 2,600 MB of them at once.", ["13 minutes", "11 GiB", "2,600 MB"]),
        ("981 -> 725 MiB, and 650 to 667 KB stay.", ["981 ->", "725 MiB", "650 to", "667 KB"]),
        ("| a | 3.05 (2.90 to 3.39)x | 35x | 0.9641 |", ["3.05", "2.90", "3.39", "35x", "0.9641"]),
        ("9.3 times as fast, right in 99.9987 %, off by 2e-06.", ["9.3 times", "99.9987 %", "2e-06"]),
        ("A drop of -0.0018, a gain of +0.5.", ["0.0018", "0.5"]),
        ("Both agree at 0.99.", ["0.99"]),
        ("Python 3.11, OpenVINO 2026.4.1 and CC BY 3.0 for a head of 0.72 x 0.72 x 3.0 mm", []),
        ("128^3 voxels, 182 x 218 x 182, 2.5D, [0018](0018-norms.md), three heads of 2026-11-21", []),
        ("`--budget 0.01` and\n```sh\nsleep 0.5 s\n```\n", []),
        ("An example:\n\n    took 0.5 s\n\nand no more", []),
        ("<!-- figures:begin -->\n| 0.5 s |\n<!-- figures:end -->", []),
    ],
)
def test_what_is_a_figure(text: str, expected: list[str]):
    assert [figure.text for figure in figures_in(prose(text))] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.96", True),
        ("0.964", True),
        ("0.965", False),
        ("96.4 %", True),
        ("+0.00062", True),
        ("-0.00062", True),
        ("6.2e-4", True),
        ("0.0006", True),
        ("0.00063", False),
        ("3323 MiB", True),
        ("3.2 GiB", True),
        ("3323 MB", False),
        ("19.7 s", True),
        ("19691 ms", True),
        ("19691 s", False),
        ("1.5 s (1.4 to 1.6)", True),
        ("1.17 times", True),
        ("2.3 MiB", True),
        ("7 s", False),
    ],
)
def test_a_figure_is_in_a_record_as_it_is_or_rounded(tmp_path: Path, text: str, expected: bool):
    record = tmp_path / "record.json"
    samples = [{"latency_ms": 19690.6, "peak_rss_bytes": size << 20} for size in (3322, 3324)]
    values = {"dice": 0.9641, "drop": -0.000618, "samples": samples, "rounds": {"seconds": [1.4, 1.5, 1.6]}}
    record.write_text(json.dumps({**values, "machine": {"threads": 7}, "output": ["1.17 (1.15 to 1.20)x, 2.3 MiB"]}))
    assert all(figure.is_in(values_of(record)) for figure in figures_in(text)) is expected


def test_a_figure_without_a_record_is_found_with_its_line():
    record = "/docs/examples/accuracy-deepbet/accuracy.json"
    text = f"# Title\n\nAgrees at 0.99856.\n\n<!-- figures: {record[1:]} -->\n\nAgrees at 0.99856, in 7 s.\n"
    assert without_record("README.md", text) == ["README.md:7: 0.99856", "README.md:7: 7 s"]
    with pytest.raises(AssertionError, match=r"names benchmarks/results/none\.json, which is not there"):
        without_record("README.md", "Agrees at 0.99856 ([record](benchmarks/results/none.json)).")
