"""Time limit of a search: no trial begins after it, and a trial that is still being made ends without a result.

Only finished trials are in the journal. A trial that the limit ended begins anew when the search is given more time, so
the limit changes no figure of a trial.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from brain_edge_conversion.search.journal import Choice, Journal
    from brain_edge_conversion.search.options import SearchOptions


class TimeOverError(Exception):
    """The time limit is over while a trial is being made; the search catches this error and judges the best so far."""


def is_over(options: SearchOptions, journal: Journal[Choice]) -> bool:
    """Return True if the finished trials have taken the time that a search may take."""
    return 0 < (options.time_limit_min or 0.0) * 60.0 <= journal.elapsed_s


def report_within_limit(options: SearchOptions, journal: Journal[Choice]) -> Callable[[str], None]:
    """Return a function for the progress of a trial that is being made; it ends the trial when the time is over.

    The first trial is never ended: without it there is nothing to judge.

    Raises:
        TimeOverError: raised by the returned function, after the line was reported.
    """
    if options.time_limit_min is None or not len(journal.entries):
        return options.report
    end_s = time.monotonic() + options.time_limit_min * 60.0 - journal.elapsed_s

    def report(line: str) -> None:
        options.report(line)
        if time.monotonic() >= end_s:
            raise TimeOverError

    return report


def processor_s() -> float:
    """Return the processor time of this process and of its finished child processes, s."""
    return sum(os.times()[:4])
