"""A study prepared by `brain-edge prepare` and by `brainles-preprocessing`, whole processes in turn on two cores.

    python -m benchmarks preparation_peer FOLDER --site FOLDER_OF_PIP --stripper deepbet-int8 --rounds 3

FOLDER is `mri` in the one of `BRAIN_EDGE_DATA`. `--site` is where `pip install --target` put the other program and what
it needs; the first one that is named comes first. The atlas of all is the raw T1C of the glioma with its skull, at the
place of the published T1C: the other program expects a skull. Prints Markdown and writes a record: correlation with
each published image inside the published brain, ratios of times, processor times, peak memory.

A stripped image is 0 wherever its mask ends before the published one, and correlates less for it.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import numpy as np

from benchmarks.harness.in_turn import take_turns, times_as_fast
from benchmarks.harness.measure import Contender
from benchmarks.harness.preparation_sides import THREADS
from benchmarks.harness.record import write_record
from benchmarks.registration import GLIOMA, STRIPPED, folder_of_heads
from brain_edge.evaluation.markdown import markdown_table
from brain_edge.image.volume import Mask
from brain_edge.io.nifti import read_numbers, read_volume, write_image
from brain_edge.registration.library import without_bias
from brain_edge.registration.register import register
from brain_edge.registration.through import resample_through

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.harness.sample import RunSample

SEQUENCES: Final = {"T1C": "t1c", "T1": "t1", "T2": "t2", "FLAIR": "fla"}
"""Sequences as the programs call them, and as the published files do."""
RIVAL: Final = "brainles-preprocessing"
THREAD_VARIABLES: Final = ("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "OMP_NUM_THREADS")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False), callback=folder_of_heads)
@click.option("--site", "sites", multiple=True, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--stripper", type=click.Path(path_type=Path, exists=True), help="Package of a skull-stripper.")
@click.option("--rounds", default=3, show_default=True)
def main(folder: Path, sites: tuple[Path, ...], stripper: Path | None, rounds: int) -> None:
    """Compare, print, and write the record."""
    started = datetime.now(UTC)
    with tempfile.TemporaryDirectory() as scratch:
        atlas = _atlas(folder, Path(scratch) / "atlas.nii.gz")
        contenders = _contenders(folder, atlas, sites, stripper)
        samples = take_turns(contenders, [rounds] * len(contenders))
        rows = [
            _facts(folder, contender, of_one, samples[0]) for contender, of_one in zip(contenders, samples, strict=True)
        ]
    (rival,) = distributions(name=RIVAL, path=[str(site) for site in sites])
    path = write_record(
        "a raw study prepared", "preparation-peer", started, threads=THREADS, rival_version=rival.version, sides=rows
    )
    alike = (f"{name}, correlation" for name in SEQUENCES)
    titles = ("program", *alike, "times as fast", "processor seconds", "peak memory, MB")
    click.echo(markdown_table(titles, [_cells(row) for row in rows]))
    click.echo(f"{path}", err=True)


def _atlas(folder: Path, path: Path) -> Path:
    """Write the raw reference at the place of the published one, with its skull."""
    raw = read_volume(next((folder / GLIOMA / "raw_head").glob("*_t1c.nii.gz")))
    published = read_volume(folder / f"{STRIPPED}_t1c_bet.nii.gz")
    brain = Mask((published.voxels > 0).astype(np.uint8), published.geometry)
    found = register(without_bias(raw), published, threads=1, fixed_mask=brain)
    write_image(resample_through(raw, found, published.geometry), path)
    return path


def _contenders(folder: Path, atlas: Path, sites: Sequence[Path], stripper: Path | None) -> list[Contender]:
    """The other program, ours with the skull left, and ours with the brain found."""
    sides: list[tuple[str, str, list[str]]] = [(RIVAL, "brainles", []), ("brain-edge --keep-skull", "brain_edge", [])]
    if stripper is not None:
        sides.append(("brain-edge, stripped", "brain_edge", [f"STRIPPER={stripper.resolve()}"]))
    raw = (folder / GLIOMA / "raw_head").resolve()
    images = [f"{name}={next(raw.glob(f'*_{short}.nii.gz'))}" for name, short in SEQUENCES.items()]
    contenders = []
    for number, (name, side, more) in enumerate(sides):
        out = atlas.parent / str(number)
        out.mkdir()
        program = [sys.executable, "-m", "benchmarks.harness.preparation_sides", side]
        words = [*program, str(atlas), str(out), *images, *more]
        environment = _environment(sites if side == "brainles" else ())
        contenders.append(Contender(name=name, command=words, environment=environment, mask=out))
    return contenders


def _environment(sites: Sequence[Path]) -> dict[str, str]:
    """Variables of a side: two threads in ITK, and the folders of pip before those of this process."""
    paths = os.pathsep.join([*(str(site.resolve()) for site in sites), *(each for each in sys.path if each)])
    return {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(THREADS)), "PYTHONPATH": paths}


def _facts(folder: Path, of: Contender, samples: Sequence[RunSample], first: Sequence[RunSample]) -> dict[str, Any]:
    alike = {name: _correlation(folder, of.mask / f"{name}.nii.gz", short) for name, short in SEQUENCES.items()}
    return {"name": of.name, "correlations": alike, "times_as_fast": times_as_fast(first, samples), "samples": samples}


def _correlation(folder: Path, prepared: Path, short: str) -> float:
    """Correlation of a prepared image with the published one where the published brain is."""
    (image, grid), (published, other) = (
        read_numbers(path) for path in (prepared, folder / f"{STRIPPED}_{short}_bet.nii.gz")
    )
    if image.shape != published.shape or not np.allclose(grid.affine, other.affine, atol=1e-3):
        raise click.ClickException(f"{prepared}: expected the grid of the atlas, got {image.shape}")
    brain = published > 0
    return float(np.corrcoef(image[brain], published[brain])[0, 1])


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    peak = max(sample.peak_rss_bytes or 0 for sample in row["samples"])
    return (
        row["name"],
        *(f"{each:.3f}" for each in row["correlations"].values()),
        f"{row['times_as_fast'].value:.1f}",
        f"{statistics.median(sample.cpu_ms for sample in row['samples']) / 1000:.0f}",
        f"{peak / 1e6:.0f}",
    )
