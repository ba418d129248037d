"""What is recorded of a way to INT8 on one network: one JSON file a network and method, read by `docs/generate.py`."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Final, Literal

import msgspec

from brain_edge.machine.description import Machine
from brain_edge.machine.json import decode_json

from .cell_record import Commit

FOLDER: Final = Path(__file__).resolve().parents[1] / "results" / "methods"


class Method(StrEnum):
    """A way from FP32 to INT8."""

    PRESETS = "presets"
    """NNCF's two presets with its own defaults."""
    CONTROL = "accuracy-control"
    """NNCF's `quantize_with_accuracy_control` on each graph, which sets layers back to float."""
    LADDER = "ladder"
    """The settings of NNCF that `brain-edge quantize` tries with the weights as trained."""
    SCALES = "moved-scales"
    """Scales moved between neighbouring convolutions, without a fit."""
    FITTED = "fitted-weights"
    """Weights fitted layer by layer, with and without moved scales."""
    DISTILLED = "distillation"
    """The last fitted graph, trained towards the output of the float graph."""


class Figures(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Figures of a package on the heads of one split.

    Attributes:
        by_reference: True if the drop is measured against reference masks; False if it is the disagreement with FP32.
        worst_mean_drop, worst_case_drop: largest Dice drop of a label, on average and in a single case.
        worst_mean_disagreement: largest mean of 1 - Dice(FP32, INT8) of a label; None if only small labels occur.
        excess: largest figure divided by its limit.
        int8_share: INT8 fraction of the multiply-accumulates.
        met: True if the budget is met.
        small: number of labels that were bound by agreement in ml instead of Dice.
    """

    by_reference: bool
    worst_mean_drop: float
    worst_case_drop: float
    worst_mean_disagreement: float | None
    excess: float
    int8_share: float
    met: bool
    small: int


class Tried(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One candidate of a method.

    Attributes:
        title: setting, in words.
        cpu_s: processor time of making it and of its validation, all threads and child processes, s.
        validation: figures on the validation heads; None if it could not run.
        problem: reason why it could not run.
    """

    title: str
    cpu_s: float
    validation: Figures | None = None
    problem: str = ""


class MethodRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A method on a network.

    Attributes:
        network: name of the model.
        method: way to INT8.
        started, commit, machine, versions, threads: when, and on what.
        package: digest of the FP32 package.
        cohort, cohort_sha256: name and SHA-256 of the manifest of the heads.
        heads: split -> number of its heads.
        with_mask: number of the test heads that have a reference mask.
        max_dice_drop: the budget.
        iterations: largest number of groups of layers that NNCF's accuracy control may set back to float.
        memory_bytes: most data of the process in bytes; None for any.
        tried: candidates, in their order.
        chosen: title of the one that is best on the validation heads; empty if there is none.
        test: its figures on the test heads; None if there is none.
        note: reason why the network has no candidate.
    """

    schema: Literal[1] = 1
    network: str
    method: Method
    started: datetime
    commit: Commit
    machine: Machine
    versions: dict[str, str]
    threads: int
    package: str
    cohort: str
    cohort_sha256: str
    heads: dict[str, int]
    with_mask: int
    max_dice_drop: float
    iterations: int
    tried: tuple[Tried, ...]
    chosen: str = ""
    test: Figures | None = None
    note: str = ""
    memory_bytes: int | None = None

    @property
    def minutes(self) -> float:
        """Processor time of all candidates by the number of threads, in minutes."""
        return sum(each.cpu_s for each in self.tried) / self.threads / 60


def record_file(network: str, method: Method, folder: Path = FOLDER) -> Path:
    """Return the file of a network and a method."""
    return folder / f"{network}-{method}.json"


def write_method(record: MethodRecord, folder: Path = FOLDER) -> Path:
    """Write the file of a network and a method; an existing file is never opened for writing."""
    file = record_file(record.network, record.method, folder)
    folder.mkdir(parents=True, exist_ok=True)
    with file.open("xb") as opened:
        opened.write(msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")
    return file


def read_methods(folder: Path = FOLDER) -> list[MethodRecord]:
    """Return what was recorded, by network and then in the order of the methods."""
    found = [decode_json(file.read_bytes(), MethodRecord) for file in folder.glob("*.json")]
    order = list(Method)
    return sorted(found, key=lambda record: (record.network, order.index(record.method)))
