"""The instructions of the Dockerfile, for tests that read them and for one that executes them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent


class Instruction(NamedTuple):
    """One instruction: its keyword in upper case, and the rest of it on one line."""

    keyword: str
    rest: str


def stages() -> list[list[Instruction]]:
    """The stages of the Dockerfile, each beginning with its FROM; comments are left out, lines joined."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    kept = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(kept))
    found: list[list[Instruction]] = []
    for line in filter(None, map(str.strip, joined.splitlines())):
        keyword, _, rest = line.partition(" ")
        if keyword.upper() == "FROM":
            found.append([])
        found[-1].append(Instruction(keyword.upper(), " ".join(rest.split())))
    return found


def copied(stage: list[Instruction]) -> list[str]:
    """What a stage takes from the folder of the Dockerfile."""
    copies = [shlex.split(rest) for keyword, rest in stage if keyword in ("COPY", "ADD")]
    return [source for words in copies if not words[0].startswith("--from") for source in words[:-1]]


def only(stage: list[Instruction], keyword: str) -> str:
    """The one instruction of a stage with this keyword."""
    (rest,) = (each.rest for each in stage if each.keyword == keyword)
    return rest
