"""The published program against our packages, as whole cold processes in turn: A B C A B C.

    python -m benchmarks interleaved deepbet --head head.nii.gz --threads 2 --repeats 7

Drift and other programs on the machine hit all contenders of a round alike, so ratios hold where times do not. Every
mask is checked before anything is timed. One JSON file is left under `results/`, and a table is printed.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from benchmarks.harness.answers import brain_of
from benchmarks.harness.contenders import package_run, published_program
from benchmarks.harness.measure import Contender, Sample, run, wait_until_idle
from benchmarks.harness.packages import make_package
from benchmarks.harness.peers import ARCHIVES, prepare, versions
from benchmarks.harness.record import Entry, Head, Run, our_versions, quiet_rounds, table, this_commit, write
from brain_edge.errors import BrainEdgeError
from brain_edge.image.metrics import dice
from brain_edge.io.nifti import read_volume
from brain_edge.machine.description import this_machine
from brain_edge.package import NumberFormat, open_package
from brain_edge.package.digest import sha256_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brain_edge.package import ModelPackage

MINIMUM_DICE: Final = 0.98
"""Against the published program's own mask, which may be off by a voxel (docs/concepts); below it nothing is timed."""

PATIENT_ROUNDS: Final = 3
"""Rounds that are run at most, per round that should count."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is compared, and how often.

    Attributes:
        model, head, reference, threads: see the options of the program.
        repeats: rounds that count; at most `PATIENT_ROUNDS` times as many are run.
        max_disturbance: what other programs may take of the machine, for a round to count.
        patience_s: how long to wait for an idle machine before a round.
    """

    model: str
    head: Path
    reference: Path | None
    threads: int
    repeats: int
    max_disturbance: float
    patience_s: float


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
def main(fp32: Path | None, int8: Path | None, calibration: str | None, **options: Any) -> None:
    """Compare the published program of MODEL with its FP32 and INT8 packages on one head."""
    plan = Plan(**options)
    try:
        packages = (
            open_package(fp32) if fp32 else make_package(plan.model, NumberFormat.FP32, _say),
            open_package(int8) if int8 else make_package(plan.model, NumberFormat.INT8, _say, calibration),
        )
        result = compare(plan, prepare(plan.model, _say), packages)
        _say(f"written: {write(result)}")
        click.echo(table(result))
    except BrainEdgeError as error:
        sys.exit(f"error: {error}")


def compare(plan: Plan, peer_python: Path, packages: Sequence[ModelPackage]) -> Run:
    """Run the published program and the packages in turn.

    Raises:
        BrainEdgeError: a contender failed, or made another mask than the published program.
    """
    started = datetime.now(UTC)
    with tempfile.TemporaryDirectory() as folder:
        contenders = _contenders(plan, peer_python, packages, Path(folder))
        agreement = _check(contenders, plan.reference)
        samples = _rounds(contenders, plan)
    entries = (
        Entry(
            name=contender.name,
            precision=contender.precision,
            package_digest=contender.package_digest,
            dice_published=agreement[contender.name][0],
            dice_reference=agreement[contender.name][1],
            samples=tuple(of_one),
        )
        for contender, of_one in zip(contenders, samples, strict=True)
    )
    return Run(
        model=plan.model,
        started=started,
        commit=this_commit(),
        machine=this_machine(),
        threads=plan.threads,
        max_disturbance=plan.max_disturbance,
        versions=our_versions(),
        peer_versions=versions(peer_python),
        head=_describe(plan.head),
        reference_sha256=sha256_of(plan.reference) if plan.reference else None,
        entries=tuple(entries),
    )


def _contenders(plan: Plan, peer_python: Path, packages: Sequence[ModelPackage], folder: Path) -> tuple[Contender, ...]:
    published = published_program(peer_python, plan.model, plan.head, folder / "published.nii.gz", plan.threads)
    runs = [
        package_run(package, plan.head, folder / f"mask-{number}.nii.gz", plan.threads)
        for number, package in enumerate(packages)
    ]
    return published, *runs


def _check(contenders: Sequence[Contender], reference: Path | None) -> dict[str, tuple[float, float | None]]:
    """Run each contender once, untimed; Dice per name against the published program's mask and the reference."""
    for contender in contenders:
        _say(f"checking the mask of {contender.name}")
        run(contender)
    published = brain_of(contenders[0].mask)
    truth = brain_of(reference) if reference else None
    agreement = {}
    for contender in contenders:
        mask = brain_of(contender.mask)
        same = dice(mask, published) or 0.0
        if same < MINIMUM_DICE:
            raise BrainEdgeError(
                f"{contender.name}: its mask agrees with the published program's at Dice {same:.4f}, expected "
                f"{MINIMUM_DICE}; a wrong answer is not timed"
            )
        agreement[contender.name] = (same, None if truth is None else dice(mask, truth))
    return agreement


def _rounds(contenders: Sequence[Contender], plan: Plan) -> Sequence[Sequence[Sample]]:
    """Samples per contender, per round, until enough rounds count or patience ends; every round is kept."""
    samples: list[list[Sample]] = [[] for _ in contenders]
    processors = this_machine().processors
    for number in range(1, plan.repeats * PATIENT_ROUNDS + 1):
        wait_until_idle(plan.max_disturbance, plan.patience_s)
        for contender, of_one in zip(contenders, samples, strict=True):
            of_one.append(run(contender))
        counted = len(quiet_rounds(samples, plan.max_disturbance, processors))
        _say(f"round {number}: {counted} of {plan.repeats} count")
        if counted == plan.repeats:
            break
    return samples


def _describe(path: Path) -> Head:
    geometry = read_volume(path).geometry
    return Head(sha256_of(path), geometry.shape, geometry.spacing_mm)


def _say(line: str) -> None:
    click.echo(line, err=True)


if __name__ == "__main__":
    main()
