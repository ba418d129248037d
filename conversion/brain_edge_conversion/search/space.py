"""Interface between a search and its space: the candidates, their order, and how a trial is made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Protocol

from brain_edge_conversion.search.journal import Choice

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from brain_edge.evaluation.cohort import Case
    from brain_edge.evaluation.evidence import Change, FloatLayer
    from brain_edge.package import ModelPackage
    from brain_edge.spec import Value
    from brain_edge_conversion.search.journal import Entry, Journal
    from brain_edge_conversion.search.options import SearchOptions
    from brain_edge_conversion.search.splits import Splits


@dataclass(frozen=True, kw_only=True)
class TrialSetup(Generic[Choice]):
    """Environment in which trials are made and measured.

    Attributes:
        splits: cases of the cohort, by use.
        subjects: case number -> number of the person.
        masks: folder of the baseline's masks.
        scratch: empty folder that is removed with this process.
        journal: journal of this search.
        options: budget, threads, progress.
    """

    splits: Splits
    subjects: Mapping[int, int]
    masks: Path
    scratch: Path
    journal: Journal[Choice]
    options: SearchOptions


@dataclass(frozen=True)
class Stop(Generic[Choice]):
    """End of the trials.

    Attributes:
        chosen: chosen candidate; None if none meets the budget.
        reason: reason for the end, in words.
    """

    chosen: Choice | None
    reason: str


@dataclass(frozen=True)
class Ending(Generic[Choice]):
    """Result of a search.

    Attributes:
        stop: reason for the end, and the choice.
        failures: one sentence per missed limit; empty if a package was written.
        digest: digest of the written package, or None.
    """

    stop: Stop[Choice]
    failures: tuple[str, ...] = ()
    digest: str | None = None


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Facts about a trial other than its masks, as the evidence carries them.

    Attributes:
        changes: differences from the baseline, in words.
        reverted: layers that were set back to floating point.
        graphs_from: digest of another package whose graphs are used.
        operations_baseline, operations_candidate: cost in f32 multiply-accumulates; None if not counted.
        float_layers: layers that stayed in floating point; empty if the trial changes no number format.
        cost_factors: cost factors for the ranking of layers.
        warnings: sentences about the limits of the figures.
    """

    changes: tuple[str, ...]
    reverted: tuple[str, ...] = ()
    graphs_from: str | None = None
    operations_baseline: float | None = None
    operations_candidate: float | None = None
    float_layers: tuple[FloatLayer, ...] = ()
    cost_factors: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Traits(Generic[Choice]):
    """Properties shared by all searches of one kind.

    Attributes:
        change: change that makes candidates from the baseline.
        entry: type of the journal's entries.
        tools: tools on whose versions the figures depend.
        calibrates: True if trials need calibration cases.
        keeps_masks: True if the baseline's masks are kept over an interruption, because making them may take hours.
            They show heads, and are removed when the package is written.
        reports_always: True if a report is written when the budget is met and no folder was named.
    """

    change: Change
    entry: type[Entry[Choice]]
    tools: tuple[str, ...]
    calibrates: bool
    keeps_masks: bool
    reports_always: bool


class Space(Protocol[Choice]):
    """Candidates of one package."""

    @property
    def package(self) -> ModelPackage:
        """Package that candidates are made from."""

    @property
    def baseline(self) -> ModelPackage:
        """The same package in the precision of the baseline's masks."""

    @property
    def traits(self) -> Traits[Choice]:
        """Properties of this kind of search."""

    def question(self, options: SearchOptions, /) -> Value:
        """Return the candidates to try, and everything else that the figures of a trial depend on."""

    def prepare(self, setup: TrialSetup[Choice], /) -> None:
        """Prepare what all trials need; existing results are reused."""

    def segment_baseline(self, cases: Sequence[Case], /) -> None:
        """Keep the baseline's masks of these cases in the folder of the setup.

        Raises:
            InputError: a bound label is in no mask and no reference of these cases.
        """

    def next(self, entries: Sequence[Entry[Choice]], /) -> Choice | Stop[Choice]:
        """Return the next candidate after these trials, or the end."""

    def best_so_far(self, entries: Sequence[Entry[Choice]], /) -> Choice | None:
        """Return the best candidate so far that meets the budget, or None; used when the time is over."""

    def closest(self, entries: Sequence[Entry[Choice]], /) -> Entry[Choice] | None:
        """Return the trial closest to the budget; None if no trial could run."""

    def title(self, choice: Choice, /) -> str:
        """Describe a choice in one line."""

    def attempt(self, choice: Choice, folder: Path, /) -> Entry[Choice]:
        """Make a trial in an empty folder and measure it on the search data."""

    def write(self, entry: Entry[Choice], trial: Path, draft: Path, /) -> ModelPackage:
        """Copy the graphs of a trial from its folder `trial` into a draft; return the candidate, not sealed yet."""

    def facts(self, entry: Entry[Choice], /) -> Facts:
        """Return the facts about a trial other than its masks."""

    def finish(self, ending: Ending[Choice], folder: Path, /) -> None:
        """Add this space's own results to the report in `folder`."""
