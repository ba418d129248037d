"""What commands that run batches share: their options, the telling, and the end."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from brain_edge.cli import failure
from brain_edge.cli.failure import say
from brain_edge.cli.options import gathered, print_json, progress
from brain_edge.errors import BatchError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from brain_edge.cli.options import Telling
    from brain_edge.jobs.batch import Batch, CaseResult, UnplannedCase
    from brain_edge.jobs.case import Job
    from brain_edge.jobs.record import RunRecord
    from brain_edge.machine.options import RuntimeOptions
    from brain_edge.package import ModelPackage

Decorated = TypeVar("Decorated", bound="Callable[..., Any]")


@dataclass(frozen=True)
class BatchChoices:
    """How a batch is run, as it was typed.

    Attributes:
        shard: such as 1/4; None for all.
        overwrite: run finished cases again.
        wait: while another batch works in the same folder.
        at_once: cases on their way at once; None for the usual number.
        page: also write pictures and a page to look at all.
    """

    shard: str | None
    overwrite: bool
    wait: bool
    at_once: int | None
    page: bool

    def batch(self, records: Path) -> Batch:
        """The batch whose records lie in a folder.

        Raises:
            UsageError: there is no such shard.
        """
        from brain_edge.jobs.batch import Batch, Shard
        from brain_edge.jobs.batch.shard import parse_shard

        shard = parse_shard(self.shard) if self.shard else Shard()
        return Batch(records=records, shard=shard, overwrite=self.overwrite, wait=self.wait, at_once=self.at_once)

    def require_none(self, mask: Path) -> None:
        """Refuse options of a batch where there is none.

        Raises:
            UsageError: one was given.
        """
        given = next((f"--{name.replace('_', '-')}" for name, value in asdict(self).items() if value), None)
        if given is not None:
            raise UsageError(f"{given} is for a batch, and {mask} is one file; name a folder for the results instead")


def batch_options(function: Decorated) -> Decorated:
    """`--shard`, `--overwrite`, `--wait`, `--at-once` and `--page`: the parameter `choices` of a command."""
    function = gathered("choices", BatchChoices)(function)
    for option in reversed(
        (
            click.option(
                "--shard", metavar="I/N", help="Of a batch, run part I of N only (1/4 to 4/4, at once or not)."
            ),
            click.option("--overwrite", is_flag=True, help="Run finished cases of a batch again."),
            click.option("--wait", is_flag=True, help="Wait while another batch works in the same folder."),
            click.option(
                "--at-once",
                type=click.IntRange(min=1),
                metavar="N",
                help="Cases of a batch on their way at once, each with the memory of a head [default: 3].",
            ),
            click.option("--page", is_flag=True, help="Also write a picture per case and index.html to look at all."),
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
    """Run a batch, and tell: results on stdout, failures and the bar on stderr; with a page to look through it.

    `each` gets every result as soon as its case has ended, before it is told.

    Raises:
        BatchError: cases have failed.
    """
    from brain_edge.jobs.batch import in_order, run_batch
    from brain_edge.jobs.pictures.batch_page import write_batch_page

    own = batch.share(cases)
    ended = []
    with (
        closing(run_batch(package, cases, batch, options)) as results,
        progress(package.spec.name, len(own), quiet=telling.quiet) as bar,
    ):
        for result in map(each, results):
            bar.clear()
            tell(result, is_silent=telling.is_silent)
            bar.step()
            ended.append(result)
    ordered = in_order(ended, own)
    if telling.as_json:
        print_json([result.record for result in ordered])
    _tell_kept(ordered, is_silent=telling.is_silent)
    if page:
        path = write_batch_page(batch.records)
        if not telling.is_silent:
            say(f"{path}: open it in a browser")
    failed = [about(result) for result in ordered if result.error is not None]
    if failed:
        raise BatchError(f"{len(failed)} of {len(ordered)} cases failed, the reasons stand above: {', '.join(failed)}")


def tell(result: CaseResult, *, is_silent: bool) -> None:
    """What became of one case; one that was kept has been told before."""
    from brain_edge.jobs.batch import CaseOutcome

    if result.error is not None:
        failure.show(result.error, about=about(result))
    elif result.outcome is CaseOutcome.NEW and result.record.run is not None:
        warn(result.record.run)
        if not is_silent:
            print_summary(result.record.run)


def about(result: CaseResult) -> str:
    """What a message calls a case: its first image, or its name where it has none."""
    return str(next(iter(result.inputs.values()), result.case))


def warn(record: RunRecord) -> None:
    """What is not plausible about a case, on stderr."""
    for flag in record.flags:
        say(f"warning: {next(iter(record.inputs.values()))}: {flag.message}", err=True)
    for name, series in record.series.items():
        for note in series.notes:
            say(f"warning: {record.inputs[name]}: {series.name}: {note}", err=True)


def print_summary(record: RunRecord) -> None:
    """A case in one line, on stdout."""
    volumes = ", ".join(f"{name} {volume:.1f} ml" for name, volume in record.volumes_ml.items())
    origin = "".join(f", {name} is {series.name}" for name, series in record.series.items())
    say(f"{record.mask}: {volumes} ({record.elapsed_ms['total'] / 1000:.1f} s){origin}")


def _tell_kept(results: Sequence[CaseResult], *, is_silent: bool) -> None:
    from brain_edge import __version__
    from brain_edge.jobs.batch import CaseOutcome

    kept = [result.record for result in results if result.outcome is CaseOutcome.KEPT]
    if kept and not is_silent:
        say(f"{len(kept)} of {len(results)} cases were finished before and are kept")
    others = sorted({record.versions.get("brain_edge", "unknown") for record in kept} - {__version__})
    if others:
        say(
            f"warning: some of them were made by brain-edge {', '.join(others)}, and this is {__version__}; "
            "--overwrite makes all again",
            err=True,
        )
