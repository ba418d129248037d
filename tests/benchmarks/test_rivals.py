"""Rivals of a network that is measured alone: set up so that they compute the same, and judged where that can be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from torch import nn

from benchmarks.harness import cell_network
from benchmarks.harness.cell_record import CellEntry, EntryOutcome
from benchmarks.harness.cell_setting import MatrixSetting
from benchmarks.harness.engines import ENGINES
from benchmarks.harness.matrix_plan import Suite, cells, read_matrix
from benchmarks.harness.rivals import (
    load_fx_int8,
    open_onnxruntime,
    open_pytorch,
    save_fx_int8,
    save_onnx_int8,
    with_batch_norms,
    with_dynamic_int8,
)
from benchmarks.harness.start import NetworkStart
from benchmarks.harness.zoo import save_onnx
from benchmarks.network_graphs import REFUSED, _attempt

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from brain_edge.image.volume import FloatArray


@pytest.fixture
def network() -> nn.Sequential:
    """A convolution, an instance norm with running statistics of its own, a transposed convolution."""
    torch.manual_seed(0)
    norm = nn.InstanceNorm3d(4, affine=True, track_running_stats=True)
    made = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), norm, nn.ReLU(), nn.ConvTranspose3d(4, 2, 2, stride=2))
    assert norm.running_mean is not None
    assert norm.running_var is not None
    with torch.no_grad():
        norm.running_mean.uniform_(-0.1, 0.1)
        norm.running_var.uniform_(0.5, 1.5)
    return made.eval()


@pytest.fixture
def batch() -> FloatArray:
    return np.random.default_rng(0).standard_normal((1, 1, 16, 16, 16)).astype(np.float32)


@pytest.fixture
def answer(network: nn.Module, batch: FloatArray) -> FloatArray:
    with torch.no_grad():
        return network(torch.from_numpy(batch)).numpy()


def correlation(one: FloatArray, other: FloatArray) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def test_batch_norms_answer_as_the_instance_norms_did(network: nn.Sequential, batch: FloatArray, answer: FloatArray):
    changed = with_batch_norms(network)
    assert isinstance(changed, nn.Sequential)
    assert isinstance(changed[1], nn.BatchNorm3d)
    assert isinstance(network[1], nn.InstanceNorm3d)
    with torch.no_grad():
        np.testing.assert_allclose(changed(torch.from_numpy(batch)).numpy(), answer, atol=1e-5)


def test_int8_of_pytorch_is_saved_and_opened(network: nn.Module, batch: FloatArray, answer: FloatArray, tmp_path: Path):
    save_fx_int8(network, [batch], tmp_path / "int8.pt")
    loaded = load_fx_int8(network, torch.from_numpy(batch), tmp_path / "int8.pt")
    assert any("quantized" in type(module).__module__ for module in loaded.modules())
    call = open_pytorch(ENGINES["PyTorch INT8, jemalloc"], network, tmp_path / "int8.pt", batch, 1)
    assert 0.99 < correlation(call(), answer) < 1


@pytest.mark.filterwarnings(
    "ignore:You are using the legacy", "ignore:The feature will be", "ignore:Converting a tensor"
)
def test_int8_of_onnx_runtime_is_made_of_its_graph(
    network: nn.Module, batch: FloatArray, answer: FloatArray, tmp_path: Path
):
    save_onnx(network, batch, tmp_path / "f32.onnx")
    save_onnx_int8(tmp_path / "f32.onnx", [batch], tmp_path / "int8.onnx")
    assert correlation(open_onnxruntime(tmp_path / "f32.onnx", batch, 1)(), answer) > 0.9999
    assert 0.99 < correlation(open_onnxruntime(tmp_path / "int8.onnx", batch, 1)(), answer) < 1
    assert {path.name for path in tmp_path.iterdir()} == {"f32.onnx", "int8.onnx"}


def test_dynamic_int8_of_pytorch_changes_linear_layers_and_no_convolution(
    network: nn.Module, batch: FloatArray, answer: FloatArray
):
    """Why the source paper saw no gain of it: its network has no layer that PyTorch quantises dynamically."""
    linear = with_dynamic_int8(nn.Sequential(nn.Linear(8, 8)))
    assert isinstance(linear, nn.Sequential)
    assert "quantized.dynamic" in type(linear[0]).__module__
    changed = with_dynamic_int8(network)
    assert [type(each) for each in changed.modules()] == [type(each) for each in network.modules()]
    got = open_pytorch(ENGINES["PyTorch INT8, dynamic"], network, None, batch, 1)()
    np.testing.assert_array_equal(got, answer)


def test_bf16_is_autocast_in_channels_last(network: nn.Sequential, batch: FloatArray, answer: FloatArray):
    got = open_pytorch(ENGINES["PyTorch bf16, jemalloc"], network, None, batch, 1)()
    assert got.dtype == np.float32
    assert network[0].get_parameter("weight").is_contiguous(memory_format=torch.channels_last_3d)
    assert 0.99 < correlation(got, answer) < 1


def test_what_a_peer_cannot_make_leaves_its_words(tmp_path: Path):
    def refuse() -> None:
        raise RuntimeError("no such kernel\nand much advice")

    _attempt(tmp_path / "int8.pt", refuse)
    assert (tmp_path / f"int8.pt{REFUSED}").read_text(encoding="utf-8") == "no such kernel"


def test_the_size_of_a_graph_is_that_of_its_files(tmp_path: Path):
    (tmp_path / "int8.xml").write_bytes(b"x" * 5)
    (tmp_path / "int8.bin").write_bytes(b"x" * 7)
    (tmp_path / "int8.pt").write_bytes(b"x" * 3)
    sizes = [cell_network._size(tmp_path, graph) for graph in ("int8.xml", "int8.pt", "f32.onnx", None)]
    assert sizes == [12, 3, None, None]


@pytest.fixture
def start(tmp_path: Path) -> Callable[[str, FloatArray], NetworkStart]:
    """An engine on a trained network, with its answer."""

    def made(name: str, answer: FloatArray) -> NetworkStart:
        target = tmp_path / f"{name}.npy"
        np.save(target, answer)
        folder = tmp_path / "graphs"
        return NetworkStart(name=name, subject="deepbet-brain", folder=folder, target=target, threads=1, environment={})

    return made


def test_trained_networks_are_judged_by_their_foreground(start: Callable[[str, FloatArray], NetworkStart]):
    """Two channels or one logit; f32 has to agree, INT8 is recorded."""
    logit = np.ones((1, 1, 4, 4, 4), np.float32)
    logit[..., :2] = -1
    half = np.where(np.arange(4) == 2, logit, -1.0).astype(np.float32)
    first = start("PyTorch f32", np.concatenate([-logit, logit], axis=1))
    judged = {
        name: cell_network._checked(CellEntry(name=name, precision=ENGINES[name].words), start(name, given), first)
        for name, given in {"ONNX Runtime f32": logit, "torch.compile f32": half, "OpenVINO INT8": half}.items()
    }
    assert judged["ONNX Runtime f32"].dice_first == 1
    assert judged["OpenVINO INT8"].dice_first == pytest.approx(2 / 3)
    assert judged["OpenVINO INT8"].outcome is EntryOutcome.MEASURED
    assert judged["torch.compile f32"].outcome is EntryOutcome.FAILED
    assert "at Dice 0.6667, expected 0.999" in judged["torch.compile f32"].why
    nothing = cell_network._checked(CellEntry(name="x"), start("OpenVINO INT8", logit * np.nan), first)
    assert nothing.why == "its answer is not finite"


def test_a_rival_without_a_graph_is_not_supported_with_the_exporters_words(
    start: Callable[[str, FloatArray], NetworkStart], tmp_path: Path
):
    (tmp_path / "graphs").mkdir()
    (tmp_path / "graphs" / f"int8.onnx{REFUSED}").write_text("no such operator", encoding="utf-8")
    cell = next(each for each in cells(read_matrix(), Suite.FULL, 2) if each.subject == "deepbet-brain")
    setting = MatrixSetting(repetition=1, max_disturbance=None, patience_s=0)
    rival = start("ONNX Runtime INT8", np.zeros(1, np.float32))
    entry = cell_network._started(cell, rival, setting)
    assert (entry.outcome, entry.why) == (
        EntryOutcome.NOT_SUPPORTED,
        "int8.onnx could not be made: no such operator",
    )
    assert cell_network._started(replace(cell, optional=()), rival, setting).outcome is EntryOutcome.FAILED
