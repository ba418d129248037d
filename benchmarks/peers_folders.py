"""Speed and memory of a converted folder beside the own predictor of its library, on one CPU, in turns.

    python benchmarks/peers_folders.py FOLDER PACKAGE PYTHON T1=case_0000.nii.gz FLAIR=case_0001.nii.gz

FOLDER is a results folder of nnU-Net or a MONAI bundle, PYTHON an interpreter that has that library. Both sides are
whole runs on the same files with the same number of threads and, for nnU-Net, without mirroring, one after the other in
each round. Each tells its own seconds for the case, start-up left out; memory is that of the whole process. Prints one
JSON object: per side the seconds of every round, their median and the greatest peak memory, the ratio of the medians
and the Dice of the masks.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests"
OURS = """
import json, resource, sys, time
from brain_edge.io.nifti import write_mask
from brain_edge.run import read_study
from brain_edge.runtime.options import RuntimeOptions
from brain_edge.segmenter import Segmenter
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

    from brain_edge.metrics import least_dice as of_labels

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
    files = [each.split("=", 1)[1] for each in given.inputs]
    runs: dict[str, list[dict[str, float]]] = {"library": [], "brain_edge": []}
    with tempfile.TemporaryDirectory() as place:
        theirs, ours = Path(place, "theirs.nii.gz"), Path(place, "ours.nii.gz")
        for _ in range(given.rounds):
            peer = [given.peer_python, str(peer_script(given.folder)), "predict", given.folder, str(theirs), *files]
            runs["library"].append(answer(peer, given.threads))
            own = [sys.executable, "-c", OURS, given.package, str(ours), str(given.threads), *given.inputs]
            runs["brain_edge"].append(answer(own, given.threads))
        dice = least_dice(theirs, ours)
    sides = {
        name: {
            "seconds": [run["seconds"] for run in each],
            "median_seconds": statistics.median(run["seconds"] for run in each),
            "peak_rss_bytes": max(run["peak_rss_bytes"] for run in each),
        }
        for name, each in runs.items()
    }
    ratio = sides["library"]["median_seconds"] / sides["brain_edge"]["median_seconds"]  # type: ignore[operator]
    print(json.dumps({"sides": sides, "ratio": ratio, "least_dice": dice, "threads": given.threads}, indent=2))


if __name__ == "__main__":
    main()
