"""What a run imports against `import numpy, openvino`, in turn, by Python's own clock of imports.

    python -m benchmarks start_imports PACKAGE head.nii.gz --rounds 9

Each process runs under `python -X importtime`, with compiled bytecode as an installation has it. Prints the ratio, its
range over the rounds, and what the run imports beside NumPy and OpenVINO, longest first.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Final

import click

from benchmarks.harness.ratios import median_and_range, ratios_of_rounds
from brain_edge.errors import BrainEdgeError

BASE: Final = "import numpy, openvino"
LINE: Final = re.compile(r"^import time:\s+(\d+) \|\s+\d+ \|\s*(\S+)$", re.MULTILINE)
MOST_ROWS: Final = 12


@click.command()
@click.argument("package", type=click.Path(path_type=Path, exists=True))
@click.argument("head", type=click.Path(path_type=Path, exists=True))
@click.option("--rounds", default=9, show_default=True, help="Of both processes, after one that is not counted.")
def main(package: Path, head: Path, rounds: int) -> None:
    """Compare the imports of a run of PACKAGE on HEAD with those of NumPy and OpenVINO."""
    with tempfile.TemporaryDirectory() as folder:
        run = ["-m", "brain_edge", "run", str(package), str(head), "-o", str(Path(folder, "mask.nii.gz")), "--quiet"]
        pairs = [(imports(["-c", BASE], folder), imports(run, folder)) for _ in range(rounds + 1)][1:]
    totals = [(sum(base.values()), sum(ours.values())) for base, ours in pairs]
    found = median_and_range(ratios_of_rounds([ours for _, ours in totals], [base for base, _ in totals]))
    assert found.interval is not None
    click.echo(f"imports of a run: {found.value:.2f} times `{BASE}` ({found.interval.low:.2f} to", nl=False)
    click.echo(f" {found.interval.high:.2f}, {rounds} rounds in turn)")
    base, ours = pairs[-1]
    more: Counter[str] = Counter()
    for name, spent_us in ours.items():
        if name not in base:
            more[name.partition(".")[0]] += spent_us
    for name, spent_us in more.most_common(MOST_ROWS):
        click.echo(f"{spent_us / 1000:8.1f} ms  {name}")


def imports(arguments: list[str], bytecode: str) -> dict[str, int]:
    """Return the microseconds that each module takes in a process by itself, without what it imports.

    Raises:
        BrainEdgeError: the process failed.
    """
    kept = {"PYTHONPYCACHEPREFIX": str(Path(bytecode, "pyc")), "BRAIN_EDGE_MODEL_CACHE": "none"}
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | kept
    command = [sys.executable, "-X", "importtime", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        raise BrainEdgeError(f"exit code {done.returncode}: {done.stderr[-300:]}")
    return {name: int(spent_us) for spent_us, name in LINE.findall(done.stderr)}
