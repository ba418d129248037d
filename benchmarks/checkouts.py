"""Whether a change of the code has changed what a run costs: `brain-edge run` of two checkouts, in turn.

    python -m benchmarks checkouts --head head.nii.gz BEFORE BEFORE/deepbet-fp32 AFTER AFTER/deepbet-fp32

Each checkout runs a package that it made itself, as whole cold processes with the libraries of this environment. The
masks must be the same voxel by voxel before anything is recorded. One JSON file is left under `results/`.
"""

from __future__ import annotations

import os
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import click
import numpy as np

from brain_edge.errors import BrainEdgeError
from brain_edge.package.digest import sha256_of

from .harness.answers import brain_of
from .harness.contenders import environment
from .harness.in_turn import in_words, take_turns, times_as_fast
from .harness.measure import Contender
from .harness.ratios import ratio_of_starts
from .harness.record import this_commit, write_record

FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command()
@click.argument("before", nargs=2, type=FOLDER, metavar="BEFORE PACKAGE")
@click.argument("after", nargs=2, type=FOLDER, metavar="AFTER PACKAGE")
@click.option("--head", type=click.Path(path_type=Path, exists=True), required=True, help="NIfTI file.")
@click.option("--threads", default=2, show_default=True, help="Of both.")
@click.option("--rounds", type=click.IntRange(5), default=7, show_default=True, help="In which both run once.")
def main(before: tuple[Path, Path], after: tuple[Path, Path], head: Path, threads: int, rounds: int) -> None:
    """Compare two checkouts on one head, each with a package of its own."""
    started = datetime.now(UTC)
    with tempfile.TemporaryDirectory() as scratch:
        contenders = [
            _contender(name, *each, head, Path(scratch) / f"{name}.nii.gz", threads)
            for name, each in (("before", before), ("after", after))
        ]
        first, second = take_turns(contenders, [rounds, rounds])
        if not np.array_equal(brain_of(contenders[0].mask), brain_of(contenders[1].mask)):
            raise BrainEdgeError("the masks of both checkouts differ; nothing is recorded")
    speed = times_as_fast(first, second)
    peaks = ([float(sample.peak_rss_bytes or 0) for sample in each] for each in (second, first))
    memory = ratio_of_starts(*peaks)
    for contender, samples in zip(contenders, (first, second), strict=True):
        click.echo(f"{contender.name}: {in_words(samples)}")
    click.echo(f"after is {speed} times as fast as before and takes {memory} of its memory; the masks are the same")
    path = write_record(
        "two checkouts, whole processes",
        f"checkouts-{before[1].name}",
        started,
        threads=threads,
        head_sha256=sha256_of(head),
        commits=[this_commit(before[0]).id, this_commit(after[0]).id],
        times_as_fast=speed,
        share_of_memory=memory,
        before=first,
        after=second,
    )
    click.echo(f"written: {path}", err=True)


def _contender(name: str, checkout: Path, package: Path, head: Path, mask: Path, threads: int) -> Contender:
    """`brain-edge run` of a checkout, whatever is installed."""
    program = "import runpy; runpy.run_module('brain_edge', run_name='__main__', alter_sys=True)"
    words = ["run", str(package.resolve()), str(head.resolve()), "-o", str(mask), "--threads", str(threads)]
    paths = os.pathsep.join(str(checkout.resolve() / part) for part in (".", "conversion"))
    return Contender(
        name=name,
        command=[sys.executable, "-P", "-c", program, *words, "--quiet", "--json"],
        environment=environment(threads) | {"PYTHONPATH": paths},
        mask=mask,
        precision="as its package says",
    )
