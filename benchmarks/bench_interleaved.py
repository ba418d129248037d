"""The comparison of networks in turn, once on its smallest: so that it does not rot between the runs that count."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import program
from benchmarks.harness.measure import output_of
from benchmarks.harness.network_record import read_networks
from benchmarks.harness.record import MINIMUM_ROUNDS

if TYPE_CHECKING:
    from pathlib import Path


def test_networks_are_compared_in_turn(tmp_path: Path) -> None:
    """The smallest network, PyTorch against f32 and INT8, also on a busy machine; not part of the timed suite."""
    options = ["--threads", "1", "--rounds", str(MINIMUM_ROUNDS), "--max-disturbance", "1000", "--patience", "0"]
    output_of(program("interleaved_networks", "tiny", "--results", tmp_path, *options), "")
    (written,) = tmp_path.rglob("*.json")
    result = read_networks(written)
    assert [entry.name for entry in result.entries] == ["PyTorch f32", "OpenVINO f32", "OpenVINO INT8"]
    assert [len(entry.samples) for entry in result.entries] == [MINIMUM_ROUNDS] * 3
    assert result.entries[1].correlation >= 0.9999
