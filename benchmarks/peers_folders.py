"""Speed and memory of a converted folder beside the own predictor of its library, on one CPU, in turns.

    python -m benchmarks peers_folders FOLDER PACKAGE PYTHON T1=case_0000.nii.gz FLAIR=case_0001.nii.gz

FOLDER is a results folder of nnU-Net or a MONAI bundle, PYTHON an interpreter that has that library. Both sides are
whole runs on the same files with the same number of threads and, for nnU-Net, without mirroring, one after the other in
each round. Each tells its own seconds for the case, start-up left out; memory is that of the whole process. Writes to
`benchmarks/results` per side every round, the ratio with its interval over processes, and the Dice of the
label that agrees least; refuses to record masks that agree at less than 0.999. Prints them in short.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from benchmarks.harness.measure import output_of
from benchmarks.harness.peers import versions
from benchmarks.harness.ratios import ratio_of_starts
from benchmarks.harness.record import write_record
from brain_edge.package import open_package

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests"
MINIMUM_DICE = 0.999
LIBRARIES = ("torch", "monai", "nnunetv2", "numpy")
OURS = """
import json, resource, sys, time
from brain_edge.io.nifti import write_mask
from brain_edge.jobs.case import read_study
from brain_edge.machine.options import RuntimeOptions
from brain_edge.engine.segmenter import Segmenter
from pathlib import Path
package, target, threads, *files = sys.argv[1:]
segmenter = Segmenter.open(package, RuntimeOptions(threads=int(threads)))
start = time.perf_counter()
study = read_study({name: Path(path) for name, path in (each.split("=", 1) for each in files)})
write_mask(segmenter(study).mask, study.volumes[study.reference], Path(target))
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print("RESULT", json.dumps({"seconds": seconds, "peak_rss_bytes": peak}))
"""


def answer(command: list[str], threads: int) -> dict[str, float]:
    """What one run prints after RESULT."""
    environment = os.environ | {"THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    said = output_of(command, f"{command[0]} failed:\n", environment)
    return msgspec.json.decode(said.rpartition("RESULT ")[2], type=dict[str, float])


def least_dice(wanted: Path, got: Path) -> float:
    """Dice of the label that agrees least."""
    import nibabel
    import numpy as np

    from brain_edge.image.metrics import least_dice as of_labels

    first, second = (np.asarray(nibabel.load(path).dataobj).astype(np.uint8) for path in (wanted, got))
    return of_labels(first, second)


def peer_script(folder: str) -> Path:
    """What runs the library's own predictor on a folder."""
    return TESTS / ("monai_bundle.py" if Path(folder, "configs").is_dir() else "nnunet_peer.py")


@click.command()
@click.argument("folder")
@click.argument("package")
@click.argument("peer_python")
@click.argument("inputs", nargs=-1, required=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--threads", default=2, show_default=True)
def main(folder: str, package: str, peer_python: str, inputs: tuple[str, ...], rounds: int, threads: int) -> None:
    """Run both sides in turns on INPUTS, NAME=FILE in channel order."""
    files, started = [each.split("=", 1)[1] for each in inputs], datetime.now(UTC)
    runs: dict[str, list[dict[str, float]]] = {"library": [], "brain_edge": []}
    with tempfile.TemporaryDirectory() as place:
        theirs, ours = Path(place, "theirs.nii.gz"), Path(place, "ours.nii.gz")
        for _ in range(rounds):
            peer = [peer_python, str(peer_script(folder)), "predict", folder, str(theirs), *files]
            runs["library"].append(answer(peer, threads))
            own = [sys.executable, "-c", OURS, package, str(ours), str(threads), *inputs]
            runs["brain_edge"].append(answer(own, threads))
        dice = least_dice(theirs, ours)
    if dice < MINIMUM_DICE:
        sys.exit(f"the masks agree at Dice {dice:.5f}: nothing is recorded")
    seconds = {name: [run["seconds"] for run in each] for name, each in runs.items()}
    ratio = ratio_of_starts(seconds["library"], seconds["brain_edge"])
    installed = versions(Path(peer_python))
    kind, opened = peer_script(folder).stem.split("_")[0], open_package(package)
    path = write_record(
        "a folder beside the own predictor of its library",
        f"folder-{kind}",
        started,
        library=kind,
        threads=threads,
        library_versions={name.lower(): said for name, said in installed.items() if name.lower() in LIBRARIES},
        package_digest=opened.digest,
        number_format=opened.manifest.number_format,
        sides=runs,
        times_as_fast=ratio,
        least_dice=dice,
    )
    for name, of_one in seconds.items():
        peak_mib = max(run["peak_rss_bytes"] for run in runs[name]) / 2**20
        spread = f"{statistics.median(of_one):.2f} s ({min(of_one):.2f} to {max(of_one):.2f})"
        click.echo(f"{name}: {spread}, {peak_mib:.0f} MiB")
    click.echo(f"{ratio} times as fast, least Dice {dice:.5f}\nwritten: {path}")
