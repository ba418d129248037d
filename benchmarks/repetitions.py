"""How often the range for a repetition holds another repetition: as recorded, and by drawing from known populations.

    python -m benchmarks repetitions [RESULTS]

Exit code 1 where the recorded share is below 90 %.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import numpy as np

from benchmarks.harness.cell_record import read_cells
from benchmarks.harness.record import RESULTS
from benchmarks.report.summaries import held, machines
from brain_edge.bench.starts import MINIMUM_STARTS, estimate
from brain_edge.errors import BrainEdgeError
from brain_edge.evaluation.markdown import markdown_table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from benchmarks.report.summaries import Held

    Draw = Callable[[np.random.Generator, tuple[int, int]], NDArray[np.float64]]

LEAST_SHARE: Final = 0.9
TRIALS: Final = 2000
SEED: Final = 20261129
HOURS: Final = (0.0, 0.3, 0.6, 1.0)
"""Standard deviation of what a whole repetition shares, over that of its starts."""

POPULATIONS: Final[Mapping[str, Draw]] = {
    "normal": lambda draw, shape: draw.normal(0, 0.05, shape),
    "two modes, as often": lambda draw, shape: draw.normal(0, 0.02, shape) + 0.2 * (draw.random(shape) < 0.5),
    "two modes, one in ten": lambda draw, shape: draw.normal(0, 0.02, shape) + 0.2 * (draw.random(shape) < 0.1),
    "Student's, 3 degrees": lambda draw, shape: 0.03 * draw.standard_t(3, shape),
}
"""Logarithms of the ratios of single starts."""


@click.command()
@click.argument("results", type=click.Path(path_type=Path), default=RESULTS)
@click.option("--trials", type=click.IntRange(min=100), default=TRIALS, show_default=True, help="Of each simulation.")
def main(results: Path, trials: int) -> None:
    """Count how often ranges for a repetition have held in RESULTS [benchmarks/results], and would hold."""
    found = [(each.cpu, held(each.runs)) for each in machines(read_cells(results))]
    known = [one for _, rows in found for one in rows]
    for cpu, rows in found:
        if rows:
            click.echo(f"{cpu}\n\n{recorded_table(rows)}\n")
    click.echo(f"By drawing, {trials} times, {MINIMUM_STARTS} starts a repetition:\n\n{simulated_table(trials)}")
    for what, inside, told in shares(known):
        click.echo(f"{what}: {inside} of {told}" + (f", {inside / told:.1%}" if told else ""))
        if told and inside < LEAST_SHARE * told:
            raise BrainEdgeError(f"{what}: the ranges held {inside / told:.1%}, expected at least {LEAST_SHARE:.0%}")


def shares(rows: Sequence[Held]) -> tuple[tuple[str, int, int], ...]:
    """In words, how many were inside, and of how many."""
    return (
        (
            "repetitions in the range of all others",
            sum(row.left_out for row in rows),
            sum(row.repetitions for row in rows),
        ),
        ("repetitions in the range of one other", sum(row.inside for row in rows), sum(row.told for row in rows)),
    )


def recorded_table(rows: Sequence[Held]) -> str:
    """Each ratio."""
    columns = ("cell", "contender", "in the range of all others", "in the range of one other")
    told = [f"{row.inside} of {row.told}" if row.told else "-" for row in rows]
    cells = [
        [row.cell, row.contender, f"{row.left_out} of {row.repetitions}", one]
        for row, one in zip(rows, told, strict=True)
    ]
    return markdown_table(columns, cells)


def simulated_table(trials: int) -> str:
    """Each population by how much whole repetitions differ; the range of one repetition, and of five."""
    columns = ("starts", *(f"{hour:g}: of 1, of {MINIMUM_STARTS}" for hour in HOURS))
    draw = np.random.default_rng(SEED)
    rows = [
        [
            name,
            *(
                ", ".join(f"{simulated(of_one, hour, n, trials, draw):.1%}" for n in (1, MINIMUM_STARTS))
                for hour in HOURS
            ),
        ]
        for name, of_one in POPULATIONS.items()
    ]
    return markdown_table(columns, rows)


def simulated(of_one: Draw, hour: float, known: int, trials: int, draw: np.random.Generator) -> float:
    """Share of trials in which the range from some repetitions holds another one.

    Args:
        of_one: draws the logarithms of starts.
        hour: standard deviation of what a repetition shares, over that of its starts.
        known: repetitions that give the range.
        trials: how many.
        draw: of all.
    """
    spread = hour * float(of_one(draw, (1, 20_000)).std())
    inside = 0
    for _ in range(trials):
        shared = draw.normal(0, spread, (known + 1, 1)) if spread else np.zeros((known + 1, 1))
        *given, other = np.exp(of_one(draw, (known + 1, MINIMUM_STARTS)) + shared)
        told = estimate(*given).repetition
        assert told is not None, "five starts have a range"
        inside += told.low <= estimate(other).value <= told.high
    return inside / trials
