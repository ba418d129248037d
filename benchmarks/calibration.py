"""How often the sentence about all subjects is false: cohorts drawn from known populations, refused ones counted.

    python -m benchmarks calibration

Each cohort is judged by the program's own budget, and what it would print is read: a statement is false where a larger
share of the population than it says exceeds the limit for a single case. Prints the table of docs/concepts/budget.md.
The generator is seeded, so that the table is the same on every machine.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import click
import numpy as np

from brain_edge.evaluation.cohort import Split
from brain_edge.evaluation.evidence import AccuracyCase
from brain_edge.evaluation.markdown import markdown_table
from brain_edge_conversion.budget.budget import AccuracyBudget, judge, losses
from brain_edge_conversion.budget.subjects import exceedance, next_patient, worst_by_subject

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    FloatArray = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

SIZES: Final = (3, 10, 19, 60)
DRAWS: Final = 2000
STATED: Final = 0.05
"""Share of all cohorts that may lead to a false statement: 95 % confidence."""
BUDGET: Final = AccuracyBudget(max_dice_drop=0.01)
SMALL, LARGE, BASELINE = 0.001, 0.1, 0.95
CANDIDATES: Final = 5
EXACTLY: Final = 100_000
"""Subjects that the share of a population is counted on, where it has no formula."""

Drops = list[list[float]]
"""Per subject, the drop of each of its visits."""


@dataclass(frozen=True)
class Population:
    """Whom a cohort is drawn from, and how its package comes about.

    Attributes:
        title: in the table.
        draw: so many subjects, for a cohort of so many.
        candidates: that are judged on one cohort in turn, each with losses of its own, until one is within the budget.
        chases: whether a budget that was missed is replaced by the smallest that the cohort meets.
    """

    title: str
    draw: Callable[[np.random.Generator, int, int], Drops]
    candidates: int = 1
    chases: bool = False

    def worst_of_many(self, size: int) -> FloatArray:
        """The worst drops of so many subjects that the share above a limit can be counted, in order."""
        drops = self.draw(np.random.default_rng(1), EXACTLY, size)
        return np.sort([max(visits) for visits in drops])


@dataclass(frozen=True)
class Rates:
    """Of all cohorts that were drawn, the shares for which a package was written, and a false statement with it."""

    written: float
    false: float


def _rare(rng: np.random.Generator, count: int, size: int) -> Drops:
    """Just so many exceed the limit that the statement is false: the worst population of all."""
    share = exceedance(size) + 0.001
    return [[LARGE if lost else SMALL] for lost in rng.random(count) < share]


def _rarer(rng: np.random.Generator, count: int, size: int) -> Drops:
    """As above for the confidence that all candidates share."""
    share = exceedance(size, 1 - STATED / CANDIDATES) + 0.001
    return [[LARGE if lost else SMALL] for lost in rng.random(count) < share]


def _normal(rng: np.random.Generator, count: int, _size: int) -> Drops:
    return [[drop] for drop in rng.normal(0.005, 0.01, count).tolist()]


def _long_tail(rng: np.random.Generator, count: int, _size: int) -> Drops:
    return [[drop] for drop in np.minimum(rng.lognormal(-6.0, 1.2, count), 0.5).tolist()]


def _visits(rng: np.random.Generator, count: int, _size: int) -> Drops:
    """One to nine visits, who came more often having more of them to lose in."""
    return [rng.normal(0.005, 0.006, times).tolist() for times in rng.integers(1, 10, count)]


POPULATIONS: Final = (
    Population("just above what is stated", _rare),
    Population("normal, 7 % above", _normal),
    Population("long tail, 4 % above", _long_tail),
    Population("one to nine visits, 3 % above", _visits),
    Population("normal, budget chosen after the look", _normal, chases=True),
    Population("long tail, budget chosen after the look", _long_tail, chases=True),
    Population(f"the first of {CANDIDATES} candidates that passes", _rarer, candidates=CANDIDATES),
)


@click.command()
@click.option("--draws", default=DRAWS, show_default=True, help="Cohorts of each size and population.")
def main(draws: int) -> None:
    """Draw, judge, and print Markdown."""
    click.echo(table([[rates(each, size, draws) for size in SIZES] for each in POPULATIONS], SIZES))


def table(rows: Sequence[Sequence[Rates]], sizes: Sequence[int]) -> str:
    """A row for each population."""
    columns = ("population", *(f"{size} subjects" for size in sizes))
    cells = [
        (each.title, *(f"{found.false:.2%} of all ({found.written:.1%} written)" for found in row))
        for each, row in zip(POPULATIONS, rows, strict=True)
    ]
    return markdown_table(columns, cells, aligned=False)


def rates(population: Population, size: int, draws: int = DRAWS) -> Rates:
    """Draw cohorts of one size."""
    rng = np.random.default_rng([size, POPULATIONS.index(population)])
    worst = population.worst_of_many(size)
    said = [_statement(population, rng, size) for _ in range(draws)]
    written = [each for each in said if each is not None]
    false = [1 - np.searchsorted(worst, limit, side="right") / len(worst) > stated for stated, limit in written]
    return Rates(len(written) / draws, sum(false) / draws)


def _statement(population: Population, rng: np.random.Generator, size: int) -> tuple[float, float] | None:
    """The share that is printed of one cohort, and the limit it is about; None where no package is written."""
    for others in range(population.candidates):
        cases = _cases(population.draw(rng, size, size))
        budget = BUDGET
        verdict = judge(cases, 1.0, budget)
        if not verdict.met and population.chases:
            mean = max(verdict.worst_mean_drop, verdict.worst_case_drop / 2) + 1e-5
            budget = AccuracyBudget(max_dice_drop=min(mean, 0.49))
            verdict = judge(cases, 1.0, budget)
        if verdict.met:
            worst = worst_by_subject([(case.subject, drop) for case, drop in losses(cases).items()])
            words = next_patient(worst, budget.case_limit, "drop", others)
            (stated,) = re.findall(r"at most ([\d.]+)% of all subjects", words)
            return float(stated) / 100, budget.case_limit
    return None


def _cases(drops: Drops) -> list[AccuracyCase]:
    return [
        AccuracyCase(
            case=subject,
            split=Split.TEST,
            subject=subject,
            voxel_diagonal_mm=1.7,
            label=1,
            dice_baseline=BASELINE,
            dice_candidate=BASELINE - drop,
            drop=drop,
            agreement=1.0,
            hd95_baseline_mm=1.0,
            hd95_candidate_mm=1.0,
            volume_baseline_ml=1000.0 + visit,
            volume_candidate_ml=1000.0,
            reference_volume_ml=1000.0,
        )
        for subject, visits in enumerate(drops, start=1)
        for visit, drop in enumerate(visits)
    ]


if __name__ == "__main__":
    main()
