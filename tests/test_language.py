"""Docstrings, help texts and errors are plain: summaries are phrases, parameters are nouns, sentences are short."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
MOST = 0.02
"""Largest share of odd summaries, odd parameters or long sentences."""
SHOWN = 5
MOST_WORDS, LEAST_WORDS = 25, 3
"""Limits of a sentence; a text with fewer words is a label."""

QUESTIONS = re.compile(r"what|whether|how|of|those|that|where|why|from|which|who|whose|it|they|these|such")
"""First words of a summary that is no verb or noun phrase."""
PREPOSITIONS = re.compile(r"if|when|as|its|their|with|in|by|to|at|for|on|than|and|or|but|so|none|this")
"""Further first words of a parameter's description that is no noun phrase."""

SECTION = re.compile(r"(?:Args|Attributes):\n((?:[ \t]+.*\n?|\n)+)")
ENTRY = re.compile(r"\*{0,2}\w+(?: \([^)]*\))?: *(\S+)")


class Said(NamedTuple):
    """One counted text: its kind, its line, and whether it is plain."""

    kind: str
    line: int
    text: str
    is_plain: bool


def begins_with(words: re.Pattern[str], text: str) -> bool:
    first = text.split(maxsplit=1)[:1] or [""]
    return words.fullmatch(first[0].lower().strip("`.,:;*")) is not None


def text_of(node: ast.expr) -> str:
    """The text of a string, of parts that are added, and of an f-string with X for each field."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return text_of(node.left) + text_of(node.right)
    return ""


def parameters_of(docstring: str) -> Iterator[tuple[str, bool]]:
    """Each entry of the first section of arguments or attributes, and whether its description is a noun phrase."""
    section = SECTION.search(docstring)
    indent = re.match(r"[ \t]+", section[1]) if section else None
    if section is None or indent is None:
        return
    for line in section[1].split("\n"):
        if line.startswith(indent[0]) and (entry := ENTRY.match(line, indent.end())):
            yield line.strip(), not (begins_with(QUESTIONS, entry[1]) or begins_with(PREPOSITIONS, entry[1]))


def sentences_of(text: str) -> Iterator[tuple[str, bool]]:
    """Each sentence, and whether it has at most 25 words and one semicolon."""
    for sentence in re.split(r"(?<=[.?!])\s+", text.strip()):
        if (words := len(sentence.split())) >= LEAST_WORDS:
            yield sentence, words <= MOST_WORDS and sentence.count(";") <= 1


def said_by(source: str) -> Iterator[Said]:
    """Every summary of a function, every parameter, and every sentence of a help text or a raised error."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and (doc := ast.get_docstring(node)):
            if not isinstance(node, ast.ClassDef):
                yield Said("summary", node.lineno, doc.splitlines()[0], not begins_with(QUESTIONS, doc))
            for entry, is_noun in parameters_of(doc):
                yield Said("parameter", node.lineno, entry, is_noun)
        texts: list[ast.expr] = [node.value] if isinstance(node, ast.keyword) and node.arg == "help" else []
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            texts = node.exc.args
        for text in texts:
            for sentence, is_short in sentences_of(text_of(text)):
                yield Said("sentence", text.lineno, sentence, is_short)


@pytest.mark.parametrize("kind", ["summary", "parameter", "sentence"])
def test_hardly_a_text_must_be_read_twice(kind: str):
    paths = sorted(path for package in ("brain_edge", "conversion") for path in (ROOT / package).rglob("*.py"))
    said = [(path, each) for path in paths for each in said_by(path.read_text("utf-8")) if each.kind == kind]
    odd = [f"{path.relative_to(ROOT)}:{each.line}: {each.text}" for path, each in said if not each.is_plain]
    assert len(odd) <= MOST * len(said), "\n".join([f"{len(odd)} of {len(said)} ({kind}); first:", *odd[:SHOWN]])


PLANTED = '''
class Box:
    """Of a head; a class has no summary that is counted.

    Attributes:
        side: in voxels.
        spacing_mm (float): distance between voxels, mm,
            of a grid: a continued line is no entry.
    """

    def plain(self, **options: str) -> None:
        """Return the box.

        Args:
            **options: `What` to return.
        """
        raise UsageError(f"{self}: one; two; three. Two words. {self} is {options}.", "a " + "b; " + "c; d")

    def odd(self) -> None:
        """*Whether* it is odd."""
        option("--side", help="W25. W26.")
'''.replace("W25", " ".join(["word"] * 25)).replace("W26", " ".join(["word"] * 26))


def test_what_is_planted_is_counted():
    said = sorted(said_by(PLANTED))
    assert [(each.kind, each.line, each.text[:18], each.is_plain) for each in said] == [
        ("parameter", 2, "side: in voxels.", False),
        ("parameter", 2, "spacing_mm (float)", True),
        ("parameter", 11, "**options: `What` ", False),
        ("sentence", 17, "X is X.", True),
        ("sentence", 17, "X: one; two; three", False),
        ("sentence", 17, "a b; c; d", False),
        ("sentence", 21, "word word word wor", False),
        ("sentence", 21, "word word word wor", True),
        ("summary", 11, "Return the box.", True),
        ("summary", 19, "*Whether* it is od", False),
    ]
