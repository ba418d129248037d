"""The published program against our packages, as whole cold processes in turn: A B C A B C.

    python -m benchmarks interleaved deepbet --head head.nii.gz --threads 2 --repeats 7

Drift and other programs on the machine hit all contenders of a round alike, so ratios hold where times do not. Every
mask is checked before anything is timed. One JSON file is left under `results/`, and a table is printed.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from benchmarks.harness.answers import agreement
from benchmarks.harness.contenders import package_run, published_program
from benchmarks.harness.in_turn import Rounds, quiet_turns
from benchmarks.harness.measure import Contender, run
from benchmarks.harness.packages import make_package
from benchmarks.harness.peers import ARCHIVES, prepare, versions
from benchmarks.harness.record import (
    HeadContent,
    InterleavedEntry,
    InterleavedRun,
    our_versions,
    table,
    this_commit,
    write,
)
from brain_edge.errors import BrainEdgeError
from brain_edge.io.nifti import read_volume
from brain_edge.machine.description import this_machine
from brain_edge.package import NumberFormat, open_package
from brain_edge.package.digest import sha256_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brain_edge.package import ModelPackage

MINIMUM_DICE: Final = 0.98
"""Against the published program's own mask, which may be off by a voxel (docs/concepts); below it nothing is timed."""


_say = partial(click.echo, err=True)


@dataclass(frozen=True, kw_only=True)
class PublishedComparison:
    """What is compared, on what and how often; see the options of the program."""

    model: str
    head: Path
    reference: Path | None
    threads: int
    rounds: Rounds


@click.command()
@click.argument("model", type=click.Choice(list(ARCHIVES)))
@click.option("--head", type=click.Path(path_type=Path, exists=True), required=True, help="NIfTI file.")
@click.option("--reference", type=click.Path(path_type=Path, exists=True), help="Its brain mask.")
@click.option("--threads", default=2, show_default=True, help="Of every contender.")
@click.option("--repeats", default=7, show_default=True, help="Rounds that count.")
@click.option(
    "--max-disturbance", default=0.1, show_default=True, help="Of the machine, by others, for a round to count."
)
@click.option("--patience", "patience_s", default=60.0, show_default=True, help="Seconds to wait for an idle machine.")
@click.option("--fp32", type=click.Path(path_type=Path), help="FP32 package [converted now].")
@click.option("--int8", type=click.Path(path_type=Path), help="INT8 package [quantised now].")
@click.option("--calibration", metavar="COHORT", help="Cohort, where the INT8 package is made now.")
def main(
    fp32: Path | None,
    int8: Path | None,
    calibration: str | None,
    repeats: int,
    max_disturbance: float,
    patience_s: float,
    **options: Any,
) -> None:
    """Compare the published program of MODEL with its FP32 and INT8 packages on one head."""
    rounds = Rounds(counting=repeats, most=3, max_disturbance=max_disturbance, patience_s=patience_s)
    asked = PublishedComparison(rounds=rounds, **options)
    packages = (
        open_package(fp32) if fp32 else make_package(asked.model, NumberFormat.FP32, _say),
        open_package(int8) if int8 else make_package(asked.model, NumberFormat.INT8, _say, calibration),
    )
    result = compare(asked, prepare(asked.model, _say), packages)
    _say(f"written: {write(result)}")
    click.echo(table(result))


def compare(asked: PublishedComparison, peer_python: Path, packages: Sequence[ModelPackage]) -> InterleavedRun:
    """Run the published program and the packages in turn.

    Raises:
        BrainEdgeError: a contender failed, or made another mask than the published program.
    """
    started = datetime.now(UTC)
    with tempfile.TemporaryDirectory() as folder:
        contenders = _contenders(asked, peer_python, packages, Path(folder))
        agreed = _check(contenders, asked.reference)
        samples = quiet_turns([partial(run, each) for each in contenders], asked.rounds, _say)
    entries = (
        InterleavedEntry(
            name=contender.name,
            precision=contender.precision,
            package_digest=contender.package_digest,
            dice_published=agreed[contender.name][0],
            dice_reference=agreed[contender.name][1],
            samples=tuple(of_one),
        )
        for contender, of_one in zip(contenders, samples, strict=True)
    )
    geometry = read_volume(asked.head).geometry
    return InterleavedRun(
        model=asked.model,
        started=started,
        commit=this_commit(),
        machine=this_machine(),
        threads=asked.threads,
        max_disturbance=asked.rounds.max_disturbance,
        versions=our_versions(),
        peer_versions=versions(peer_python),
        head=HeadContent(sha256_of(asked.head), geometry.shape, geometry.spacing_mm),
        reference_sha256=sha256_of(asked.reference) if asked.reference else None,
        entries=tuple(entries),
    )


def _contenders(
    asked: PublishedComparison, peer_python: Path, packages: Sequence[ModelPackage], folder: Path
) -> tuple[Contender, ...]:
    return (
        published_program(peer_python, asked.model, asked.head, folder / "published.nii.gz", asked.threads),
        *(
            package_run(package, asked.head, folder / f"mask-{number}.nii.gz", asked.threads)
            for number, package in enumerate(packages)
        ),
    )


def _check(contenders: Sequence[Contender], reference: Path | None) -> dict[str, tuple[float, float | None]]:
    """Run each contender once, untimed; Dice per name against the published program's mask and the reference."""
    for contender in contenders:
        _say(f"checking the mask of {contender.name}")
        run(contender)
    found = {each.name: agreement(each.mask, contenders[0].mask, reference) for each in contenders}
    for name, (same, _) in found.items():
        if same < MINIMUM_DICE:
            raise BrainEdgeError(
                f"{name}: its mask agrees with the published program's at Dice {same:.4f}, expected "
                f"{MINIMUM_DICE}; a wrong answer is not timed"
            )
    return found
