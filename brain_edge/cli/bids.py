"""`brain-edge bids`: a BIDS-App over a model package."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from brain_edge.cli.batch import batch_options, run_all
from brain_edge.cli.failure import say
from brain_edge.cli.options import (
    PACKAGE_HELP,
    PREPARATION_FIELDS,
    digest_option,
    gathered,
    opened_package,
    preparation_options,
    runtime_from,
    split_name,
    stage_zero_option,
    telling_options,
    threads_option,
)
from brain_edge.cli.run import accept_weights
from brain_edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brain_edge.cli.batch import BatchChoices
    from brain_edge.cli.options import Telling
    from brain_edge.jobs.bids.app import BidsRequest
    from brain_edge.machine.options import RuntimeOptions

PARTICIPANT: Final = "participant"
LABEL_LISTS: Final = ("--participant-label", "--participant_label", "--session-id", "--session-label")
"""Options that take a list in the style of BIDS-Apps: `--participant-label 01 02`."""


class BidsApp(click.Command):
    """Command that accepts lists of labels separated by spaces after the analysis level."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Give each label its own option, then parse as click does."""
        return super().parse_args(ctx, spread(args))


def spread(args: Sequence[str]) -> list[str]:
    """Repeat the option before each label of `DIR OUT participant --participant-label 01 02`.

    Before the analysis level an option takes one label, because the next word may be a folder.
    """
    start = args.index(PARTICIPANT) + 1 if PARTICIPANT in args else len(args)
    spread_out, option = list(args[:start]), ""
    for position, text in enumerate(args[start:]):
        if text.startswith("-"):
            option = text if text in LABEL_LISTS else ""
        elif option and args[start + position - 1] != option:
            spread_out.append(option)
        spread_out.append(text)
    return spread_out


def request_of(
    *,
    subjects: Sequence[str],
    sessions: Sequence[str],
    contrasts: Sequence[str],
    brain: bool,
    border_mm: float,
    strict: bool,
) -> BidsRequest:
    """Return the request that the typed options describe."""
    from brain_edge.jobs.bids.app import BidsRequest

    return BidsRequest(
        subjects=_labels(subjects),
        sessions=_labels(sessions),
        contrasts=tuple(map(split_name, contrasts)),
        brain=brain,
        border_mm=border_mm,
        strict=strict,
    )


@click.command("bids", cls=BidsApp, epilog=PACKAGE_HELP)
@click.argument("bids_dir", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.argument("level", metavar=PARTICIPANT)
@click.option("--package", "-p", metavar="PACKAGE", help="Model package.")
@click.option(
    "--participant-label",
    "--participant_label",
    "subjects",
    multiple=True,
    metavar="LABEL...",
    help="Subjects to segment, such as 01 or sub-01; give several after participant [default: all].",
)
@click.option(
    "--session-id",
    "--session-label",
    "sessions",
    multiple=True,
    metavar="LABEL...",
    help="Sessions to segment, such as 1 or ses-1; give several after participant [default: all].",
)
@click.option(
    "--sequence",
    "contrasts",
    multiple=True,
    metavar="[NAME=]CONTRAST",
    help="Contrast to take: T1w, T1C (with contrast agent), T2w, FLAIR, PDw, T2starw [default: the model's].",
)
@click.option("--brain", is_flag=True, help="Also write each image with 0 outside its mask.")
@click.option("--border", "border_mm", default=0.0, metavar="MM", help="Grow each mask by MM mm; shrink if negative.")
@click.option("--strict", is_flag=True, help="Fail without a mask if the input or the mask is implausible.")
@batch_options
@click.option("--allow-untrained", is_flag=True, help="Run a package with random weights (the mask is noise).")
@stage_zero_option
@preparation_options
@digest_option
@threads_option
@telling_options
@gathered("request", request_of)
@runtime_from("threads", "stage_zero", *PREPARATION_FIELDS, resident_graphs=2)
def command(
    bids_dir: Path,
    out: Path,
    level: str,
    package: str | None,
    request: BidsRequest,
    choices: BatchChoices,
    allow_untrained: bool,
    expect_digest: str | None,
    runtime: RuntimeOptions,
    telling: Telling,
) -> None:
    """Segment a BIDS dataset and write the masks as BIDS derivatives.

    This BIDS-App takes the anatomical images of the raw dataset BIDS_DIR in the contrast of the model, such as T1w. It
    writes their masks to OUT with the names and metadata that BIDS prescribes. BIDS_DIR is only read. OUT lies outside
    BIDS_DIR, or is BIDS_DIR/derivatives/NAME. A model of several sequences takes one image of each per session.

    Finished cases are not run again. Records, summary and page are in OUT/logs. A failed case does not stop the others;
    the exit code is then 6.
    """
    from brain_edge.engine.prepares import require_preparation
    from brain_edge.engine.stage_zero import with_stage_zero
    from brain_edge.jobs.bids.app import LOGS, explained, plan_dataset
    from brain_edge.jobs.bids.dataset import open_dataset
    from brain_edge.jobs.bids.description import prepare, require_place
    from brain_edge.jobs.needs import require_stage_zero
    from brain_edge.jobs.outputs import require_apart
    from brain_edge.jobs.pictures.sheet import require_matplotlib

    if level != PARTICIPANT:
        reason = ": each mask is made from one participant, and a group has no analysis; see OUT/logs/summary.tsv"
        more = reason if level == "group" else ""
        raise UsageError(f"expected the analysis level {PARTICIPANT}, got {level!r}{more}")
    batch = choices.batch(out / LOGS)
    require_place(bids_dir, out)
    dataset = open_dataset(bids_dir)
    opened = opened_package(package, expect_digest)
    require_apart(out, opened.folder)
    accept_weights(opened, allow_untrained=allow_untrained)
    if choices.page:
        require_matplotlib()
    require_preparation(opened.spec, runtime)
    runtime = with_stage_zero(opened, runtime)
    plan = plan_dataset(dataset, out, opened.spec, replace(request, pictures=choices.page, layout=batch.layout))
    require_stage_zero(opened, plan.jobs, runtime)
    prepare(dataset, out, opened)
    for note in plan.notes:
        say(f"note: {note}", err=True)
    explain = partial(explained, plan, opened)
    run_all(opened, plan.jobs, batch, runtime, telling, explain, page=choices.page)


def _labels(texts: Sequence[str]) -> tuple[str, ...]:
    """Split texts into labels: `01 02` and `01,02` are two labels."""
    return tuple(label for text in texts for label in re.split(r"[\s,]+", text) if label)
