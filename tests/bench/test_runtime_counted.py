"""Counted sessions give the very masks of the others, and count every input once."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from tiny_package import PHANTOM, SPEC, STAGE, make_package

from brain_edge.bench.counted import Input, counted
from brain_edge.engine.segmenter import Segmenter
from brain_edge.image.phantom import make_study
from brain_edge.machine.options import RuntimeOptions
from brain_edge.spec import SlidingWindow, WholeVolume

if TYPE_CHECKING:
    from pathlib import Path

    from brain_edge.package import ModelPackage
    from brain_edge.spec import ModelSpec

WINDOWS = SlidingWindow(shape=(32, 32, 32), overlap=0.5)
PADDED = (44, 52, 52)
"""The phantom, padded to a multiple of 4."""


def with_execution(execution: SlidingWindow | WholeVolume, flips: tuple[tuple[int, ...], ...] = ((),)) -> ModelSpec:
    network = msgspec.structs.replace(STAGE.network, execution=execution, flips=flips)
    return msgspec.structs.replace(SPEC, stages=(msgspec.structs.replace(STAGE, network=network),))


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return make_package(tmp_path_factory.mktemp("windows") / "tiny", with_execution(WINDOWS))


@pytest.mark.parametrize("streams", [1, 2])
def test_each_window_is_counted_once_however_many_are_computed_at_a_time(package: ModelPackage, streams: int):
    options = RuntimeOptions(threads=2, streams=streams)
    count = Counter[Input]()
    study = make_study(PHANTOM, ["T1"])
    mask = Segmenter.open(package, options, wrap=counted(count))(study).mask
    windows = len(list(WINDOWS.tiling(PADDED).places()))
    assert count == {Input("tiny", (1, 1, 32, 32, 32)): windows}
    np.testing.assert_array_equal(mask.labels, Segmenter.open(package, options)(study).mask.labels)


def test_the_graphs_of_a_package_run_between_other_steps(package: ModelPackage, tmp_path: Path):
    """As a package would that was made with those steps."""
    whole = with_execution(WholeVolume(), flips=((), (1,)))
    count = Counter[Input]()
    study = make_study(PHANTOM, ["T1"])
    one = RuntimeOptions(threads=1)
    mask = Segmenter.open(package, one, spec=whole, wrap=counted(count))(study).mask
    assert count == {Input("tiny", (1, 1, *PADDED)): 2}
    made = make_package(tmp_path / "made", whole)
    np.testing.assert_array_equal(mask.labels, Segmenter.open(made, one)(study).mask.labels)
