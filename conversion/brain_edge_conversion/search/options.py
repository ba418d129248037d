"""Options of a search for a cheaper package: budget, threads, time limit, report."""

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
    """Options of a search and its judgement.

    Attributes:
        budget: accuracy that the masks may lose.
        runtime: runtime options, such as the threads of all measurements.
        report: function that receives progress lines, one at a time.
        report_folder: folder of the report, with its page and pictures of the worst cases; None writes a report without
            patients beside the future package.
        without_patients: True for a report that names no subject and shows no picture.
        time_limit_min: time in minutes, over all interruptions, after which no trial begins and no fit of weights goes
            on; None for no limit. At least one trial runs, and the best result so far is judged. The limit is not part
            of the question: a search that ended by time continues when given more.
        overwrite: True to replace a package of the same name.

    Raises:
        UsageError: the time limit is not above zero, or `without_patients` has no report that would name patients.
    """

    budget: AccuracyBudget = field(default_factory=AccuracyBudget)
    runtime: RuntimeOptions = field(default_factory=RuntimeOptions)
    report: Callable[[str], None] = lambda _line: None
    report_folder: Path | None = None
    without_patients: bool = False
    time_limit_min: float | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.time_limit_min is not None and not 0 < self.time_limit_min < math.inf:
            raise UsageError(f"expected --time-limit of more than 0 minutes, got {self.time_limit_min:g}")
        if self.without_patients and self.report_folder is None:
            raise UsageError("--without-patients has no effect without --report FOLDER; remove it")

    @property
    def names_patients(self) -> bool:
        """True if the report names subjects and shows their images."""
        return self.report_folder is not None and not self.without_patients
