"""What MkDocs does not do by itself: pages and files outside of `docs/`, and a list of the decisions.

Pages are written for a reader of the repository, so they link what lies beside `docs/`. On the site such a page becomes
one of its pages, a file is copied, and a link to a folder becomes text.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).resolve().parents[2]
DOCS: Final = "docs/"
PAGES: Final = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changes.md",
    "benchmarks/README.md": "benchmarks/measuring.md",
    "calibration_data/README.md": "calibration-data.md",
}
"""Pages outside of `docs/` -> where they lie on the site."""

SHOWN: Final = (".html", ".json", ".png", ".svg")
"""Suffixes that every browser shows; other files are copied as text."""

DECISIONS: Final = "decisions/"
FENCE: Final = re.compile(r"(^ *```.*?^ *```$)", re.MULTILINE | re.DOTALL)
LINK: Final = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")

FOREIGN: Final = re.compile(r"<(?:script|img|iframe|link)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//[^>]*>")
"""An element that a browser would load from another place; a link that a reader follows is none."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List the decisions in the navigation, in the order of their numbers."""
    for section in config.nav or ():
        for pages in section.values():
            if isinstance(pages, list):
                pages[:] = [_decisions() if page == {"Decisions": DECISIONS} else page for page in pages]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages outside of `docs/` and every file that a page links."""
    for source, place in PAGES.items():
        files.append(File.generated(config, place, content=(ROOT / source).read_text(encoding="utf-8")))
    linked = {each for page in files.documentation_pages() for each in _linked(page.content_string, page.src_uri)}
    for source in sorted(linked):
        files.append(File.generated(config, _copied(source), abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 - by name
    """Rewrite the links that leave `docs/`, and those of pages that lie elsewhere on the site."""
    return _outside_fences(markdown, lambda text: LINK.sub(lambda link: _rewritten(link, page.file.src_uri), text))


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:  # noqa: ARG001 - by name
    """Refuse a page that loads something from the network: it is read on machines that have none.

    Raises:
        PluginError: the page does.
    """
    if loaded := FOREIGN.search(output):
        raise PluginError(f"{page.file.src_uri}: expected a page that loads nothing from the network, got {loaded[0]}")
    return output


def _decisions() -> dict[str, list[str]]:
    names = sorted(path.name for path in (ROOT / DOCS / DECISIONS).glob("0*.md"))
    return {"Decisions": [f"{DECISIONS}{name}" for name in ("README.md", *names)]}


def _linked(markdown: str, page: str) -> Iterator[str]:
    """The files of the repository that a page links, beyond the pages and files that the site has anyway."""
    for _, _, target in LINK.findall(FENCE.sub("", markdown)):
        source = _source(target, page)
        if source is not None and not source.startswith(DOCS) and source not in PAGES and (ROOT / source).is_file():
            yield source


def _rewritten(link: re.Match[str], page: str) -> str:
    image, text, target = link.groups()
    source = _source(target, page)
    if source is None:
        return link[0]
    if (ROOT / source).is_dir():
        return text
    _, mark, anchor = target.partition("#")
    place = source.removeprefix(DOCS) if source.startswith(DOCS) else PAGES.get(source) or _copied(source)
    return f"{image}[{text}]({posixpath.relpath(place, posixpath.dirname(page) or '.')}{mark}{anchor})"


def _source(target: str, page: str) -> str | None:
    """The path in the repository that a link of a page leads to; None for an address and for the page itself."""
    path = target.partition("#")[0]
    if not path or ":" in target:
        return None
    home = next((source for source, place in PAGES.items() if place == page), DOCS + page)
    return posixpath.normpath(posixpath.join(posixpath.dirname(home), path))


def _copied(source: str) -> str:
    return f"files/{source}" if source.endswith(SHOWN) else f"files/{source}.txt"


def _outside_fences(markdown: str, change: Callable[[str], Any]) -> str:
    return "".join(part if number % 2 else change(part) for number, part in enumerate(FENCE.split(markdown)))
