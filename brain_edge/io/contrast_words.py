"""Contrast named by the words of a protocol, a description or a file name. The table is `contrast_words.toml`."""

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
    """One row of the table: its contrast, its words, their name in a sentence, and the contrasts that it overrides."""

    contrast: Contrast
    meaning: str
    over: frozenset[Contrast]
    pattern: re.Pattern[str]


class Table(NamedTuple):
    """The table with compiled words."""

    rows: tuple[Row, ...]
    patterns: Mapping[str, re.Pattern[str]]


@cache
def table() -> Table:
    """Read and compile the table on first use."""
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
    """Find the contrast that a text names, apart from the agent (`says_agent`); None if it names none.

    A text that names several contrasts gives a finding without contrast. The evidence begins with `says`.
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
    """Find the contrast in the name of a file without its suffix; None if it names none.

    The last part of a BIDS name (`sub-01_acq-pd_T1w`) decides, and its entities `ce-` and `acq-` name an agent. Any
    other name counts up to its registration target (`T1_to_FLAIR`). Such a name gives no contrast if it also names an
    image for which no model is made (`T1_perf`).
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
    """Return the contrast named by exactly this text, such as `T1`, `t1w`, `T1ce` or `FLAIR`; None if it is no name."""
    found = next((row.contrast for row in table().rows if row.pattern.fullmatch(_plain(text))), None)
    return None if found is Contrast.OTHER else found


def says_agent(text: str) -> bool | None:
    """Return True if a text says after contrast agent, False if it says before or without, None if it says neither."""
    return False if _matches("no agent", text) else _matches("agent", text) or None


def says_localiser(text: str) -> bool:
    """Return True if a text says that images were acquired for planning."""
    return _matches("localiser", text)


def may_say_localiser(text: str) -> bool:
    """Return True if a text names no contrast, and a word that means planning or something else ("stereotaxy loc")."""
    return _matches("perhaps a localiser", text) and in_words(text) is None


def _said(text: str) -> Iterator[Row]:
    return (row for row in table().rows if row.pattern.search(_plain(text)))


def _matches(name: str, text: str) -> bool:
    return table().patterns[name].search(_plain(text)) is not None


def _plain(text: str) -> str:
    """Return a text in lower case with "+" as a separate word."""
    return text.lower().replace("+", " + ")
