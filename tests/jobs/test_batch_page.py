"""The page of a batch as a file: complete without JavaScript, safe with any name."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest
from batch_views import DIGEST, HOSTILE, HOSTILE_LINK, make_batch, make_case

from brain_edge.jobs.outliers import LabelMeasure
from brain_edge.jobs.pictures.batch_page import page
from brain_edge.jobs.pictures.batch_view import BatchView, CaseView, Mark, Status, in_viewing_order

if TYPE_CHECKING:
    from pathlib import Path


class Reader(HTMLParser):
    """What a browser without scripts would build: elements with attributes, and the text of table rows."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self._in_cell = False
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        self._in_cell = self._in_cell and tag not in ("th", "td")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._in_cell:
            self.rows[-1][-1] += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def html(tmp_path: Path) -> str:
    return page(make_batch(tmp_path))


@pytest.fixture
def read(html: str) -> Reader:
    return Reader(html)


def test_failed_cases_come_first_then_flagged_ones_then_by_name_with_numbers_as_numbers(read: Reader) -> None:
    assert [row[0] for row in read.rows[1:9]] == [
        *("broken", "head3", "head4", "head5", HOSTILE, "head1", "head2", "head10"),
    ]


def test_a_row_says_all_there_is_to_say_of_a_case(read: Reader) -> None:
    heads, rows = read.rows[0], {row[0]: row for row in read.rows[1:9]}
    assert heads == [
        *("Case", "Picture", "Status", "brain (ml)", "Components", "Flags, or error", "Time (s)"),
        *("Memory (MiB)", "Model"),
    ]
    assert rows["head1"][2:] == ["✓ done", "1420.2", "1", "none", "2.4", "512", f"tiny & small {DIGEST[:8]}"]
    assert rows["broken"][2:6] == ["✗ failed", "", "", f"/data/{HOSTILE}.nii.gz: the image ends early; copy it again"]
    assert rows["head3"][5] == "implausible spacing: spacing of 8 mm, expected 0.3 to 7 mm"
    assert rows["head5"][5].startswith("volume far from the others: brain of 2900.0 ml, median of 7 cases 1404.0 ml")


def test_the_page_says_who_made_it_and_what_it_is_not_for(read: Reader) -> None:
    for words in ("Research use only. Not a medical device", "Research use only & nothing else.", DIGEST, "0.1.0"):
        assert words in read.text
    assert "CONTAINS PATIENT IMAGES" in read.text


def test_without_pictures_no_patient_images_are_announced(tmp_path: Path) -> None:
    batch = make_batch(tmp_path)
    bare = dataclasses.replace(batch, cases=tuple(dataclasses.replace(case, picture=None) for case in batch.cases))
    assert "PATIENT" not in Reader(page(bare)).text
    assert not Reader(page(bare)).named("a")[:-1]  # the last is that of the dialog


def test_counts_sum_up_the_table(read: Reader) -> None:
    assert re.search(r"cases8failed1done7of these flagged3", read.text)


def test_names_are_shown_and_never_run(read: Reader) -> None:
    """One script, ours; one style; nothing with an event handler, and no link but to files beside the page."""
    assert len(read.named("script")) == len(read.named("style")) == 1
    assert HOSTILE in {row[0] for row in read.rows}
    assert not [name for _, attributes in read.elements for name in attributes if name.startswith("on")]
    links = [attributes["href"] or "" for attributes in read.named("a")]
    assert all(link.startswith(("./", "#")) for link in links)
    assert any(HOSTILE_LINK in unquote(link) for link in links)


def test_the_policy_allows_this_script_and_nothing_from_elsewhere(read: Reader, html: str) -> None:
    (policy,) = [each["content"] or "" for each in read.named("meta") if each.get("http-equiv")]
    assert policy.startswith("default-src 'none'; img-src 'self' file:; style-src 'sha256-")
    assert "unsafe" not in policy
    assert "http" not in re.sub("http-equiv", "", html)


def test_pictures_are_links_to_files_that_are_there_and_loaded_when_seen(read: Reader, tmp_path: Path) -> None:
    images = read.named("img")[:-1]  # the last is that of the dialog
    assert len(images) == 7
    for image in images:
        assert image["loading"] == "lazy"
        assert (tmp_path / unquote(image["src"] or "")).is_file()


def test_a_picture_is_described_by_what_is_seen(read: Reader) -> None:
    alternatives = {image["alt"] for image in read.named("img")}
    assert "brain mask of head1: brain 1420 ml; flags: none" in alternatives
    assert "brain mask of head3: brain 1350 ml; flags: spacing of 8 mm, expected 0.3 to 7 mm" in alternatives


def test_headers_have_a_scope(read: Reader) -> None:
    assert {header.get("scope") for header in read.named("th")} == {"col", "row"}


def test_a_case_without_a_label_of_others_has_an_empty_cell() -> None:
    """Two models in one folder: each has columns for its labels."""
    other = CaseView(name="b", model="m", digest="00", measures={"tumour": LabelMeasure(3.14159, 4)})
    batch = BatchView(title="t", intended_use="", cases=(make_case("a", 1400.0, None), other), origin={})
    rows = Reader(page(batch)).rows
    assert rows[0][3:6] == ["brain (ml)", "tumour (ml)", "Components"]
    assert [row[3:6] for row in rows[1:3]] == [["1400.0", "", "1"], ["", "3.1", "4"]]


def test_a_thousand_cases_make_a_page_of_a_megabyte() -> None:
    """Pictures are beside it; inline they would be a thousand times one."""
    mark = Mark("implausible volume", "brain of 300.0 ml, expected 600 to 2200 ml")
    cases = tuple(make_case(f"sub-{k:04d}_T1w", 1400.0, f"sub-{k:04d}_picture.png", mark) for k in range(1000))
    assert len(page(BatchView(title="t", intended_use="", cases=cases, origin={}))) < 1.2e6


def test_statuses_sort_worst_first() -> None:
    cases = [
        make_case("done", 1.0, None),
        make_case("two", 1.0, None, Mark("a", "a"), Mark("b", "b")),
        make_case("one", 1.0, None, Mark("a", "a")),
        CaseView(name="failed", model="", digest="", error="e"),
    ]
    assert [case.name for case in in_viewing_order(cases)] == ["failed", "two", "one", "done"]
    assert [case.status for case in in_viewing_order(cases)] == [Status.FAILED, Status.LOOK, Status.LOOK, Status.DONE]
