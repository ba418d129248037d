"""Accuracy cells: Dice and HD95 on real heads against published masks; PyTorch between our steps, and the packages.

Calibration heads are not judged: ranges were taken from them, and in the shipped cohorts they have no mask.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec.structs import replace

from benchmarks import program
from brain_edge.errors import BrainEdgeError
from brain_edge.evaluation.cohort import Split, load_cohort
from brain_edge.evaluation.evaluate import CaseScores, Evaluation

from .cell_process import PACKAGES, PYTORCH
from .cell_record import CaseScore, CellEntry, EntryOutcome
from .cell_setting import environment_of, now, run_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brain_edge.package import ModelPackage

    from .cell_record import Cell, CellRun
    from .cell_setting import MatrixSetting

JUDGED: Final = (Split.VALIDATION, Split.TEST)


def measure_accuracy(cell: Cell, setting: MatrixSetting) -> CellRun:
    """Judge each contender on the cases of the cohort that have a reference mask; the cohort is the cell's group."""
    started = now()
    cohort = load_cohort(cell.group)
    entries = tuple(_judged(cell, name, setting) for name in cell.contenders)
    return run_of(cell, setting, started, entries, cohort=cohort.manifest.name, image_sha256=cohort.sha256)


def _judged(cell: Cell, name: str, setting: MatrixSetting) -> CellEntry:
    setting.report(f"{cell.id}: judging {name}")
    entry = CellEntry(name=name, precision="f32")
    try:
        package = None if name == PYTORCH else setting.package(cell.subject, PACKAGES[name])
        cases = [case for split in JUDGED for case in _evaluation(cell, package, split).cases]
    except BrainEdgeError as error:
        return replace(entry, outcome=EntryOutcome.FAILED, why=str(error))
    if package is not None:
        numbers = package.manifest.number_format
        entry = replace(entry, precision=f"{numbers}, rest in {package.manifest.precision}")
        entry = replace(entry, package_digest=package.digest)
    return replace(entry, scores=scores_of(cases))


def scores_of(cases: Sequence[CaseScores]) -> tuple[CaseScore, ...]:
    """One score a case: of the label, or the least of the labels; subjects under numbers."""
    subjects = {subject: number for number, subject in enumerate(dict.fromkeys(case.subject for case in cases), 1)}
    found = []
    for case in cases:
        worst = min(case.scores, key=lambda score: 1.0 if score.dice is None else score.dice)
        found.append(
            CaseScore(
                case=case.case,
                subject=subjects[case.subject],
                split=str(case.split),
                dice=float(worst.dice or 0.0),
                hd95_mm=worst.hd95_mm,
            )
        )
    return tuple(found)


def _evaluation(cell: Cell, package: ModelPackage | None, split: Split) -> Evaluation:
    if package is None:
        command = program("pytorch_accuracy", cell.subject, cell.group)
    else:
        command = [sys.executable, "-m", "brain_edge", "evaluate", str(package.folder), cell.group, "--json", "--quiet"]
    done = subprocess.run(
        [*command, "--split", str(split), "--threads", str(cell.threads)],
        env=environment_of(cell),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise BrainEdgeError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "it said nothing")
    return msgspec.json.decode(done.stdout, type=Evaluation)
