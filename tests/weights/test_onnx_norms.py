"""A reference by onnxruntime is exact to rounding: norms over whole volumes are judged by NumPy in float64."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

from brain_edge_conversion.weights.onnx_graph import OnnxNetwork, import_onnxruntime
from brain_edge_conversion.weights.onnx_norms import with_norms_in_double

if TYPE_CHECKING:
    from pathlib import Path

onnx = pytest.importorskip("onnx", reason="the extra `convert` brings it")
pytest.importorskip("onnxruntime", reason="conversions from ONNX are compared with it")

CHANNELS = 4
SIDE = 96
PLAIN_IS_OFF = 2e-5


def exported(network: nn.Module, folder: Path, opset: int) -> bytes:
    sides = {2: "i", 3: "j", 4: "k"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this exporter is deprecated, and needs nothing that is not here
        torch.onnx.export(
            network.eval(),
            (torch.zeros(1, CHANNELS, 8, 8, 8),),
            folder / "net.onnx",
            dynamo=False,
            opset_version=opset,
            input_names=["x"],
            output_names=["y"],
            dynamic_axes={"x": sides, "y": sides},
        )
    return (folder / "net.onnx").read_bytes()


def noise(side: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).gamma(2.0, 1.0, (1, CHANNELS, side, side, side)).astype(np.float32)


def in_float64(image: np.ndarray[Any, Any], groups: int) -> np.ndarray[Any, Any]:
    rows = image.reshape(1, groups, -1).astype(np.float64)
    normed = (rows - rows.mean(2, keepdims=True)) / np.sqrt(rows.var(2, keepdims=True) + 1e-5)
    return np.asarray(normed.reshape(image.shape))


def error(got: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]) -> float:
    return float(np.abs(got - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize("opset", [13, 17, 18])
@pytest.mark.parametrize("groups", [1, 2, CHANNELS])
def test_a_norm_is_that_of_double_precision(groups: int, opset: int, tmp_path: Path):
    content = exported(nn.GroupNorm(groups, CHANNELS), tmp_path, opset)
    image = noise(24)
    got = OnnxNetwork(content, "net.onnx")(torch.from_numpy(image)).numpy()
    assert error(got, in_float64(image, groups)) < 1e-6


def test_onnxruntime_alone_drifts_over_a_window_and_the_reference_does_not(tmp_path: Path):
    content = exported(nn.GroupNorm(1, CHANNELS), tmp_path, 17)
    image = noise(SIDE)
    wanted = in_float64(image, 1)
    alone = import_onnxruntime().InferenceSession(content, providers=["CPUExecutionProvider"])
    assert error(alone.run(None, {"x": image})[0], wanted) > PLAIN_IS_OFF, "still needed"
    assert error(OnnxNetwork(content, "net.onnx")(torch.from_numpy(image)).numpy(), wanted) < 1e-6


def test_scale_bias_and_epsilon_are_kept(tmp_path: Path):
    norm = nn.InstanceNorm3d(CHANNELS, eps=0.5, affine=True)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, -2.0, 3.0, 0.5]))
        norm.bias.copy_(torch.tensor([0.0, 1.0, -1.0, 4.0]))
    image = torch.from_numpy(noise(16))
    with torch.no_grad():
        expected = norm(image)
    got = OnnxNetwork(exported(norm, tmp_path, 17), "net.onnx")(image)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_a_model_without_norms_is_the_same_model(tmp_path: Path):
    content = exported(nn.Conv3d(CHANNELS, 2, 3), tmp_path, 17)
    assert onnx.load_model_from_string(with_norms_in_double(content)) == onnx.load_model_from_string(content)
