"""Speed and memory of a converted folder beside the own predictor of its library, on one CPU, in turns.

    python -m benchmarks peers_folders FOLDER PACKAGE PYTHON T1=case_0000.nii.gz FLAIR=case_0001.nii.gz

FOLDER is a results folder of nnU-Net or a MONAI bundle, PYTHON an interpreter that has that library. Both sides are
whole runs on the same files with the same number of threads and, for nnU-Net, without mirroring, one after the other in
each round. Each tells its own seconds for the case, start-up left out; memory is that of the whole process. Writes to
`benchmarks/results` per side every round, the ratio of the medians with its bootstrap interval, and the Dice of the
label that agrees least; refuses to record masks that agree at less than 0.999. Prints them in short.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

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
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if ended.returncode:
        sys.exit(ended.stderr)
    found: dict[str, float] = json.loads(ended.stdout.rpartition("RESULT ")[2])
    return found


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


def main() -> None:
    """Run both sides in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("package")
    parser.add_argument("peer_python")
    parser.add_argument("inputs", nargs="+", help="NAME=FILE in channel order")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    files, started = [each.split("=", 1)[1] for each in given.inputs], datetime.now(UTC)
    runs: dict[str, list[dict[str, float]]] = {"library": [], "brain_edge": []}
    with tempfile.TemporaryDirectory() as place:
        theirs, ours = Path(place, "theirs.nii.gz"), Path(place, "ours.nii.gz")
        for _ in range(given.rounds):
            peer = [given.peer_python, str(peer_script(given.folder)), "predict", given.folder, str(theirs), *files]
            runs["library"].append(answer(peer, given.threads))
            own = [sys.executable, "-c", OURS, given.package, str(ours), str(given.threads), *given.inputs]
            runs["brain_edge"].append(answer(own, given.threads))
        dice = least_dice(theirs, ours)
    if dice < MINIMUM_DICE:
        sys.exit(f"the masks agree at Dice {dice:.5f}: nothing is recorded")
    print(record(given, runs, dice, started))


def record(given: argparse.Namespace, runs: dict[str, list[dict[str, float]]], dice: float, started: datetime) -> str:
    """Write what was measured, with the machine, threads and versions that it depends on; the same in short."""
    from benchmarks.harness.ratios import ratio_of_medians
    from benchmarks.harness.record import our_versions, this_commit, write_result
    from brain_edge.machine.description import this_machine
    from brain_edge.package import open_package

    kind, machine, package = peer_script(given.folder).stem.split("_")[0], this_machine(), open_package(given.package)
    seconds = {name: [run["seconds"] for run in each] for name, each in runs.items()}
    peak = {name: max(run["peak_rss_bytes"] for run in each) for name, each in runs.items()}
    ratio = ratio_of_medians(seconds["library"], seconds["brain_edge"])
    made: dict[str, Any] = {
        "schema": 1,
        "benchmark": "a folder beside the own predictor of its library",
        "library": kind,
        "started": started,
        "commit": this_commit(),
        "machine": machine,
        "threads": given.threads,
        "versions": our_versions(),
        "library_versions": versions_of(given.peer_python),
        "package_digest": package.digest,
        "number_format": package.manifest.number_format,
        "sides": runs,
        "times_as_fast": [ratio.value, ratio.low, ratio.high],
        "least_dice": dice,
    }
    path = write_result(made, f"folder-{kind}", started, machine)
    lines = [
        f"{name}: {statistics.median(of_one):.2f} s ({min(of_one):.2f} to {max(of_one):.2f}), "
        f"{peak[name] / 2**20:.0f} MiB"
        for name, of_one in seconds.items()
    ]
    faster = f"{ratio} times as fast, least Dice {dice:.5f}"
    return "\n".join([*lines, faster, f"written: {path}"])


def versions_of(python: str) -> dict[str, str]:
    """The libraries of the other side, those that it has."""
    asked = "import importlib.metadata as m, json, sys; print(json.dumps({d.name.lower(): d.version for d in "
    asked += f"m.distributions() if d.name.lower() in {LIBRARIES!r}}}))"
    ended = subprocess.run([python, "-c", asked], capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(ended.stdout)
    return found


if __name__ == "__main__":
    main()
