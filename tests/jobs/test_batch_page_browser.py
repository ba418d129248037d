"""The page of a batch in a real browser (Chromium, headless), by mouse and by keyboard, judged by axe-core.

Needs Debian's `chromium` (or CHROMIUM, its path) and the development packages playwright and
axe-playwright-python, which bring a driver and axe-core, no browser. Nothing here reaches the network: every
request is recorded, and what is not a file is refused.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from batch_views import HOSTILE, make_batch

from brain_edge.jobs.pictures.batch_page import page as page_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

api = pytest.importorskip("playwright.sync_api", reason="needs playwright to drive a browser")

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: apt-get install chromium, or set CHROMIUM")

LARGE = "dialog[open]"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with api.sync_playwright() as driver:
        # chromium's own sandbox cannot be built by root in a container; what is opened is our own file
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("batch")
    path = folder / "index.html"
    path.write_text(page_of(make_batch(folder)), encoding="utf-8")
    return path


class Watched:
    """A page whose every request and complaint is kept."""

    def __init__(self, context: Any) -> None:
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page = context.new_page()
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("requestfailed", lambda request: self.complaints.append(request.url))
        self.page.route("**/*", self._route)

    def _route(self, route: Any) -> None:
        self.requests.append(route.request.url)
        if route.request.url.startswith("file:"):
            route.continue_()
        else:
            route.abort()


@pytest.fixture
def watched(browser: Any, file: Path) -> Iterator[Watched]:
    """The page as a user opens it; afterwards it has complained of nothing and asked for nothing but files."""
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    watched = Watched(context)
    watched.page.goto(file.as_uri())
    yield watched
    complaints = list(watched.complaints)  # what closing cuts short fails, and that is no complaint of the page
    context.close()
    assert complaints == []
    assert watched.requests
    assert all(request.startswith(file.parent.as_uri()) for request in watched.requests)


@pytest.fixture
def page(watched: Watched) -> Any:
    return watched.page


def names(page: Any) -> list[str]:
    """Cases that can be seen, from top to bottom."""
    return [row.inner_text() for row in page.locator("#cases tbody th:visible").all()]


def header(page: Any, words: str) -> Any:
    return page.locator("#cases thead th", has_text=words)


def test_a_click_on_a_header_sorts_and_another_turns_round(page: Any) -> None:
    """Numbers by value, in both directions; the failed case, which has none, stays last."""
    button = page.get_by_role("button", name="brain (ml)")
    button.click()
    assert names(page) == ["head4", "head3", "head2", "head10", "head1", HOSTILE, "head5", "broken"]
    assert header(page, "brain (ml)").get_attribute("aria-sort") == "ascending"
    button.click()
    assert names(page) == ["head5", HOSTILE, "head1", "head10", "head2", "head3", "head4", "broken"]
    assert header(page, "brain (ml)").get_attribute("aria-sort") == "descending"
    assert page.locator("[aria-sort]").count() == 1
    assert "sorted by brain (ml), descending" in page.locator("#shown").inner_text()


def test_names_are_sorted_with_numbers_as_numbers_and_the_first_order_comes_back(page: Any) -> None:
    first = names(page)
    page.get_by_role("button", name="Case", exact=True).click()
    assert names(page) == [HOSTILE, "broken", "head1", "head2", "head3", "head4", "head5", "head10"]
    page.get_by_role("button", name="Failed and flagged first").click()
    assert names(page) == first
    assert first[0] == "broken"
    assert page.locator("[aria-sort]").count() == 0


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("failed", ["broken"]),
        ("any flag", ["head3", "head4", "head5"]),
        ("implausible spacing", ["head3"]),
        ("volume far from the others", ["head4", "head5"]),
    ],
)
def test_a_flag_filters_the_table_and_is_said_aloud(choice: str, expected: list[str], page: Any) -> None:
    page.get_by_label("Show").select_option(choice)
    assert names(page) == expected
    status = page.get_by_role("status")
    assert status.inner_text().startswith(f"{len(expected)} of 8 cases shown")


def test_words_filter_the_table_also_those_of_errors_and_markup(page: Any) -> None:
    search = page.get_by_label("Words in a row")
    search.fill("HEAD1")
    assert names(page) == ["head1", "head10"]
    search.fill("ends copy")
    assert names(page) == ["broken"]
    search.fill("<script>")
    assert set(names(page)) == {HOSTILE, "broken"}
    search.fill("no such case")
    assert names(page) == []
    assert page.get_by_role("status").inner_text() == "0 of 8 cases shown."


def test_a_click_enlarges_and_escape_leads_back(page: Any) -> None:
    page.locator("a.picture").first.click()
    large = page.locator(f"{LARGE} img")
    assert large.is_visible()
    assert large.evaluate("image => image.decode().then(() => image.naturalWidth)") == 360
    assert large.get_attribute("alt") == page.locator("a.picture img").first.get_attribute("alt")
    assert page.locator(f"{LARGE} h2").inner_text() == "head3"
    page.keyboard.press("Escape")
    assert page.locator(LARGE).count() == 0
    assert page.locator("a.picture").first.evaluate("link => link === document.activeElement")


def test_pictures_can_be_looked_through_by_keyboard_alone(page: Any) -> None:
    """Enter opens; arrows go through the rows that are shown, in their order, and round; focus returns where one is."""
    page.get_by_role("button", name="brain (ml)").click()
    page.locator("a.picture").first.focus()
    page.keyboard.press("Enter")
    title = page.locator(f"{LARGE} h2")
    seen = [title.inner_text()]
    assert page.evaluate("document.activeElement.id") == "close"
    for _ in range(7):
        page.keyboard.press("ArrowRight")
        seen.append(title.inner_text())
    assert seen == ["head4", "head3", "head2", "head10", "head1", HOSTILE, "head5", "head4"]
    page.keyboard.press("ArrowLeft")
    assert title.inner_text() == "head5"
    page.keyboard.press("Escape")
    # the browser gives the focus back to where it was, and tells of the closing in a task of its own
    page.wait_for_function("document.activeElement.closest('tr')?.cells[0].textContent === 'head5'")


def test_only_what_the_filter_shows_is_looked_through(page: Any) -> None:
    page.get_by_label("Show").select_option("volume far from the others")
    page.locator("a.picture:visible").first.click()
    assert page.locator("#large-place").inner_text() == "1 of 2"
    page.get_by_role("button", name="Next").click()
    assert page.locator(f"{LARGE} h2").inner_text() == "head5"
    page.get_by_role("button", name="Previous").click()
    assert page.locator(f"{LARGE} h2").inner_text() == "head4"
    page.get_by_role("button", name="Close").click()
    assert page.locator(LARGE).count() == 0


def test_tab_reaches_every_control_and_shows_where_it_is(page: Any) -> None:
    reached, rings = [], set()
    for _ in range(30):
        page.keyboard.press("Tab")
        tag, ring = page.evaluate(
            """() => {
                const focused = document.activeElement, style = getComputedStyle(focused);
                const name = focused.id || focused.className || focused.textContent;
                return [`${focused.tagName} ${name}`, `${style.outlineStyle} ${style.outlineWidth}`];
            }"""
        )
        if tag.startswith("BODY"):
            break
        reached.append(tag)
        rings.add(ring)
    assert rings == {"solid 3px"}
    assert reached[:4] == ["INPUT words", "SELECT only", "BUTTON resort", "DIV scroll"]
    assert reached[4:12] == [
        f"BUTTON {name}"
        for name in (
            *("Case", "Status", "brain (ml)", "Components", "Flags, or error", "Time (s)", "Memory (MiB)"),
            "Model",
        )
    ]
    assert reached[12:] == ["A picture"] * 7


def test_a_name_that_is_a_script_is_text(page: Any) -> None:
    assert page.title() == f"tiny & small {HOSTILE}: 8 cases"
    page.locator("a.picture:visible").nth(2).click()
    assert page.title() != "run"


def test_an_injected_script_would_not_run(browser: Any, file: Path, tmp_path: Path) -> None:
    """The page's policy holds even where escaping were forgotten."""
    broken = tmp_path / "index.html"
    html = file.read_text(encoding="utf-8").replace("<h1>", "<script>document.title = 'run'</script><h1>")
    html = html.replace("<h2>", "<img src='http://127.0.0.1:9/x' onerror=\"document.title = 'run'\"><h2>")
    broken.write_text(html, encoding="utf-8")
    context = browser.new_context()
    watched = Watched(context)
    watched.page.goto(broken.as_uri())
    assert watched.page.title() != "run"
    assert not [request for request in watched.requests if not request.startswith("file:")]
    assert [complaint for complaint in watched.complaints if "Content Security Policy" in complaint]
    context.close()


def test_without_javascript_it_is_a_table_with_links_to_pictures(browser: Any, file: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(file.as_uri())
    assert len(names(page)) == 8
    assert page.locator("button:visible, input:visible, select:visible, dialog:visible").count() == 0
    page.locator("a.picture").first.click()
    page.wait_for_url("**/*picture.png")
    context.close()


def test_pictures_far_below_are_not_read_before_they_are_scrolled_to(browser: Any, file: Path) -> None:
    """Of nearly three hundred pictures, a few screenfuls are loaded."""
    html = file.read_text(encoding="utf-8")
    start, end = html.index("<tbody>") + 7, html.index("</tbody>")
    rows = "".join(html[start:end].replace('_picture.png"', f'_picture.png?{copy}"') for copy in range(40))
    long = file.with_name("long.html")
    long.write_text(html[:start] + rows + html[end:], encoding="utf-8")
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    watched = Watched(context)
    watched.page.goto(long.as_uri())
    # lazy pictures do not hold up the page's load event
    watched.page.wait_for_function("document.querySelector('a.picture img').naturalWidth > 0")
    before = sum("_picture.png" in request for request in watched.requests)
    assert watched.page.locator("a.picture").count() == 280
    assert 0 < before < 40
    last = watched.page.locator("a.picture img").last
    last.scroll_into_view_if_needed()
    assert last.evaluate("image => image.decode().then(() => image.naturalWidth)") == 360
    context.close()


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.full)])
@pytest.mark.parametrize("width", [1400, pytest.param(360, marks=pytest.mark.full)])
def test_axe_finds_nothing_to_complain_of(scheme: str, width: int, browser: Any, file: Path) -> None:
    """WCAG 2.2 AA and axe's best practices, with the picture closed and open; contrast is among the rules that ran."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python").Axe()
    # the page's policy would keep axe's own script out
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 800}, bypass_csp=True)
    page = context.new_page()
    page.goto(file.as_uri())
    page.get_by_role("button", name="brain (ml)").click()
    closed = axe.run(page).response
    page.locator("a.picture").first.click()
    opened = axe.run(page).response
    assert [(found["id"], found["nodes"][0]["html"]) for found in closed["violations"] + opened["violations"]] == []
    assert "color-contrast" in {found["id"] for found in closed["passes"]}
    context.close()


def test_a_narrow_window_scrolls_only_the_table(browser: Any, file: Path) -> None:
    """WCAG 1.4.10: at 320 px nothing but the table needs scrolling in two directions."""
    context = browser.new_context(viewport={"width": 320, "height": 700})
    page = context.new_page()
    page.goto(file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    assert page.evaluate("document.querySelector('.scroll').scrollWidth") > 320
    context.close()


def test_nothing_moves(file: Path) -> None:
    """There is no motion to reduce."""
    html = file.read_text(encoding="utf-8")
    assert not [word for word in ("transition", "animation", "smooth") if word in html]
