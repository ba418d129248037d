"""From a file to a mask, as whole cold processes: what a user waits for.

Contenders run one after the other here, to be tracked over time. For a claim about the published programs, use
`interleaved.py`, which lets them take turns.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from benchmarks.harness.answers import brain_of
from benchmarks.harness.contenders import package_run, published_program, pytorch_reference
from benchmarks.harness.measure import run
from benchmarks.harness.peers import prepare
from brain_edge.image.metrics import dice
from brain_edge.package import NumberFormat

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.harness.answers import PyTorch
    from benchmarks.harness.measure import Contender
    from benchmarks.harness.timing import Timing
    from brain_edge.package import ModelPackage

pytestmark = pytest.mark.timeout(3600)  # the first run installs PyTorch for the peers, converts and quantises

MINIMUM_DICE = {"FP32": 0.999, "INT8": 0.99, "PyTorch": 1.0, "published": 0.98}
"""Against PyTorch between our steps, on the MNI152 head."""


@pytest.fixture
def contender(
    head: Path, tmp_path: Path, threads: int, package: Callable[[str, NumberFormat], ModelPackage]
) -> Callable[[str, str], Contender]:
    """A contender by model and name."""
    mask = tmp_path / "mask.nii.gz"

    def find(model: str, name: str) -> Contender:
        if name == "PyTorch":
            return pytorch_reference(model, head, mask, threads)
        if name == "published":
            python = prepare(model, lambda line: print(line, file=sys.__stderr__))
            return published_program(python, model, head, mask, threads)
        return package_run(package(model, NumberFormat(name.lower())), head, mask, threads)

    return find


@pytest.mark.parametrize("name", ["FP32", "INT8", "PyTorch", "published"])
@pytest.mark.parametrize("model", ["deepbet", "hd-bet-v1"])
def test_whole_process(
    timing: Timing, pytorch: PyTorch, contender: Callable[[str, str], Contender], model: str, name: str
) -> None:
    """Program start, reading, the networks, writing the mask, and the end of the process."""
    one = contender(model, name)
    run(one)
    assert (dice(brain_of(one.mask), pytorch.brain(model)) or 0.0) >= MINIMUM_DICE[name]
    timing.process(one, rounds=3)
