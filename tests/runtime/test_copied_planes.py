"""A graph that copies planes itself gives what it gives for the whole volume, and a quantised one copies bytes."""

from __future__ import annotations

import numpy as np
import openvino as ov
import pytest
from openvino import opset13

from brain_edge.runtime.rewrites.copied_planes import copy_planes

SIDES = (1, 2, 6, 8, 10)
LEVELS = 256


def network(*, quantised: bool, readers: int = 1, ranges: tuple[int, ...] = ()) -> ov.Model:
    """One convolution, or several that read the same image, behind one quantiser each."""
    rng = np.random.default_rng(0)
    image = opset13.parameter(list(SIDES), np.float32)
    outputs = []
    for _ in range(readers):
        low, high = np.full(ranges, -2.0, np.float32), np.full(ranges, 2.0, np.float32)
        data = opset13.fake_quantize(image, low, high, low, high, LEVELS) if quantised else image
        weights = rng.standard_normal((3, 2, 3, 3, 3)).astype(np.float32)
        outputs.append(opset13.convolution(data, weights, [1] * 3, [1] * 3, [1] * 3, [1] * 3))
    total = outputs[0] if readers == 1 else opset13.add(*outputs)
    return ov.Model([opset13.result(total)], [image])


def compiled(model: ov.Model) -> ov.CompiledModel:
    return ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


@pytest.mark.parametrize("planes", [1, 4, 10])
@pytest.mark.parametrize(
    "form",
    [
        {"quantised": False},
        {"quantised": True},
        {"quantised": True, "readers": 2},
        {"quantised": True, "ranges": (1, 2, 1, 1, 1)},
    ],
)
def test_the_output_is_that_for_the_whole_volume(form, planes):
    rng = np.random.default_rng(1)
    few = rng.standard_normal((*SIDES[:-1], planes)).astype(np.float32)
    of_each = np.sort(rng.integers(0, planes, SIDES[-1])).astype(np.int32)
    expected = compiled(network(**form))([np.take(few, of_each, axis=-1)])[0]
    model = network(**form)
    copy_planes(model, opset13)
    np.testing.assert_allclose(compiled(model)([few, of_each])[0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("ranges", "first"), [((), "FakeQuantize"), ((1, 2, 1, 1, 1), "Gather")])
def test_planes_are_quantised_before_they_are_copied_if_all_channels_have_one_range(ranges, first):
    model = network(quantised=True, ranges=ranges)
    copy_planes(model, opset13)
    (reader,) = model.get_parameters()[0].output(0).get_target_inputs()
    assert reader.get_node().get_type_name() == first
    assert len([node for node in model.get_ops() if node.get_type_name() == "FakeQuantize"]) == 1
