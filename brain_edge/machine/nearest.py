"""The word that was probably meant by one that is not among the allowed words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

LONGEST_WORD: Final = 100
"""Characters up to which a word is compared; a longer one is no slip of the keyboard."""


def nearest(got: str, words: Iterable[str]) -> str:
    """Return the word that is nearest to `got`, whatever the case; empty if none is near."""
    from difflib import get_close_matches

    folded = {word.casefold(): word for word in words}
    found = get_close_matches(got.casefold(), folded, n=1) if len(got) <= LONGEST_WORD else []
    return folded[found[0]] if found else ""


def did_you_mean(got: str, words: Iterable[str]) -> str:
    """Return the question that ends a refusal, such as "; did you mean FLAIR?"; empty if no word is near."""
    found = nearest(got, words)
    return f"; did you mean {found}?" if found else ""
