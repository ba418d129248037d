"""What a search asks of the space that it searches: what can be tried, in which order, and how a trial is made."""

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
    """What trials are made and measured with.

    Attributes:
        splits: the cases.
        subjects: case number -> number of the person.
        masks: where the baseline's masks lie.
        scratch: an empty folder that ends with this process.
        journal: of this search.
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
    """Nothing more to try.

    Attributes:
        chosen: what is taken, or None where nothing meets the budget.
        reason: in words.
    """

    chosen: Choice | None
    reason: str


@dataclass(frozen=True)
class Ending(Generic[Choice]):
    """How a search ended.

    Attributes:
        stop: why, and with what.
        failures: every limit that was missed, in words; empty where a package was written.
        digest: of the package that was written, or None.
    """

    stop: Stop[Choice]
    failures: tuple[str, ...] = ()
    digest: str | None = None


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of a trial beside its masks, as the evidence carries it.

    Attributes:
        changes: what differs from the baseline, in words.
        reverted: layers that went back to floating point.
        graphs_from: digest of another package whose graphs are taken.
        operations_baseline, operations_candidate: in multiply-adds of f32; None where they are not counted.
        float_layers: what stayed in floating point; empty where the trial is not about numbers.
        cost_factors: by which layers were ranked.
    """

    changes: tuple[str, ...]
    reverted: tuple[str, ...] = ()
    graphs_from: str | None = None
    operations_baseline: float | None = None
    operations_candidate: float | None = None
    float_layers: tuple[FloatLayer, ...] = ()
    cost_factors: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Traits(Generic[Choice]):
    """What holds of all searches of one kind.

    Attributes:
        change: how candidates are made of the baseline.
        entry: the type of the journal's entries.
        tools: whose versions the figures depend on.
        calibrates: whether trials need calibration cases.
        keeps_masks: whether the baseline's masks outlive an interruption, because making them may be hours; they show
            heads, and go when the package is written.
        reports_always: whether a report is written where the budget is met and no folder was named.
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
        """What candidates are made of."""

    @property
    def baseline(self) -> ModelPackage:
        """The same in the precision in which its masks are the baseline."""

    @property
    def traits(self) -> Traits[Choice]:
        """What holds of all such searches."""

    def question(self, options: SearchOptions, /) -> Value:
        """What is tried, and what else the figures of a trial depend on."""

    def prepare(self, setup: TrialSetup[Choice], /) -> None:
        """Make what all trials need; nothing that is there already is made again."""

    def segment_baseline(self, cases: Sequence[Case], /) -> None:
        """Keep the baseline's masks of these cases in the folder of the setup.

        Raises:
            InputError: a label that is bound is in no mask and no reference of these cases.
        """

    def next(self, entries: Sequence[Entry[Choice]], /) -> Choice | Stop[Choice]:
        """What to try after these trials."""

    def best_so_far(self, entries: Sequence[Entry[Choice]], /) -> Choice | None:
        """What is taken where the time is over: the best that meets the budget, or None."""

    def closest(self, entries: Sequence[Entry[Choice]], /) -> Entry[Choice] | None:
        """The trial that came nearest to the budget; None where none could be run."""

    def title(self, choice: Choice, /) -> str:
        """A choice as one line."""

    def attempt(self, choice: Choice, folder: Path, /) -> Entry[Choice]:
        """Make a trial in an empty folder and measure it on the search data."""

    def write(self, entry: Entry[Choice], trial: Path, draft: Path, /) -> ModelPackage:
        """Put the graphs of a trial, whose folder is `trial`, into a draft; the candidate, not sealed yet."""

    def facts(self, entry: Entry[Choice], /) -> Facts:
        """What is known of a trial beside its masks."""

    def finish(self, ending: Ending[Choice], folder: Path, /) -> None:
        """Add to the report in `folder` what only this space can say."""
