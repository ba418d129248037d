"""What words say of a contrast: of a protocol, a description, a file name. The table is `contrast_words.toml`."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final, NamedTuple

from brain_edge.image.contrast import Contrast, Finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

SEPARATORS: Final = r"[ _./-]*"


class Row(NamedTuple):
    """One row of the table: what its words say, how a sentence calls that, and which other contrasts it stands over."""

    contrast: Contrast
    meaning: str
    over: frozenset[Contrast]
    pattern: re.Pattern[str]


class Table(NamedTuple):
    """The table, its words compiled."""

    rows: tuple[Row, ...]
    patterns: Mapping[str, re.Pattern[str]]


@cache
def table() -> Table:
    """The words, read and compiled when the first text is looked at."""
    read = tomllib.loads(files("brain_edge.io").joinpath("contrast_words.toml").read_text(encoding="utf-8"))

    def compiled(words: Iterable[str]) -> re.Pattern[str]:
        any_of = "|".join(words).replace("~", f"(?: (?:{'|'.join(read['endings'])}))").replace(" ", SEPARATORS)
        return re.compile(f"(?<![a-z0-9])(?:{'|'.join(read['beginnings'])})*(?:{any_of})(?![a-z0-9])")

    def row(contrast: str, meaning: str, words: Iterable[str], over: Iterable[str] = ()) -> Row:
        stands_over = Contrast if contrast == Contrast.OTHER else map(Contrast, over)
        return Row(Contrast(contrast), meaning, frozenset(stands_over), compiled(words))

    patterns = {name: compiled(words) for name, words in read["patterns"].items()}
    return Table(tuple(row(**given) for given in read["row"]), patterns)


def in_words(text: str, says: str = "the words say") -> Finding | None:
    """The contrast that a text names, its agent apart (`says_agent`); None where it names none.

    Of a text that names several the contrast is None. The evidence begins with who `says` it.
    """
    said = tuple(_said(text))
    if not said:
        return None
    first, *others = said
    contradicting = [row for row in others if row.contrast is not first.contrast and row.contrast not in first.over]
    if contradicting:
        return Finding(None, (f"{says} {first.meaning} and {contradicting[0].meaning}",))
    return Finding(first.contrast, (f"{says} {first.meaning}",))


def in_file_name(name: str) -> Finding | None:
    """The contrast that the name of a file says, without its suffix; None where it says none.

    The last part of a name of BIDS (`sub-01_acq-pd_T1w`) decides, and of its entities `ce-` and `acq-` tell of an
    agent. Another name counts up to what it was registered to (`T1_to_FLAIR`), and one that also says something that
    no model is made for (`T1_perf`) says nothing.
    """
    says = f"the file name {name} says"
    if name.startswith("sub-"):
        *entities, suffix = name.split("_")
        found, words = in_words(suffix, says), " ".join(each for each in entities if each.startswith(("ce-", "acq-")))
        is_part = any(each.startswith("part-") and each != "part-mag" for each in entities)
    else:
        words = re.split(r"[ _.-](?:to|in|on|onto|2)[ _.-]", name, maxsplit=1, flags=re.IGNORECASE)[0]
        found, is_part = in_words(words, says), False
        if found is not None and found.contrast is Contrast.OTHER and len({row.contrast for row in _said(words)}) > 1:
            return None
    if found is None or found.contrast is None:
        return None
    if is_part:
        return Finding(Contrast.OTHER, (f"{says} another part than the magnitude",))
    if found.contrast is Contrast.T1W and says_agent(words):
        return Finding(Contrast.T1C, (*found.evidence, "and after contrast"))
    return found


def named(text: str) -> Contrast | None:
    """The contrast whose name a text is, such as `T1`, `t1w`, `T1ce` or `FLAIR`; None where it is none."""
    found = next((row.contrast for row in table().rows if row.pattern.fullmatch(_plain(text))), None)
    return None if found is Contrast.OTHER else found


def says_agent(text: str) -> bool | None:
    """Whether a text says after a contrast agent (True), or expressly before or without (False)."""
    return False if _matches("no agent", text) else _matches("agent", text) or None


def says_localiser(text: str) -> bool:
    """Whether a text says that images were made for planning."""
    return _matches("localiser", text) or (_matches("perhaps a localiser", text) and in_words(text) is None)


def _said(text: str) -> Iterator[Row]:
    return (row for row in table().rows if row.pattern.search(_plain(text)))


def _matches(name: str, text: str) -> bool:
    return table().patterns[name].search(_plain(text)) is not None


def _plain(text: str) -> str:
    """In lower case, "+" a word of its own."""
    return text.lower().replace("+", " + ")
