"""What a second head in the same process costs beside its network and one pass over the image.

    python -m benchmarks second_head PACKAGE head.nii.gz --rounds 7

A package is opened once and has run a first case; as in a batch, the graphs of two stages stay compiled. Each round
takes a whole case through `Segmenter` (the image is in memory already), the time of the networks within that case, and
one pass over the image, which adds a number to each voxel into memory that is new. Prints the medians, and the rest of
a case in passes.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from brain_edge.engine.segmenter import Segmenter
from brain_edge.errors import BrainEdgeError
from brain_edge.jobs.case import read_study
from brain_edge.machine.options import RuntimeOptions
from brain_edge.package import open_package

if TYPE_CHECKING:
    from brain_edge.image.volume import FloatArray, Study


@dataclass(frozen=True)
class Round:
    """Times of one warm case.

    Attributes:
        case_ms: the whole case, ms.
        network_ms: its networks, with what the engine does between two windows, ms.
        pass_ms: one pass over the image, ms.
    """

    case_ms: float
    network_ms: float
    pass_ms: float

    @property
    def passes(self) -> float:
        """Rest of the case beside the networks, in passes over the image."""
        return (self.case_ms - self.network_ms) / self.pass_ms


@click.command()
@click.argument("package", type=click.Path(path_type=Path, exists=True))
@click.argument("head", type=click.Path(path_type=Path, exists=True))
@click.option("--threads", default=2, show_default=True, help="Of the networks.")
@click.option("--rounds", default=7, show_default=True, help="Of a case and a pass, in turn.")
def main(package: Path, head: Path, threads: int, rounds: int) -> None:
    """Time a second case of PACKAGE on HEAD, and print one line."""
    opened = open_package(package)
    segmenter = Segmenter.open(opened, RuntimeOptions(threads=threads, as_they_are=True, resident_graphs=2))
    found = second_heads(segmenter, read_study({opened.spec.inputs[0].name: head}), rounds)
    case, network, one_pass = (
        statistics.median(getattr(each, figure) for each in found) for figure in ("case_ms", "network_ms", "pass_ms")
    )
    words = f"{opened.spec.name} ({opened.manifest.number_format}), {threads} thread(s): a second head {case:.0f} ms"
    rest = statistics.median(each.passes for each in found)
    click.echo(f"{words}, networks {network:.0f} ms, one pass {one_pass:.0f} ms; the rest is {rest:.1f} passes")


def second_heads(segmenter: Segmenter, study: Study, rounds: int) -> list[Round]:
    """Return the times of warm cases, after a first case that is not counted and gives the expected mask.

    Raises:
        BrainEdgeError: a warm case has another mask than the first one.
    """
    expected = segmenter(study).mask.labels
    image = study.volumes[study.reference].voxels
    found = []
    for _ in range(rounds):
        start_s = time.perf_counter()
        warm = segmenter(study)
        case_ms = (time.perf_counter() - start_s) * 1000
        if not np.array_equal(warm.mask.labels, expected):
            raise BrainEdgeError("expected the mask of the first case from a warm one, got another mask")
        network_ms = sum(spent for lap, spent in warm.elapsed_ms.items() if lap.endswith(": network"))
        found.append(Round(case_ms, network_ms, _pass_ms(image)))
    return found


def _pass_ms(image: FloatArray) -> float:
    start_s = time.perf_counter()
    np.add(image, np.float32(1))
    return (time.perf_counter() - start_s) * 1000
