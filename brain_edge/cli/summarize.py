"""`brain-edge summarize`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from brain_edge.cli.failure import say
from brain_edge.cli.options import json_option, print_json
from brain_edge.errors import BatchError, InputError

if TYPE_CHECKING:
    from brain_edge.jobs.batch.summary import BatchSummary

PATH: Final = click.Path(path_type=Path)
FORMS: Final = ("tsv", "json", "parquet")
MOST_NAMES: Final = 20


@click.command("summarize")
@click.argument("out", type=PATH)
@click.option(
    "--format",
    "forms",
    multiple=True,
    type=click.Choice(FORMS),
    metavar="HOW",
    help="tsv, json or parquet (needs the extra parquet); repeat for several [default: tsv and json].",
)
@click.option("--page", is_flag=True, help="Also write index.html with the pictures of a run with --page.")
@click.option("--cases", type=PATH, metavar="LIST", help="Table of all cases (.tsv), each with a mask.")
@json_option
def command(out: Path, forms: tuple[str, ...], page: bool, cases: Path | None, as_json: bool) -> None:
    """Merge the parts of a batch in the folder OUT into summary.tsv and summary.json.

    Each shard of `brain-edge run --shard I/N` writes its own part. This command merges the parts, also while shards
    run. The summary has one row per case with a record in OUT. OUT of `brain-edge bids` is the folder logs.

    With --cases, the exit code is 6 if a case of the table has no mask, and the message names the cases.
    """
    from brain_edge.jobs.batch.case_list import listed_names
    from brain_edge.jobs.batch.parquet import write_parquet
    from brain_edge.jobs.batch.summary import USUAL, write_summary
    from brain_edge.jobs.records import record_paths

    if next(record_paths(out), None) is None:
        raise InputError(
            f"{out}: expected the records of a batch (NAME_record.json), found none; name the output folder of "
            "brain-edge run, or its folder logs for brain-edge bids"
        )
    wanted = () if cases is None else listed_names(cases)
    writers = {**USUAL, "parquet": write_parquet}
    summary = write_summary(out, {form: writers[form] for form in forms})
    if as_json:
        print_json(summary)
    else:
        say(f"{out}: {summary.cases} cases, {summary.done} done, {summary.failed} failed")
    if page:
        from brain_edge.jobs.pictures.batch_page import write_batch_page

        path = write_batch_page(out)
        if not as_json:
            say(f"{path}: open it in a browser")
    _require_all(wanted, summary)


def _require_all(wanted: tuple[str, ...], summary: BatchSummary) -> None:
    """Refuse a summary without a mask of each wanted case.

    Raises:
        BatchError: cases have no mask.
    """
    done = {row.case for row in summary.rows if row.mask is not None}
    missing = [name for name in wanted if name not in done]
    if missing:
        named = ", ".join(missing[:MOST_NAMES])
        more = f" and {len(missing) - MOST_NAMES} more" if len(missing) > MOST_NAMES else ""
        raise BatchError(f"{len(missing)} of {len(wanted)} cases have no mask: {named}{more}; run the batch again")
