"""What a tuned HD-BET v1 is worth: against the published program in its default mode and in its fastest, file to file.

    brain-edge convert hd-bet-v1 --members all --flips -o ensemble
    brain-edge tune ensemble --calibration cohort.toml --max-dice-drop 0.01 -o tuned
    python -m benchmarks tuned tuned --head head.nii.gz --rounds 5

The default mode (five networks, eight mirrorings) takes minutes and runs in the first rounds only; a ratio to it says
of how many. Dice with its mask is of the whole path, also of the published program's own way back to the image, which
is off by a voxel (docs/concepts). The evidence on several heads, against the same ensemble between our steps, is the
package's own (`tuning` of its manifest). One JSON file is left under `results/`.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from benchmarks.harness.answers import agreement
from benchmarks.harness.contenders import package_run, published_program
from benchmarks.harness.in_turn import in_words, take_turns, times_as_fast
from benchmarks.harness.peers import prepare, versions
from benchmarks.harness.record import write_record
from brain_edge.errors import BrainEdgeError
from brain_edge.package import open_package
from brain_edge.package.digest import sha256_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.harness.measure import Contender
    from benchmarks.harness.sample import RunSample

MODEL: Final = "hd-bet-v1"

MINIMUM_DICE: Final = 0.95
"""With the mask of the default mode; a wrong answer is not recorded. The published ways back differ by a voxel."""


@click.command()
@click.argument("packages", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--head", type=click.Path(path_type=Path, exists=True), required=True, help="NIfTI file.")
@click.option("--reference", type=click.Path(path_type=Path, exists=True), help="Its brain mask.")
@click.option("--threads", default=2, show_default=True, help="Of every contender.")
@click.option(
    "--rounds", type=click.IntRange(1), default=5, show_default=True, help="In which all but the default mode run once."
)
@click.option(
    "--default-rounds",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="In which the default mode runs, too.",
)
def main(
    packages: tuple[Path, ...], head: Path, reference: Path | None, threads: int, rounds: int, default_rounds: int
) -> None:
    """Compare PACKAGES of HD-BET v1 with its published program on one head."""
    started = datetime.now(UTC)
    python = prepare(MODEL, partial(click.echo, err=True))
    with tempfile.TemporaryDirectory() as scratch:
        contenders = _contenders(python, packages, head, threads, Path(scratch))
        samples = take_turns(contenders, [default_rounds, *[rounds] * (len(contenders) - 1)])
        rows = [_row(*each, contenders, samples, reference) for each in zip(contenders, samples, strict=True)]
    path = write_record(
        "tuned packages against the published program, whole processes",
        f"tuned-{MODEL}",
        started,
        model=MODEL,
        threads=threads,
        peer_versions=versions(python),
        head_sha256=sha256_of(head),
        entries=rows,
    )
    click.echo(f"written: {path}", err=True)


def _contenders(python: Path, packages: Sequence[Path], head: Path, threads: int, folder: Path) -> list[Contender]:
    """The published program by default, in its fastest mode, then the packages."""
    modes = {f"{MODEL}-default": "published, default mode", MODEL: "published, one fold, no mirroring"}
    published = [
        replace(published_program(python, mode, head, folder / f"{mode}.nii.gz", threads), name=name)
        for mode, name in modes.items()
    ]
    opened = [open_package(place) for place in packages]
    for package in opened:
        if package.spec.name != MODEL:
            raise BrainEdgeError(f"{package.folder}: expected a package of {MODEL}, this is one of {package.spec.name}")
    ours = [package_run(one, head, folder / f"{number}.nii.gz", threads) for number, one in enumerate(opened)]
    return [*published, *(replace(one, name=f"{one.name}, package {n}") for n, one in enumerate(ours, start=1))]


def _row(
    contender: Contender,
    of_one: Sequence[RunSample],
    contenders: Sequence[Contender],
    samples: Sequence[Sequence[RunSample]],
    reference: Path | None,
) -> dict[str, object]:
    """What is recorded of a contender, and one line of it.

    Raises:
        BrainEdgeError: its mask is another one than that of the default mode.
    """
    same, right = agreement(contender.mask, contenders[0].mask, reference)
    if same < MINIMUM_DICE:
        raise BrainEdgeError(f"{contender.name}: Dice {same:.4f} with the default mode's mask, nothing is recorded")
    peers = zip(contenders[:2], samples[:2], strict=True)
    ratios = {peer.name: times_as_fast(of_peer, of_one) for peer, of_peer in peers}
    in_all = "; ".join(f"{ratio}x of {name}" for name, ratio in ratios.items())
    click.echo(f"{contender.name}: {in_words(of_one)}, {in_all}, Dice with the default mode {same:.4f}")
    return {
        "name": contender.name,
        "precision": contender.precision,
        "package_digest": contender.package_digest,
        "dice_with_default": same,
        "dice_with_reference": right,
        "times_as_fast_as": ratios,
        "samples": of_one,
    }
