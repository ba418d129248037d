"""What a hospital's installation costs: size on disk, start, time to the first mask, memory.

    python -m benchmarks thin_install ENVIRONMENT PACKAGE HEAD --threads 2

ENVIRONMENT is one that holds the wheel and nothing else, such as `install.py` of a wheelhouse makes it. Every process
is cold; they run in turn. The mask is compared with that of this checkout before anything is timed. Prints Markdown.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import numpy as np

from benchmarks.harness.answers import brain_of
from brain_edge.engine.segmenter import Segmenter
from brain_edge.evaluation.markdown import markdown_table
from brain_edge.jobs.case import Job, run_case
from brain_edge.jobs.outputs import Outputs
from brain_edge.machine.description import this_machine
from brain_edge.machine.options import RuntimeOptions
from brain_edge.package import open_package

if TYPE_CHECKING:
    from collections.abc import Sequence

MB: Final = 1e6
INSTALLERS: Final = frozenset({"pip", "setuptools"})
"""Come with an environment, are not ours, and are not counted."""

IMPORTS: Final = {
    "Python alone": "pass",
    "import brain_edge": "import brain_edge",
    "all that `run` imports": "import brain_edge.jobs.case, brain_edge.package, brain_edge.runtime.session",
}


@dataclass(frozen=True)
class Installation:
    """An environment to be measured.

    Attributes:
        programs: its folder of programs.
        site: its folder of packages.
    """

    programs: Path
    site: Path

    def python(self, code: str) -> list[str]:
        """The command that runs some code in it."""
        return [str(self.programs / "python"), "-I", "-c", code]


@click.command()
@click.argument("environment", type=click.Path(path_type=Path, exists=True))
@click.argument("package", type=click.Path(path_type=Path, exists=True))
@click.argument("head", type=click.Path(path_type=Path, exists=True))
@click.option("--threads", default=2, show_default=True)
@click.option("--repeats", default=7, show_default=True, help="Of each process; 0: sizes alone.")
def main(environment: Path, package: Path, head: Path, threads: int, repeats: int) -> None:
    """Measure an installation without the build side."""
    installed = find(environment)
    sizes = sizes_bytes(installed.site)
    foreign = {"torch", "nncf", "onnx"} & sizes.keys()
    if foreign:
        sys.exit(f"error: {environment}: expected a thin installation, found {', '.join(sorted(foreign))} in it")
    with tempfile.TemporaryDirectory() as folder:
        click.echo("\n".join(_report(installed, sizes, _Case(package, head, Path(folder), threads), repeats)))


@dataclass(frozen=True)
class _Case:
    package: Path
    head: Path
    folder: Path
    threads: int

    @property
    def mask(self) -> Path:
        return self.folder / "mask.nii.gz"

    def command(self, installed: Installation) -> list[str]:
        named = [str(self.package), str(self.head), "-o", str(self.mask), "--threads", str(self.threads), "--json"]
        return [str(installed.programs / "brain-edge"), "run", *named]


def find(environment: Path) -> Installation:
    """The folders of an environment, on POSIX and on Windows."""
    programs = environment / ("Scripts" if os.name == "nt" else "bin")
    code = "import sysconfig; print(sysconfig.get_path('platlib'))"
    said = subprocess.run([programs / "python", "-I", "-c", code], capture_output=True, text=True, check=True)
    return Installation(programs.absolute(), Path(said.stdout.strip()))


def sizes_bytes(site: Path) -> dict[str, int]:
    """Size on disk of each distribution, by name: of the files that it lists, compiled modules included."""
    found = {each.name.lower(): _size_bytes(each) for each in distributions(path=[str(site)])}
    return {name: size for name, size in found.items() if name not in INSTALLERS}


def _size_bytes(distribution: Distribution) -> int:
    files = (Path(str(distribution.locate_file(file))) for file in distribution.files or ())
    return sum(path.stat().st_size for path in files if path.is_file())


def _report(installed: Installation, sizes: dict[str, int], case: _Case, repeats: int) -> list[str]:
    digest, machine = _check(installed, case), this_machine()
    largest = sorted(sizes.items(), key=lambda item: -item[1])
    on_disk = [*((name, f"{size / MB:.1f}") for name, size in largest), ("together", f"{sum(sizes.values()) / MB:.0f}")]
    columns = ("cold process", "median (fastest to slowest)")
    return [
        markdown_table((f"{len(sizes)} distributions", "MB on disk"), on_disk),
        *(("", markdown_table(columns, _times(installed, case, repeats))) if repeats else ()),
        "",
        f"{machine.cpu}, {machine.processors} processors, {machine.system}; {case.threads} threads; package {digest}",
    ]


def _check(installed: Installation, case: _Case) -> str:
    """Refuse to time an answer that is not the one of this checkout; the digest of the package."""
    subprocess.run(case.command(installed), check=True, capture_output=True)
    opened = open_package(case.package)
    ours = case.folder / "ours.nii.gz"
    segmenter = Segmenter.open(opened, RuntimeOptions(threads=case.threads))
    run_case(segmenter, Job({opened.spec.inputs[0].name: case.head}, Outputs(mask=ours)))
    if not np.array_equal(brain_of(case.mask), brain_of(ours)):
        sys.exit(f"error: {case.package}: the installation and this checkout make different masks; nothing is timed")
    return opened.digest[:16]


def _times(installed: Installation, case: _Case, repeats: int) -> list[tuple[str, str]]:
    """One row per process; all of them in turn, so that drift hits them alike."""
    commands = {name: installed.python(code) for name, code in IMPORTS.items()}
    commands["`brain-edge --help`"] = [str(installed.programs / "brain-edge"), "--help"]
    commands["to the first mask: `brain-edge run`"] = case.command(installed)
    samples_ms: dict[str, list[float]] = {name: [] for name in commands}
    peaks: list[int] = []
    for _ in range(repeats):
        for name, command in commands.items():
            elapsed_ms, said = _timed(command)
            samples_ms[name].append(elapsed_ms)
            if command[1] == "run":
                peaks.append(json.loads(said)["peak_rss_bytes"])
    rows = [(name, _spread(of_one)) for name, of_one in samples_ms.items()]
    return [*rows, ("its peak memory", f"{statistics.median(peaks) / 2**20:.0f} MiB")]


def _timed(command: Sequence[str]) -> tuple[float, str]:
    start = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return (time.perf_counter() - start) * 1000, done.stdout


def _spread(samples_ms: Sequence[float]) -> str:
    low, middle, high = min(samples_ms), statistics.median(samples_ms), max(samples_ms)
    return f"{middle / 1000:.2f} s ({low / 1000:.2f} to {high / 1000:.2f})"
