"""The benchmark report in a folder: a page and its figures, whole or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from brain_edge.bench.matrix.cells import read_cells
from brain_edge.bench.matrix.costs import read_costs
from brain_edge.bench.matrix.data import machines
from brain_edge.bench.matrix.figures import draw_all
from brain_edge.bench.matrix.page import benchmark_page
from brain_edge.bench.matrix.turns import read_turns
from brain_edge.machine.atomic_folder import atomic_folder

if TYPE_CHECKING:
    from pathlib import Path

PAGE: Final = "README.md"


def write_benchmark_report(results: Path, folder: Path, costs: Path | None = None, *, overwrite: bool = False) -> Path:
    """Render all cells below a folder; the path of the page.

    Args:
        results: folder of recorded cells, of any number of machines.
        folder: is made.
        costs: TOML with the reader's prices and powers.
        overwrite: replace a folder that is there.

    Raises:
        InputError: there are no cells, or a file is refused.
        OutputError: the folder is there already, or cannot be written.
        MissingExtraError: matplotlib is not installed.
    """
    found = machines(read_cells(results))
    turns = read_turns(results)
    stated = read_costs(costs) if costs is not None else None
    with atomic_folder(folder, overwrite=overwrite) as draft:
        drawn = draw_all(found, draft)
        (draft / PAGE).write_text(benchmark_page(found, drawn, stated, turns), encoding="utf-8")
    return folder / PAGE
