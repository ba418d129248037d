"""How much of `brain_edge` a hospital's commands can reach: files and lines, by room.

    python -m benchmarks reachable

The imports are read from the code: those inside of functions and those for types alone count, and so does the
`__init__` of every package on the way. Commands are found by name, so that one command does not reach another; the
build side, `brain_edge_conversion`, is left out, because no hospital installs what it needs.
"""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path
from typing import Final

import click

ROOT: Final = Path(__file__).resolve().parents[1]
COMMANDS: Final = ("run", "info", "verify", "bids", "cache")
"""What a hospital calls."""


def reachable(root: Path = ROOT, commands: tuple[str, ...] = COMMANDS) -> dict[str, int]:
    """The lines of each file of `brain_edge` that the program and these commands of it can reach, by relative path."""
    waiting = [f"brain_edge.cli.{name}" for name in ("main", *commands)]
    found: dict[Path, int] = {}
    while waiting:
        for path in _files(root, waiting.pop()):
            if path not in found:
                text = path.read_text(encoding="utf-8")
                found[path] = text.count("\n")
                waiting.extend(_imported(text))
    return {path.relative_to(root).as_posix(): lines for path, lines in sorted(found.items())}


def _imported(text: str) -> list[str]:
    """The dotted names that a file imports from `brain_edge`; no file of it imports by a relative name."""
    names = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return [name for name in names if name.partition(".")[0] == "brain_edge"]


def _files(root: Path, name: str) -> list[Path]:
    """The files that an import of a dotted name runs: the module, and the `__init__` of every package above it."""
    parts = name.split(".")
    folders = [root.joinpath(*parts[:end]) for end in range(1, len(parts) + 1)]
    places = [place for folder in folders for place in (folder / "__init__.py", folder.with_suffix(".py"))]
    return [place for place in places if place.is_file()]


@click.command()
def main() -> None:
    """Print the lines of each room and of all."""
    files = reachable()
    rooms: Counter[str] = Counter()
    for path, lines in files.items():
        rooms[path.split("/")[1]] += lines
    for room, lines in rooms.most_common():
        click.echo(f"{lines:7,}  {room}")
    click.echo(f"{sum(files.values()):7,}  lines of {len(files)} files: run, info, verify, bids, cache")
