"""Options, messages and exit code of the commands that run batches."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

import click

from brain_edge.cli import failure
from brain_edge.cli.failure import say
from brain_edge.cli.options import gathered, print_json, progress
from brain_edge.errors import BatchError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path

    from brain_edge.cli.options import Telling
    from brain_edge.jobs.batch import Batch, CaseResult, UnplannedCase
    from brain_edge.jobs.case import Job
    from brain_edge.jobs.record import CaseRecord, RunRecord
    from brain_edge.machine.options import RuntimeOptions
    from brain_edge.package import ModelPackage

LAYOUTS = ("flat", "folders")
"""Values of `brain_edge.jobs.layout.Layout`, whose import takes too long for `--help`."""
ENGINES = ("threads", "processes", "dask")
"""Values of `brain_edge.jobs.batch.engines.ENGINES`, whose import takes too long for `--help`."""
AUTO = "auto"
MOST_NAMES = 20
"""Names in one message."""
Decorated = TypeVar("Decorated", bound="Callable[..., Any]")


class AtOnce(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions of click only
    """A number of cases of at least 1, or `auto`."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Return the number, or `auto`."""
        return AUTO if value == AUTO else click.IntRange(min=1).convert(value, param, ctx)


@dataclass(frozen=True)
class BatchChoices:
    """Options of a batch as typed.

    Attributes:
        shard: part of the batch, such as 1/4; None for all cases.
        overwrite: run finished cases again.
        wait: wait while another batch works in the same folder.
        at_once: number of cases in progress at once; "auto" for the fastest way, None for the default.
        page: also write a picture per case and a page of all pictures.
        layout: layout of the results below their folders; None for the default.
        engine: what runs the cases; None for threads of this process.
        scheduler: address of a scheduler of Dask.
        workers: number of processes.
        check: compare the content of all files of finished cases.
    """

    shard: str | None
    overwrite: bool
    wait: bool
    at_once: int | str | None
    page: bool
    layout: str | None
    engine: str | None
    scheduler: str | None
    workers: int | None
    check: bool

    def batch(self, records: Path, *, is_listed: bool = False) -> Batch:
        """Return the batch whose records lie in the folder `records`.

        Args:
            records: folder of the records.
            is_listed: the cases come from a list, whose results have folders by default.

        Raises:
            UsageError: the shard does not exist, or options of an engine have no effect.
        """
        from brain_edge.jobs.batch import Batch, Shard
        from brain_edge.jobs.batch.engines import EngineChoice
        from brain_edge.jobs.batch.shard import parse_shard
        from brain_edge.jobs.layout import Layout

        chosen = EngineChoice(self.engine, self.scheduler, self.workers, is_auto=self.at_once == AUTO)
        return Batch(
            records=records,
            shard=parse_shard(self.shard) if self.shard else Shard(),
            overwrite=self.overwrite,
            wait=self.wait,
            at_once=None if isinstance(self.at_once, str) else self.at_once,
            layout=Layout(self.layout or (Layout.FOLDERS if is_listed else Layout.FLAT)),
            is_divided=is_listed,
            engine=chosen.engine(partial(say, err=True)),
            check=self.check,
        )

    def require_none(self, mask: Path, cases: Path | None) -> None:
        """Refuse batch options for a single mask.

        Raises:
            UsageError: a batch option was given.
        """
        values = {"cases": cases, **asdict(self)}
        given = next((f"--{name.replace('_', '-')}" for name, value in values.items() if value), None)
        if given is not None:
            raise UsageError(f"{given} needs a batch, but {mask} is one file; name a folder for the results")


def batch_options(function: Decorated) -> Decorated:
    """Add the options of `BatchChoices` as the parameter `choices` of a command."""
    function = gathered("choices", BatchChoices)(function)
    for option in reversed(
        (
            click.option(
                "--shard", metavar="I/N", help="Run only part I of N of a batch, such as 1/4; parts may run at once."
            ),
            click.option("--overwrite", is_flag=True, help="Run finished cases of a batch again."),
            click.option(
                "--check",
                is_flag=True,
                help="Compare the hashes of finished cases, also if size, time and inode are equal.",
            ),
            click.option("--wait", is_flag=True, help="Wait while another batch uses the same folder."),
            click.option(
                "--at-once",
                type=AtOnce(),
                metavar="N",
                help="Number of cases in progress at once, each with the memory of one head, or auto [default: 3].",
            ),
            click.option(
                "--page", is_flag=True, help="Also write a picture per case, and index.html with all pictures."
            ),
            click.option(
                "--layout",
                type=click.Choice(LAYOUTS),
                metavar="HOW",
                help="Place of the results: flat, or folders per subject [default: folders for --cases, else flat].",
            ),
            click.option(
                "--engine",
                type=click.Choice(ENGINES),
                metavar="NAME",
                help="Run the cases in threads, in processes with cores of their own, or on dask [default: threads].",
            ),
            click.option("--scheduler", metavar="ADDRESS", help="Scheduler of Dask, such as tcp://head:8786."),
            click.option(
                "--workers",
                type=click.IntRange(min=1),
                metavar="N",
                help="Number of processes of an engine on this machine [default: cores / --threads].",
            ),
        )
    ):
        function = option(function)
    return function


def run_all(
    package: ModelPackage,
    cases: Sequence[Job | UnplannedCase],
    batch: Batch,
    options: RuntimeOptions,
    telling: Telling,
    each: Callable[[CaseResult], CaseResult] = lambda result: result,
    *,
    page: bool,
) -> None:
    """Run a batch; print results on stdout, failures and the progress bar on stderr; write the page where asked.

    `each` receives every result when its case has ended, before the result is printed.

    Raises:
        BatchError: cases have failed.
    """
    from brain_edge.jobs.pictures.batch_page import write_batch_page

    own = batch.share(cases)
    seen = _Seen(keeps_records=telling.as_json)
    with (
        closing(_runner(cases, batch)(package, cases, batch, options)) as results,
        progress(package.spec.name, len(own), quiet=telling.quiet) as bar,
    ):
        for result in map(each, results):
            bar.clear()
            tell(result, is_silent=telling.is_silent)
            bar.step()
            seen.add(result)
    if telling.as_json:
        print_json([seen.records[case.case] for case in own])
    _tell_kept(seen, len(own), is_silent=telling.is_silent)
    if seen.flagged:
        say(f"warning: {seen.flagged} of {len(own)} cases have flags; summary.tsv lists them", err=True)
    if not batch.is_whole and not telling.is_silent:
        more = " --page" if page else ""
        say(f"note: brain-edge summarize {batch.records}{more} merges the shards that have ended", err=True)
    elif page and batch.is_whole:
        path = write_batch_page(batch.records)
        if not telling.is_silent:
            say(f"{path}: open it in a browser")
    if seen.failed:
        names = _listed(sorted(seen.failed))
        raise BatchError(f"{len(seen.failed)} of {len(own)} cases failed; see the errors above: {names}")


@dataclass
class _Seen:
    """Results that have ended, as far as the end of a batch needs them: 100,000 records would fill the memory.

    Attributes:
        keeps_records: keep all records.
        kept, flagged: number of cases.
        versions: versions of brain-edge that made the kept cases.
        failed: what identifies each failed case.
        records: records by the name of the case.
    """

    keeps_records: bool
    kept: int = 0
    flagged: int = 0
    versions: set[str] = field(default_factory=set)
    failed: list[str] = field(default_factory=list)
    records: dict[str, CaseRecord] = field(default_factory=dict)

    def add(self, result: CaseResult) -> None:
        from brain_edge.jobs.batch import CaseOutcome

        record = result.record
        self.flagged += record.run is not None and bool(record.run.flags)
        if result.outcome is CaseOutcome.KEPT:
            self.kept += 1
            self.versions.add(record.versions.get("brain_edge", "unknown"))
        if result.error is not None:
            self.failed.append(about(result))
        if self.keeps_records:
            self.records[result.case] = record


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f"{', '.join(names[:MOST_NAMES])}{more}"


def _runner(cases: Sequence[Job | UnplannedCase], batch: Batch) -> Callable[..., Generator[CaseResult]]:
    """Return the function that runs a batch: for images or results in an object store, that of the store."""
    from brain_edge.jobs.batch import UnplannedCase, run_batch
    from brain_edge.machine.paths import in_store

    images = (path for case in cases for path in case.inputs.values())
    outputs = (path for case in cases[:1] if not isinstance(case, UnplannedCase) for path in case.outputs.paths())
    if not any(map(in_store, (batch.records, *outputs, *images))):
        return run_batch
    # found by its name: no command of a single workstation needs it
    found: Callable[..., Generator[CaseResult]] = import_module("brain_edge.cluster.store").run_with_stores
    return found


def tell(result: CaseResult, *, is_silent: bool) -> None:
    """Print the outcome of one case; nothing for a kept case, which an earlier run has printed."""
    from brain_edge.jobs.batch import CaseOutcome

    if result.error is not None:
        failure.show(result.error, about=about(result))
    elif result.outcome is CaseOutcome.NEW and result.record.run is not None:
        warn(result.record.run)
        if not is_silent:
            print_summary(result.record.run)


def about(result: CaseResult) -> str:
    """Return what identifies a case in a message: its first image, or its name where it has no image."""
    return str(next(iter(result.inputs.values()), result.case))


def warn(record: RunRecord) -> None:
    """Print the warnings of a case on stderr."""
    for flag in record.flags:
        say(f"warning: {next(iter(record.inputs.values()))}: {flag.message}", err=True)
    for name, series in record.series.items():
        for note in series.notes:
            say(f"warning: {record.inputs[name]}: {series.name}: {note}", err=True)


def print_summary(record: RunRecord) -> None:
    """Print a case in one line on stdout."""
    volumes = ", ".join(f"{name} {volume:.1f} ml" for name, volume in record.volumes_ml.items())
    origin = "".join(f", {name} is {series.name}" for name, series in record.series.items())
    say(f"{record.mask}: {volumes} ({record.elapsed_ms['total'] / 1000:.1f} s){origin}")


def _tell_kept(seen: _Seen, count: int, *, is_silent: bool) -> None:
    from brain_edge import __version__

    if seen.kept and not is_silent:
        say(f"{seen.kept} of {count} cases were already finished and are kept")
    others = sorted(seen.versions - {__version__})
    if others:
        say(
            f"warning: brain-edge {', '.join(others)} made some of the kept cases, and this is {__version__}; "
            "--overwrite runs all cases again",
            err=True,
        )
