"""A part of a batch, so that several processes or machines can share it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from brain_edge.errors import UsageError


@dataclass(frozen=True)
class Shard:
    """Part `number` of `count`, counted from 1.

    Raises:
        UsageError: there is no such part.
    """

    number: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise UsageError(f"expected a shard from 1/{self.count} to {self.count}/{self.count}, got {self}")

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def holds(self, case: str) -> bool:
        """Whether a case is of this part.

        It depends on the name alone: whatever else comes into or goes from the folder meanwhile, each case stays in
        exactly one of the parts.
        """
        digest = hashlib.sha256(case.encode("utf-8", "surrogateescape")).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.number - 1


def parse_shard(text: str) -> Shard:
    """`2/8` -> the second of eight.

    Raises:
        UsageError: another spelling, or there is no such part.
    """
    found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    if found is None or int(found[2]) == 0:
        raise UsageError(f"expected a shard such as 1/4 (the first of four), got {text!r}")
    return Shard(int(found[1]), int(found[2]))
