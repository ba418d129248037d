"""Part of a batch, so that several processes or machines can share the batch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from zlib import crc32

from brain_edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Shard:
    """Part `number` of `count`, counted from 1.

    Raises:
        UsageError: the number is not between 1 and `count`.
    """

    number: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise UsageError(f"expected a shard from 1/{self.count} to {self.count}/{self.count}, got {self}")

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def holds(self, case: str) -> bool:
        """Return True if a case belongs to this part.

        The part depends on the name of the case only. Each case stays in exactly one part, whatever other files the
        folder gains or loses.
        """
        return bool(self.share([case]))

    def share(self, cases: Iterable[str]) -> list[str]:
        """Return the cases of this part, of which there may be 100,000 in all."""
        count, own = self.count, self.number - 1
        return [case for case in cases if crc32(case.encode("utf-8", "surrogateescape")) % count == own]


def in_file_name(shard: Shard) -> str:
    """Return a shard as part of a file name: `3-of-8`."""
    return f"{shard.number}-of-{shard.count}"


def shard_of_file(name: str) -> Shard | None:
    """Return the shard that a file is named after, without its suffix; None for other names."""
    found = re.fullmatch(r"([0-9]{1,6})-of-([0-9]{1,6})(\.[a-z]+)?", name)
    return Shard(int(found[1]), int(found[2])) if found and 1 <= int(found[1]) <= int(found[2]) else None


def parse_shard(text: str) -> Shard:
    """Parse `2/8` as the second part of eight.

    Raises:
        UsageError: the text has another form, or the part does not exist.
    """
    found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    if found is None or int(found[2]) == 0:
        raise UsageError(f"expected a shard such as 1/4 (the first of four), got {text!r}")
    return Shard(int(found[1]), int(found[2]))
