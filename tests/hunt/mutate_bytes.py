"""Damage that needs to know nothing of a format: bits, bytes, runs, ends, and numbers at the edge of their type."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from random import Random

LONGEST_RUN: Final = 64
BITS: Final = (7, 8, 15, 16, 31, 32, 63)
INTEGERS: Final = (0, 1, -1, *(2**bits - 1 for bits in BITS), *(2**bits for bits in BITS))
FLOATS: Final = (0.0, -0.0, 1.0, float("nan"), float("inf"), float("-inf"), 1e308, -1e308, 5e-324, 1e-30)


def flip_bits(content: bytes, random: Random, _other: bytes) -> bytes:
    """A few bits anywhere."""
    changed = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 8))):
        if changed:
            changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def overwrite_run(content: bytes, random: Random, _other: bytes) -> bytes:
    """A run of zeros, of ones, or of noise."""
    start, end = _run(content, random)
    filling = random.choice((b"\0" * (end - start), b"\xff" * (end - start), random.randbytes(end - start)))
    return content[:start] + filling + content[end:]


def cut_end(content: bytes, random: Random, _other: bytes) -> bytes:
    """As a full disk or a broken connection leaves it."""
    return content[: random.randrange(len(content) + 1)]


def cut_run(content: bytes, random: Random, _other: bytes) -> bytes:
    """A run is missing."""
    start, end = _run(content, random)
    return content[:start] + content[end:]


def repeat_run(content: bytes, random: Random, _other: bytes) -> bytes:
    """A run is there twice, or a thousand times."""
    start, end = _run(content, random)
    return content[:end] + content[start:end] * random.choice((1, 2, 1000)) + content[end:]


def splice(content: bytes, random: Random, other: bytes) -> bytes:
    """The beginning of one file and the end of another."""
    return content[: random.randrange(len(content) + 1)] + other[random.randrange(len(other) + 1) :]


def extreme_number(content: bytes, random: Random, _other: bytes) -> bytes:
    """A number at the edge of its type, in the place of another one."""
    number = _packed(random)
    start = random.randrange(max(1, len(content) - len(number) + 1))
    if random.random() < 0.5:  # most fields lie where their length divides their place
        start -= start % len(number)
    return content[:start] + number + content[start + len(number) :]


def _packed(random: Random) -> bytes:
    order = random.choice("<>")
    if random.random() < 0.3:
        return struct.pack(order + random.choice("fd"), random.choice(FLOATS[:6]))
    size = random.choice((1, 2, 4, 8))
    return (random.choice(INTEGERS) % 2 ** (8 * size)).to_bytes(size, "little" if order == "<" else "big")


def _run(content: bytes, random: Random) -> tuple[int, int]:
    start = random.randrange(len(content) + 1)
    return start, min(len(content), start + random.randint(1, LONGEST_RUN))


ANY: Final = (flip_bits, overwrite_run, cut_end, cut_run, repeat_run, splice, extreme_number)
"""What can be done to every file."""
