"""The line of each part of a JSON file, whatever its layout."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brain_edge_conversion.starter.lines import line_of, lines_of

TEXT = """{
  "name": "a \\" {[",
  "stages": [
    {"before": [
      {"op": "orient"},
      {"op": "clip", "upper": null}
    ]}, 3
  ]
}
"""


def test_each_part_has_the_line_of_its_name():
    lines = lines_of(TEXT)
    assert lines["name"] == 2
    assert lines["stages"] == 3
    assert lines["stages[0].before[1].upper"] == 6
    assert lines["stages[1]"] == 7


def test_a_part_that_is_missing_has_the_line_of_the_part_around_it():
    lines = lines_of(TEXT)
    assert line_of("stages[0].before[0].axes", lines) == 5
    assert line_of("labels", lines) == 1
    assert line_of("", {}) is None


@pytest.mark.parametrize("name", ["[" * 20_000, "a.b[", "]", "...", "a[b]c"])
def test_a_name_with_brackets_has_a_line(name: str):
    assert line_of(f"stages[0].{name}", lines_of(TEXT)) == 4
    assert line_of(name, lines_of(TEXT)) == 1


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.from_regex(r"[a-z]{1,3}", fullmatch=True), part),
    max_leaves=8,
)


def places(value: object, path: str = "") -> list[str]:
    if isinstance(value, dict):
        return [path, *(each for name, part in value.items() for each in places(part, f"{path}.{name}".strip(".")))]
    if isinstance(value, list):
        return [path, *(each for at, part in enumerate(value) for each in places(part, f"{path}[{at}]"))]
    return [path]


@given(VALUES)
@settings(max_examples=40)
def test_every_part_of_any_document_has_a_line(value: object):
    text = json.dumps(value, indent=1)
    lines = lines_of(text)
    assert set(lines) == set(places(value))
    assert all(1 <= line <= text.count("\n") + 1 for line in lines.values())
