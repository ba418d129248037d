"""The GPU baseline computes the same networks as the CPU cells, and says what it ran on."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from benchmarks import BENCHMARKS, program
from benchmarks import gpu_baseline as script
from benchmarks.harness.cell_record import EntryOutcome, read_cells
from benchmarks.harness.zoo import ARCHITECTURES

if TYPE_CHECKING:
    from pathlib import Path


def in_order_of_use(network: nn.Module, given: torch.Tensor) -> list[nn.Module]:
    """The layers with weights, as they are called."""
    called: list[nn.Module] = []
    layers = [layer for layer in network.modules() if next(layer.parameters(recurse=False), None) is not None]
    hooks = [layer.register_forward_hook(lambda self, _given, _made: called.append(self)) for layer in layers]
    with torch.no_grad():
        network(given)
    for hook in hooks:
        hook.remove()
    return called


@pytest.mark.full  # imports torch in a process of its own
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("brainmage", marks=pytest.mark.full),
        "brainmage-as-written",
        pytest.param("hd-bet-v1", marks=pytest.mark.full),
        "meshnet",
        pytest.param("vox2vox", marks=pytest.mark.full),
        pytest.param("nnunet-style", marks=pytest.mark.full),
    ],
)
def test_its_networks_are_those_of_the_cpu_cells(name: str):
    """Given the same weights, layer by layer in the order of use, both give the same answer; inputs have one shape."""
    theirs, ours = ARCHITECTURES[name], script.CASES[name]
    assert (theirs.channels_in, theirs.sides) == (ours.channels, ours.sides)
    side = 64 if name == "nnunet-style" else 32
    given = torch.randn(1, ours.channels, *[side] * 3, generator=torch.Generator().manual_seed(1))
    published, copied = theirs.build(), script.built(ours)
    from_layers, to_layers = in_order_of_use(published, given), in_order_of_use(copied, given)
    assert [type(layer) for layer in to_layers] == [type(layer) for layer in from_layers]
    with torch.no_grad():
        for source, target in zip(from_layers, to_layers, strict=True):
            for one, other in zip(source.parameters(), target.parameters(), strict=True):
                assert one.shape == other.shape
                other.copy_(one)
        torch.testing.assert_close(copied(given), published(given), rtol=1e-4, atol=1e-5)


def test_no_network_of_the_cpu_cells_is_left_out():
    assert set(script.CASES) == set(ARCHITECTURES)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = program("gpu_baseline", *arguments)
    given = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "TORCHDYNAMO_DISABLE": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=given)


def test_without_a_gpu_it_refuses_in_one_sentence(tmp_path: Path):
    done = run("--smallest", "--results", str(tmp_path))
    assert done.returncode == script.EXIT_NO_DEVICE
    assert done.stderr.startswith("error: expected a CUDA device")
    assert len(done.stderr.splitlines()) == 1
    assert not any(tmp_path.iterdir())


@pytest.mark.full  # imports torch in a process of its own
def test_on_a_cpu_it_records_a_cpu(tmp_path: Path):
    """The plumbing, without a GPU: every contender has an entry, and nothing calls the device a GPU."""
    done = run("--device", "cpu", "--smallest", "--rounds", "3", "--warm", "0", "--results", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (found,) = read_cells(tmp_path)
    assert found.device is not None
    assert found.device.name.startswith("CPU, not a GPU")
    assert [entry.name for entry in found.entries] == [contender.name for contender in script.CONTENDERS]
    assert found.entries[0].outcome is EntryOutcome.MEASURED
    assert {len(entry.samples) for entry in found.measured} == {3}


@pytest.mark.full  # imports torch in a process of its own
def test_it_needs_nothing_of_ours():
    """It is copied to machines where only torch and NumPy are."""
    code = f"import sys; sys.path.insert(0, {str(BENCHMARKS)!r}); import gpu_baseline; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not [
        name for name in done.stdout.split() if name.startswith(("brain_edge", "monai", "benchmarks", "msgspec"))
    ]
