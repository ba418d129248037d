"""What is recorded of a recipe's networks: one JSON file a recipe, read by `docs/generate.py`."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from brain_edge.package.manifest import Parity

FOLDER: Final = Path(__file__).resolve().parents[1] / "results" / "recipe-coverage"


class LayerGroup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Layers of one kind that one kernel computes.

    Attributes:
        kind: OpenVINO's operation type.
        kernel: as the CPU plugin names it.
        is_integer: whether they are computed in bytes.
        why_float: empty where they are.
        layers: how many.
        share: of the multiply-adds of the graph.
        examples: names of some of them.
    """

    kind: str
    kernel: str
    is_integer: bool
    why_float: str
    layers: int
    share: float
    examples: tuple[str, ...]


class Speed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Samples of one interleaved run.

    Attributes:
        shape: of the input.
        samples_ms: by engine, in the order of the rounds; the warm-up is left out.
    """

    shape: tuple[int, ...]
    samples_ms: dict[str, tuple[float, ...]]


class GraphCoverage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One network.

    Attributes:
        graph: its name.
        parameters: of the PyTorch module that is converted.
        shape: of the input that `gflop` is for: what the steps give it, or that of the timing where images decide it.
        gflop: two for each multiply-add of convolutions and matrix products.
        int8_share: of the multiply-adds, by the kernels that ran; None where nothing was quantised.
        share_shape: of the input that `int8_share` and `layers` are for; empty in old records: that of the timing.
        layers: groups of layers with weights, the costliest first.
        speed: against PyTorch; None where nothing was timed.
    """

    graph: str
    parameters: int
    shape: tuple[int, ...]
    gflop: float
    int8_share: float | None = None
    share_shape: tuple[int, ...] = ()
    layers: tuple[LayerGroup, ...] = ()
    speed: Speed | None = None


class RecipeCoverage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A recipe, as it was measured once.

    Attributes:
        recipe: its name.
        measured: when, UTC.
        processor: its model.
        capabilities: what OpenVINO says it can compute in.
        threads: of every engine.
        versions: of the tools.
        weights: `random` or `trained`.
        compared_on: what parity was checked on, in words.
        parity: as in the package's manifest.
        rewrites: as in the package's manifest.
        graphs: its networks; members of an ensemble but the first are left out, they are the same network.
        note: why something was not measured; empty where all was.
    """

    recipe: str
    measured: datetime
    processor: str
    capabilities: tuple[str, ...]
    threads: int
    versions: dict[str, str]
    weights: str
    compared_on: str
    parity: Parity
    rewrites: tuple[str, ...]
    graphs: tuple[GraphCoverage, ...]
    note: str = ""


def write_coverage(coverage: RecipeCoverage, folder: Path = FOLDER) -> Path:
    """Write the file of a recipe, which replaces the one before."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{coverage.recipe}.json"
    file.write_bytes(msgspec.json.format(msgspec.json.encode(coverage), indent=2) + b"\n")
    return file


def read_coverage(folder: Path = FOLDER) -> dict[str, RecipeCoverage]:
    """What was recorded, by recipe."""
    files = sorted(folder.glob("*.json"))
    return {file.stem: msgspec.json.decode(file.read_bytes(), type=RecipeCoverage) for file in files}
