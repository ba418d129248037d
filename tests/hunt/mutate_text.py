"""Damage to text: numbers, JSON values, lines, tags, encodings, brackets within brackets."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from random import Random

NUMBER: Final = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
NUMBERS: Final = (
    *(b"0", b"-0", b"-1", b"1", b"127", b"255", b"65536", b"2147483647", b"2147483648", b"-2147483649", b"4294967296"),
    *(
        b"9223372036854775807",
        b"9223372036854775808",
        b"18446744073709551616",
        b"1e308",
        b"1e309",
        b"-1e309",
        b"1e-400",
    ),
    *(
        b"0.0",
        b"-0.5",
        b"0.1",
        b"nan",
        b"NaN",
        b"inf",
        b"-inf",
        b"Infinity",
        b"1_000",
        b"0x10",
        b"9" * 400,
        b"0x" + b"f" * 5000,
        b"9" * 5000,
    ),
)
DEPTHS: Final = (60, 300, 900, 980, 20_000)
"""Within what a format allows, and around and beyond what Python's stack holds."""
STRINGS: Final = (
    "",
    "\0",
    " ",
    "../../x",
    "/dev/zero",
    "\ud800",
    "\u202e",
    "x" * 100_000,
    "\x1b[2J",
    "a\nb",
    "NaN",
    "1e999",
)
VALUES: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**400, -0.0, 1e-320, 1e308, float("nan"), float("inf")),
    *([], {}, [[]], [None], [0] * 1000, {"": None}, {"a": {"a": {"a": 0}}}),
    *STRINGS,
)
ENCODINGS: Final = ("utf-16", "utf-32", "utf-8-sig", "latin-1", "cp500")


def extreme_text_number(content: bytes, random: Random, _other: bytes) -> bytes:
    """Another number, written out."""
    found = list(NUMBER.finditer(content))
    if not found:
        return content
    chosen = random.choice(found)
    return content[: chosen.start()] + random.choice(NUMBERS) + content[chosen.end() :]


def other_value(content: bytes, random: Random, _other: bytes) -> bytes:
    """A JSON file in which one value is another, is missing, is there twice or is called otherwise."""
    try:
        root = json.loads(content)
    except (ValueError, RecursionError):
        return content
    places = list(_places(root))
    if not places:
        return json.dumps(random.choice(VALUES)).encode()
    holder, key = random.choice(places)
    _change(holder, key, random)
    return json.dumps(root, separators=(",", ":")).encode()


def _places(value: Any) -> Any:
    """Every value with what holds it and under which key."""
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


def _change(holder: Any, key: Any, random: Random) -> None:
    how = random.random()
    if how < 0.15:
        del holder[key]
    elif how < 0.3 and isinstance(holder, dict):
        holder[random.choice(STRINGS)] = holder.pop(key)
    elif how < 0.4 and isinstance(holder, list):
        holder.extend([holder[key]] * random.choice((1, 100)))
    else:
        holder[key] = random.choice(VALUES)


def key_twice(content: bytes, random: Random, _other: bytes) -> bytes:
    """A name that an object holds twice, which parsers read differently."""
    found = list(re.finditer(rb'"[^"\n]{1,40}"\s*:\s*[^,{}\[\]\n]{1,40}', content))
    if not found:
        return content
    chosen = random.choice(found)
    return content[: chosen.end()] + b"," + chosen[0] + content[chosen.end() :]


def move_lines(content: bytes, random: Random, _other: bytes) -> bytes:
    """Lines or tags that are missing, there twice, or elsewhere."""
    mark = b"\n" if content.count(b"\n") > 3 else b">"
    parts = content.split(mark)
    taken = parts.pop(random.randrange(len(parts)))
    for _ in range(random.choice((0, 1, 2))):
        parts.insert(random.randrange(len(parts) + 1), taken)
    return mark.join(parts)


def nest(content: bytes, random: Random, _other: bytes) -> bytes:
    """Brackets, objects or tags within each other, closed or not."""
    opening, closing = random.choice(((b"[", b"]"), (b'{"a":', b"}"), (b"<a>", b"</a>"), (b"- ", b""), (b"(", b")")))
    depth = random.choice(DEPTHS)
    deep = opening * depth + (closing * depth if random.random() < 0.5 else b"")
    start = random.choice((0, random.randrange(len(content) + 1), len(content)))
    return content[:start] + deep + content[start if random.random() < 0.5 else len(content) :]


def encode_otherwise(content: bytes, random: Random, _other: bytes) -> bytes:
    """The same text as another system writes it, and not as it is read."""
    text = content.decode("utf-8", "replace")
    return f"{text[:20]}\u00e9{text[20:]}".encode(random.choice(ENCODINGS), "replace")


def other_cell(content: bytes, random: Random, _other: bytes) -> bytes:
    """A table with tabs in which one cell is missing, is there twice, or is another text or the one of another cell."""
    lines = content.split(b"\n")
    number = random.randrange(len(lines))
    cells = lines[number].split(b"\t")
    place = random.randrange(len(cells))
    text = random.choice((*STRINGS, *NUMBERS))
    new = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    taken = random.choice(content.replace(b"\n", b"\t").split(b"\t"))
    cells[place : place + 1] = random.choice(([], [cells[place]] * 2, [new], [taken]))
    lines[number] = b"\t".join(cells)
    return b"\n".join(lines)


ANY_TEXT: Final = (extreme_text_number, extreme_text_number, move_lines, nest, encode_otherwise)
TABLE: Final = (*ANY_TEXT, other_cell, other_cell, other_cell)
JSON: Final = (*ANY_TEXT, other_value, other_value, other_value, key_twice)
