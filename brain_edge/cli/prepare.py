"""`brain-edge prepare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from brain_edge.cli import failure
from brain_edge.cli.failure import say
from brain_edge.cli.options import (
    PATH,
    atlas_option,
    print_json,
    progress,
    runtime_from,
    split_input,
    split_name,
    stage_zero_option,
    telling_options,
    threads_option,
)
from brain_edge.errors import BatchError, UsageError

if TYPE_CHECKING:
    from brain_edge.cli.options import Telling
    from brain_edge.jobs.preparing.by_request import PreparePlan
    from brain_edge.jobs.preparing.one import PreparedCase
    from brain_edge.machine.options import RuntimeOptions

STYLES = ("brats", "bids")
"""Values of `brain_edge.jobs.preparing.names.Style`, whose import takes too long for `--help`."""


@click.command("prepare")
@click.argument("inputs", nargs=-1, type=PATH, metavar="STUDY...")
@click.option("-o", "--output", "out", type=click.Path(path_type=Path), metavar="OUT", help="Folder of the results.")
@click.option("--like", metavar="PKG", help="Package whose preparation is done [that of the tumour challenges].")
@click.option("--series", multiple=True, metavar="NAME=UID", help="DICOM series of a sequence; needed if several fit.")
@atlas_option
@stage_zero_option
@click.option("--keep-skull", "keep_skull", is_flag=True, help="Leave the skull in the images.")
@click.option("--names", type=click.Choice(STYLES), help="Style of the file names [bids for BIDS, else brats].")
@click.option("--no-picture", is_flag=True, help="Draw no picture of each study.")
@click.option("--page", is_flag=True, help="Also write index.html with all studies and their pictures.")
@click.option("--strict", is_flag=True, help="Refuse a study whose registration is doubtful.")
@click.option("--overwrite", is_flag=True, help="Prepare finished studies again.")
@threads_option
@telling_options
@runtime_from("threads", "stage_zero", "atlas", resident_graphs=2)
def command(
    inputs: tuple[str, ...],
    out: Path | None,
    like: str | None,
    series: tuple[str, ...],
    keep_skull: bool,
    names: str | None,
    no_picture: bool,
    page: bool,
    strict: bool,
    overwrite: bool,
    runtime: RuntimeOptions,
    telling: Telling,
) -> None:
    """Register the sequences of a STUDY, bring them to an atlas and remove the skull.

    STUDY is T1=FILE T1C=FILE and so on, a folder of images NAME_T1.nii.gz or of one folder per study, a tree of DICOM,
    or a BIDS dataset. The FILE of a DICOM series is its folder. Sequences: T1, T1C, T2, FLAIR, or those of --like. Each
    image is interpolated once. Without an atlas the study stays where T1C (or T1) is, at 1 mm.

    OUT gets one folder per study: images, transforms (ITK), brain mask, record and picture. For a BIDS dataset, OUT may
    be BIDS/derivatives/NAME. --page writes all pictures as one page. A finished study is kept. A failed study does not
    stop the others; the exit code is then 6.
    """
    from brain_edge.cli.options import place_of
    from brain_edge.jobs.preparing.by_request import PrepareRequest, plan_preparation
    from brain_edge.jobs.preparing.names import Style
    from brain_edge.jobs.preparing.one import PrepareOptions

    if not inputs or out is None:
        raise UsageError("expected a study and a folder for the results; call: brain-edge prepare STUDY -o OUT")
    request = PrepareRequest(
        inputs=tuple(split_input(text) for text in inputs),
        out=out,
        like=None if like is None else place_of(like),
        style=None if names is None else Style(names),
        keeps_skull=keep_skull,
        runtime=runtime,
        series=tuple(split_name(text) for text in series),
        options=PrepareOptions(overwrite=overwrite, strict=strict, picture=not no_picture),
    )
    _run(plan_preparation(request), telling, page=page)


def _run(plan: PreparePlan, telling: Telling, *, page: bool) -> None:
    """Prepare the studies of a plan; print results on stdout, failures on stderr.

    Raises:
        BatchError: studies have failed.
        BrainEdgeError: the only study has failed.
    """
    _name_left_out(plan.left_out)
    results = []
    with progress("prepare", len(plan.cases), quiet=telling.quiet) as bar:
        for result in plan.run():
            bar.clear()
            _tell(result, telling)
            bar.step()
            results.append(result)
    if page:
        from brain_edge.jobs.preparing.page import write_prepared_page

        write_prepared_page(results, plan.out)
    _note_not_compared(results, telling)
    if telling.as_json:
        print_json([result.record for result in results if result.record])
    failed = [result for result in results if result.error is not None]
    if len(results) == 1 and failed and failed[0].error:
        raise failed[0].error
    for result in failed:
        if result.error is not None:
            failure.show(result.error, about=result.case)
    if failed:
        names = ", ".join(result.case for result in failed)
        raise BatchError(f"{len(failed)} of {len(results)} studies failed; see the errors above: {names}")


def _name_left_out(images: tuple[Path, ...]) -> None:
    """Print the images in the folders that belong to no study."""
    if images:
        names = ", ".join(map(str, images))
        say(f"note: left out, because no sequence is at the end of the name: {names}", err=True)


def _note_not_compared(results: list[PreparedCase], telling: Telling) -> None:
    """Print once which brains were not compared, and why."""
    records = [result.record for result in results if result.record is not None and not telling.quiet]
    for words in dict.fromkeys(text for each in records for text in each.preparation.not_compared.values()):
        say(f"note: {words}", err=True)


def _tell(result: PreparedCase, telling: Telling) -> None:
    if result.record is None:
        return
    for flag in result.record.preparation.flags:
        say(f"warning: {result.case}: {flag.message}", err=True)
    if telling.is_silent:
        return
    done = ", ".join(result.record.preparation.parts) or "nothing was missing"
    sequences = ", ".join(result.record.images)
    say(f"{result.folder}: {result.outcome}; {sequences}; {done} ({result.record.elapsed_ms / 1000:.1f} s)")
