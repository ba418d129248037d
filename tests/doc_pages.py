"""The commands that a how-to page shows, run as they stand."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from cli_program import succeed

HOW_TO = Path(__file__).parent.parent / "docs" / "how-to"


def run_page(name: str) -> None:
    """Run every `brain-edge` line of a page in this folder; each must succeed."""
    text = (HOW_TO / name).read_text(encoding="utf-8")
    lines = [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    commands = [words[1:] for words in map(shlex.split, lines) if words and words[0] == "brain-edge"]
    assert commands
    for words in commands:
        succeed(*words)
