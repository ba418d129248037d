"""Markdown tables: the only table printer of commands, cards, reports and benchmarks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, aligned: bool = True) -> str:
    """Format a Markdown table.

    Args:
        columns: column titles.
        rows: cells of each row, one per column.
        aligned: True to align columns for a terminal; rendered pages need no padding.
    """
    # a "|" in the name of a subject would end its cell
    cells = [columns, *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    widths = [max(map(len, column)) if aligned else 0 for column in zip(*cells, strict=True)]
    lines = [f"| {' | '.join(map(str.ljust, line, widths))} |" for line in cells]
    rule = f"| {' | '.join('-' * width for width in widths)} |" if aligned else f"|{'---|' * len(columns)}"
    return "\n".join((lines[0], rule, *lines[1:]))
