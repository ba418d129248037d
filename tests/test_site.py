"""The site of the documentation, opened from disk in a real browser without network: pages, navigation, search.

Needs the extra `docs`, Debian's `chromium` (or CHROMIUM, its path) and playwright.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest.importorskip("mkdocs", reason="needs the extra docs")
pytest.importorskip("mkdocstrings", reason="needs the extra docs")
api = pytest.importorskip("playwright.sync_api", reason="needs playwright to drive a browser")

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: apt-get install chromium, or set CHROMIUM")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make site` does: a warning would end it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with api.sync_playwright() as driver:
        # chromium's own sandbox cannot be built by root in a container; what is opened is our own file
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Any, site: Path) -> Iterator[Any]:
    """The first page; afterwards nothing but files of the site was asked for, and nothing complained."""
    context, requests, complaints = browser.new_context(offline=True), [], []
    opened = context.new_page()
    opened.on("request", lambda request: requests.append(request.url))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.goto((site / "index.html").as_uri())
    yield opened
    context.close()
    assert complaints == []
    assert [url for url in requests if not url.startswith((site.as_uri(), "data:", "about:"))] == []


@pytest.mark.full  # a browser; CI builds the site with warnings as errors
def test_the_search_finds_a_word_of_the_glossary_from_disk(page: Any):
    page.keyboard.press("/")
    page.keyboard.type("exceedance", delay=20)
    result = page.locator(".md-search-result__link[href*='glossary.html']").first
    result.wait_for()
    result.click()
    page.wait_for_url("**/glossary.html*")
    assert page.locator("h1", has_text="Glossary").is_visible()


def test_the_navigation_leads_to_the_public_names(page: Any):
    address = page.locator("a.md-nav__link", has_text="Public names, one by one").first.get_attribute("href")
    page.goto(page.url.rpartition("/")[0] + f"/{address}")
    assert "parity_data" in page.locator(".doc-signature").first.inner_text()


def test_what_lies_outside_of_the_pages_is_there_too(site: Path):
    assert (site / "files/NOTICE.txt").read_text("utf-8") == (ROOT / "NOTICE").read_text("utf-8")
    assert (site / "files/benchmarks/results/kept/wheelhouse.json").is_file()
    assert all((site / name).is_file() for name in ("contributing.html", "changes.html", "calibration-data.html"))
