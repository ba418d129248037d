"""`brain-edge batch-script`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from brain_edge.cli.failure import say
from brain_edge.cli.options import (
    PACKAGE_HELP,
    PATH,
    digest_option,
    gathered,
    opened_package,
    split_input,
    stage_zero_option,
)
from brain_edge.errors import UsageError

if TYPE_CHECKING:
    from brain_edge.cluster.slurm import Tasks


def _tasks(*, tasks: int, cpus: int, at_once: int | None, time_limit: int | None, sbatch: tuple[str, ...]) -> Tasks:
    from brain_edge.cluster.slurm import Tasks

    return Tasks(tasks, cpus, at_once or (1 if cpus == 1 else 3), time_limit, sbatch)


@click.command("batch-script", epilog=PACKAGE_HELP)
@click.argument("package", required=False, type=PATH)
@click.argument("inputs", nargs=-1, type=PATH, metavar="[INPUT]...")
@click.option("--cases", type=click.Path(path_type=Path), metavar="LIST", help="Table of the cases, as in run.")
@click.option("-o", "--output", "out", required=True, type=click.Path(path_type=Path), metavar="OUT", help="Results.")
@click.option("--slurm", is_flag=True, required=True, help="Write a script for Slurm.")
@click.option(
    "--tasks", type=click.IntRange(min=1), default=8, show_default=True, metavar="N", help="Number of shards."
)
@click.option("--cpus", type=click.IntRange(min=1), default=4, show_default=True, metavar="N", help="CPUs of a task.")
@click.option(
    "--at-once",
    type=click.IntRange(min=1),
    metavar="N",
    help="Number of cases in progress at once in a task [default: 3, with one CPU 1].",
)
@click.option(
    "--time",
    "time_limit",
    type=click.IntRange(min=1),
    metavar="MINUTES",
    help="Time limit of a task [default: measured].",
)
@click.option("--sbatch", multiple=True, metavar="OPTION", help="Further option of sbatch, such as --partition=long.")
@stage_zero_option
@digest_option
@gathered("tasks", _tasks, "tasks", "cpus", "at_once", "time_limit", "sbatch")
def command(
    package: str | None,
    inputs: tuple[str, ...],
    cases: Path | None,
    out: Path,
    slurm: bool,  # noqa: ARG001 - click requires the flag: the only scheduler so far
    tasks: Tasks,
    stage_zero: Path | None,
    expect_digest: str | None,
) -> None:
    """Print a script that runs a batch on a cluster: an array of tasks, and a last job that summarizes.

    The smallest and the largest case run once here, without a result. Their time and memory decide the shards of equal
    work and the limits of a task. OUT/slurm receives the list of the cases with their shards, and later the logs.
    Submit the script with bash. Make it again for another number of tasks.
    """
    from brain_edge.cluster.slurm import script
    from brain_edge.jobs.batch import Batch, Layout, plan_batch
    from brain_edge.jobs.outputs import Outputs
    from brain_edge.machine.options import RuntimeOptions
    from brain_edge.package.trained import require_trained

    given = [split_input(text) for text in inputs]
    if bool(given) == (cases is not None):
        raise UsageError("expected images or --cases, got both or neither; give one of the two")
    opened = opened_package(package, expect_digest)
    require_trained(opened, "so its masks are noise; give a package with trained weights")
    batch = Batch(records=out, layout=Layout.FOLDERS, is_divided=True)
    planned = plan_batch(cases or given, opened.spec, Outputs(mask=out), batch)
    options = RuntimeOptions(threads=tasks.cpus, stage_zero=stage_zero)
    say(*script(opened, planned, out, tasks, options).splitlines())
