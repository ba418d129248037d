"""What a search for a cheaper package is told: budget, threads, time, and where its report goes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from brain_edge.errors import UsageError
from brain_edge.machine.options import RuntimeOptions
from brain_edge_conversion.budget.budget import AccuracyBudget

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """How to search and how to judge.

    Attributes:
        budget: what the masks may lose.
        runtime: threads of all measurements.
        report: told what is being done, one line at a time.
        report_folder: where the report goes, with its page and pictures of the worst cases; None writes one beside the
            package to be and without patients.
        without_patients: the report names no subject and shows no picture.
        time_limit_min: minutes after which no trial begins, however often the search was interrupted; there is one
            trial in any case, and what was found until then is judged. It is no part of the question that a search
            answers: with more time an ended one goes on. None for as many as it takes.

    Raises:
        UsageError: a time limit that is not above zero; `without_patients` without a report that would name any.
    """

    budget: AccuracyBudget = field(default_factory=AccuracyBudget)
    runtime: RuntimeOptions = field(default_factory=RuntimeOptions)
    report: Callable[[str], None] = lambda _line: None
    report_folder: Path | None = None
    without_patients: bool = False
    time_limit_min: float | None = None

    def __post_init__(self) -> None:
        if self.time_limit_min is not None and not 0 < self.time_limit_min < math.inf:
            raise UsageError(f"expected --time-limit of more than 0 minutes, got {self.time_limit_min:g}")
        if self.without_patients and self.report_folder is None:
            raise UsageError("without --report FOLDER no patient is in any report: --without-patients would do nothing")

    @property
    def names_patients(self) -> bool:
        """Whether the report names subjects and shows their images."""
        return self.report_folder is not None and not self.without_patients
