"""`brain-edge bench`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from brain_edge.cli.building import quiet_option, reporter
from brain_edge.cli.failure import say
from brain_edge.cli.options import (
    PACKAGE_HELP,
    PATH,
    json_option,
    opened_package,
    print_json,
    split_input,
    stage_zero_option,
)
from brain_edge.errors import UsageError

if TYPE_CHECKING:
    from brain_edge.package import ModelPackage

RECORD = click.Path(path_type=Path)


@click.command("bench", epilog=PACKAGE_HELP)
@click.argument("package", required=False, type=PATH)
@click.option(
    "--data",
    multiple=True,
    metavar="HEAD",
    help="Image, or NAME=image for each of several sequences [the phantom of the self-test].",
)
@click.option(
    "--profile",
    is_flag=True,
    help="Also profile each layer: operations, time, share of this CPU's peak. State the bytes that each step around "
    "the networks writes at full size.",
)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Processes per configuration.")
@click.option("--compare", nargs=2, type=RECORD, metavar="A B", help="Compare two records that --json printed.")
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="Thread count [1 to all physical cores].")
@stage_zero_option
@json_option
@quiet_option
def command(
    package: str | None,
    data: tuple[str, ...],
    profile: bool,
    rounds: int,
    compare: tuple[Path, Path] | None,
    threads: int | None,
    stage_zero: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Measure a package on this machine: cold and warm latency and peak memory by threads and precision."""
    from brain_edge.bench.measure import BenchOptions, bench
    from brain_edge.bench.record import read_record
    from brain_edge.bench.table import as_text, compared

    if compare is not None:
        if package is not None or data or profile or as_json or stage_zero is not None:
            raise UsageError(
                "--compare A B takes two records only; remove the package, --data, --profile, --stage-zero and --json"
            )
        say(*compared(read_record(compare[0]), read_record(compare[1])).splitlines())
        return
    opened = opened_package(package)
    options = BenchOptions(
        threads=threads, rounds=rounds, profile=profile, report=reporter(quiet=quiet), stage_zero=stage_zero
    )
    record = bench(opened, _images(data, opened), options)
    if as_json:
        print_json(record)
    else:
        say(*as_text(record).splitlines())


def _images(data: tuple[str, ...], package: ModelPackage) -> dict[str, Path]:
    from brain_edge.jobs.case import assign_inputs

    return assign_inputs([split_input(text) for text in data], package.spec) if data else {}
