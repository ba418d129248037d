"""A strided stem on the phases of its image: the same sums, judged by PyTorch, and the same bytes in OpenVINO."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from small_graphs import quantised_stem
from tiny_package import make_package
from torch.nn import functional

from brain_edge.machine.options import RuntimeOptions
from brain_edge.runtime.library import import_openvino, operations
from brain_edge.runtime.rewrites.strided_stem import phases_of, split_stem
from brain_edge.runtime.session import GraphCompiler

SIDES = st.tuples(*[st.integers(3, 8)] * 3).map(lambda halves: tuple(2 * half for half in halves))
KERNELS = st.tuples(*[st.integers(1, 7)] * 3)
PADS = st.tuples(*[st.integers(0, 4)] * 6)


def phases(image: torch.Tensor) -> torch.Tensor:
    """The eight phases of an image (1, 1, I, J, K) as channels, by strided views."""
    views = [image[:, :, i::2, j::2, k::2] for i in (0, 1) for j in (0, 1) for k in (0, 1)]
    return torch.cat(views, dim=1)


def padded(image: torch.Tensor, begin: tuple[int, ...], end: tuple[int, ...]) -> torch.Tensor:
    sides = [side for pair in reversed(list(zip(begin, end, strict=True))) for side in pair]
    return functional.pad(image, sides)


@settings(max_examples=40, deadline=None)
@given(SIDES, KERNELS, PADS, st.integers(0, 2**31))
def test_any_strided_convolution_is_one_of_stride_1_on_the_phases(sides, kernel, pads, seed):
    rng = np.random.default_rng(seed)
    image = torch.from_numpy(rng.normal(size=(1, 1, *sides)).astype(np.float32))
    weights = rng.normal(size=(3, 1, *kernel)).astype(np.float32)
    begin, end = pads[:3], pads[3:]
    assume(all(s + b + e >= k for s, b, e, k in zip(sides, begin, end, kernel, strict=True)))
    expected = functional.conv3d(padded(image, begin, end), torch.from_numpy(weights), stride=2)
    found = phases_of(weights, begin, sides, expected.shape[2:])
    assume(min(found.pads_end) >= 0)
    on_phases = padded(phases(image), found.pads_begin, found.pads_end)
    got = functional.conv3d(on_phases, torch.from_numpy(found.weights))
    assert got.shape == expected.shape
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-4)


def output(model: Any, image: np.ndarray) -> np.ndarray:
    def compiled() -> Any:
        core = import_openvino().Core()
        return core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1})

    with ThreadPoolExecutor(max_workers=1) as worker:  # OpenVINO changes how the compiling thread rounds
        return np.array(worker.submit(compiled).result()(image)[0])


def test_a_quantised_stem_gives_the_same_numbers():
    image = np.random.default_rng(4).normal(1, 1, (1, 1, 24, 24, 24)).astype(np.float32)
    expected = output(quantised_stem(), image)
    model = quantised_stem()
    assert split_stem(model, operations()) == 1
    assert [node.get_friendly_name() for node in model.get_ops() if node.get_type_name() == "Convolution"] == ["stem"]
    found = output(model, image)
    assert found.shape == expected.shape == (1, 8, 12, 12, 12)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    assert np.abs(expected).max() > 0.1


@pytest.mark.parametrize(
    "other",
    [{"channels": 2}, {"side": 23}, {"kernel": 3}, {"stride": 1}, {"stride": 3}, {"most": 127}, {"in_bytes": False}],
    ids=lambda other: next(iter(other)),
)
def test_other_convolutions_stay(other):
    model = quantised_stem(**other)
    before = [node.get_friendly_name() for node in model.get_ordered_ops()]
    assert split_stem(model, operations()) == 0
    assert [node.get_friendly_name() for node in model.get_ordered_ops()] == before


@pytest.mark.parametrize("machine", ["x86_64", "AMD64", "arm64"])
def test_a_package_gets_the_phases_on_every_x86_processor(machine, tmp_path, monkeypatch):
    package = make_package(tmp_path / "tiny")
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr("brain_edge.runtime.session.read_graph", lambda *_: quantised_stem())
    compiler = GraphCompiler(package, RuntimeOptions(threads=1), {"tiny": 1})
    kinds = [node.get_type_name() for node in compiler.model("tiny", (1, 1, 24, 24, 24)).get_ops()]
    assert ("Transpose" in kinds) == (machine != "arm64")
