"""Libraries of rigid registration beside each other: the same files, one process each, one thread.

    python -m benchmarks registration_peers FOLDER --site FOLDER_OF_PIP --site ants=ANOTHER --movements 8

FOLDER is `mri` in the one of `BRAIN_EDGE_DATA`. `--site` is where `pip install --target` put picsl-greedy and
itk-elastix; antspyx wants other versions of NumPy and SciPy, and has a folder of its own. Prints Markdown: correlations
of the prepared glioma with its published images, errors of known movements, processor time, memory, and size. The table
is also written as a record.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import msgspec
import numpy as np

from benchmarks.harness.record import write_record
from benchmarks.harness.registration_rivals import DISTRIBUTIONS, LIBRARIES, ONE_THREAD, Outcome
from benchmarks.registration import (
    GLIOMA,
    SEQUENCES,
    STRIPPED,
    corner_error_mm,
    correlation,
    folder_of_heads,
    known_movement,
)
from brain_edge.evaluation.markdown import markdown_table
from brain_edge.io.nifti import read_volume, write_image

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

TITLES: Final = (
    "library",
    *(f"{name}, correlation" for name in SEQUENCES),
    "movements: mean error, mm",
    "largest, mm",
    "processor seconds a pair",
    "peak memory, MB",
    "installed, MB",
    "same input, same bytes",
)
RECORDED: Final = "libraries of rigid registration beside each other"
LIMIT_S: Final = 3600
"""Time after which a registration counts as failed."""


@dataclass
class Found:
    """What one library made of all pairs."""

    correlations: list[float] = field(default_factory=list)
    errors_mm: list[float] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    repeats: bool = False

    def row(self, name: str, sites: Sequence[Path]) -> tuple[str, ...]:
        """Cells of the table."""
        errors = np.array(self.errors_mm or [np.nan])
        seconds = np.mean([each.cpu_s for each in self.outcomes])
        peak = max(each.peak_rss_bytes for each in self.outcomes)
        return (
            f"{name} {_installed(DISTRIBUTIONS[name][0], sites).version}",
            *(f"{each:.3f}" for each in self.correlations),
            f"{errors.mean():.2f}",
            f"{errors.max():.2f}",
            f"{seconds:.0f}",
            f"{peak / 1e6:.0f}",
            f"{installed_bytes(DISTRIBUTIONS[name], sites) / 1e6:.0f}",
            "yes" if self.repeats else "no",
        )


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False), callback=folder_of_heads)
@click.option("--site", "given", multiple=True, metavar="[LIBRARY=]FOLDER", help="Folder of pip, for all or for one.")
@click.option("--library", "libraries", multiple=True, type=click.Choice(list(LIBRARIES)), help="One of them; all.")
@click.option("--movements", default=8, show_default=True, help="Number of known movements.")
@click.option("--done", type=click.Path(path_type=Path, dir_okay=False), help="Finished libraries; the run goes on.")
def main(folder: Path, given: tuple[str, ...], libraries: tuple[str, ...], movements: int, done: Path | None) -> None:
    """Register the images below FOLDER with each library."""
    lines = done.read_bytes().splitlines() if done is not None and done.exists() else []
    finished = dict(msgspec.json.decode(line, type=tuple[str, tuple[str, ...]]) for line in lines)
    rows, started = [], datetime.now(UTC)
    with tempfile.TemporaryDirectory() as scratch:
        for name in libraries or LIBRARIES:
            if name in finished:
                rows.append(finished[name])
                continue
            found, sites = Found(), _sites(given, name)
            _glioma(folder, name, sites, found)
            _movements(folder, Path(scratch), name, sites, movements, found)
            rows.append(found.row(name, sites))
            click.echo(f"{rows[-1]}", err=True)
            if done is not None:
                with done.open("ab") as stream:
                    stream.write(msgspec.json.encode((name, rows[-1])) + b"\n")
    click.echo(markdown_table(TITLES, rows))
    found_of_each = [dict(zip(TITLES, row, strict=True)) for row in rows]
    path = write_record(RECORDED, "registration-peers", started, movements=movements, libraries=found_of_each)
    click.echo(f"{path}", err=True)


def _sites(given: Sequence[str], name: str) -> list[Path]:
    """Folders of one library: those that are named for it, then those for all."""
    pairs = [text.rpartition("=") for text in given]
    return [Path(folder) for wanted in (name, "") for library, _, folder in pairs if library == wanted]


def _glioma(folder: Path, name: str, sites: Sequence[Path], found: Found) -> None:
    """Raw T1C to the published T1C, the others to the raw T1C, each interpolated once."""
    raw = {each: next((folder / GLIOMA / "raw_head").glob(f"*_{each}.nii.gz")) for each in SEQUENCES}
    published = {each: folder / f"{STRIPPED}_{each}_bet.nii.gz" for each in SEQUENCES}
    first, again = (_registered(name, raw["t1c"], published["t1c"], sites) for _ in range(2))
    found.repeats = first.matrix == again.matrix
    for each in SEQUENCES:
        outcome = first if each == "t1c" else _registered(name, raw[each], raw["t1c"], sites)
        found.outcomes.append(outcome)
        rigid = first.rigid if each == "t1c" else outcome.rigid.after(first.rigid)
        found.correlations.append(correlation(read_volume(raw[each]), rigid, read_volume(published[each])))


def _movements(folder: Path, scratch: Path, name: str, sites: Sequence[Path], count: int, found: Found) -> None:
    for number in range(count):
        pair = known_movement(folder, number)
        places = []
        for what, volume in (("moving", pair.copy), ("fixed", pair.fixed)):
            places.append(scratch / f"{number}_{what}.nii.gz")
            if not places[-1].exists():
                write_image(volume, places[-1])
        outcome = _registered(name, places[0], places[1], sites)
        found.outcomes.append(outcome)
        found.errors_mm.append(corner_error_mm(pair, outcome.rigid))
        click.echo(f"{name} {number} {found.errors_mm[-1]:.3f} mm {outcome.cpu_s:.0f} s", err=True)


def _registered(name: str, moving: Path, fixed: Path, sites: Sequence[Path]) -> Outcome:
    """Register one file to another in a process of its own."""
    paths = os.pathsep.join([*map(str, sites), *(each for each in sys.path if each)])
    words = [sys.executable, "-m", "benchmarks.harness.registration_rivals", name, str(moving), str(fixed)]
    environment = {**os.environ, **ONE_THREAD, "PYTHONPATH": paths}
    done = subprocess.run(words, stdout=subprocess.PIPE, env=environment, check=True, timeout=LIMIT_S)
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=Outcome)


def installed_bytes(names: Iterable[str], sites: Sequence[Path]) -> int:
    """Size on disk of the files of some distributions, the first of each name that is found."""
    return sum(each.size or 0 for name in names for each in _installed(name, sites).files or [])


def _installed(name: str, sites: Sequence[Path]) -> Distribution:
    """The first distribution of a name, as Python would find it."""
    return next(iter(distributions(name=name, path=[*map(str, sites), *sys.path])))
