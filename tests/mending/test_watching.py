"""Values inside of a graph: whole ones, and the same ones at a few places."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from openvino import Model, PartialShape, Type
from openvino import opset13 as ops
from small_graphs import image, mixture

from brain_edge_conversion.mending.watching import Pick, picked, port_of, watched

F32 = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}


def test_picked_values_are_the_watched_ones_at_their_places():
    """Inside of a graph with a norm, a skip connection and two grids, for inputs of two sizes."""
    model = mixture()
    batches = [image(0), image(1), image(2, side=24)]
    ports = [port_of(node.output(0)) for node in model.get_ordered_ops() if node.get_type_name() == "Relu"]
    wanted = [[_flat(each) for each in found] for found in watched(model, ports, batches, F32)]
    random = np.random.default_rng(0)
    places = [[random.integers(0, len(each), 50) for each in found] for found in wanted]
    found = list(picked(model, [Pick(port, False) for port in ports], batches, places, F32))
    for have, want, at in zip(found, wanted, places, strict=True):
        for got, whole, chosen in zip(have, want, at, strict=True):
            np.testing.assert_allclose(got, whole[chosen], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("sides", "channels_last"), [((3, 4, 5, 6), False), ((3, 5, 4), True)])
def test_places_count_over_the_batch_first(sides: tuple[int, ...], channels_last: bool):
    x = ops.parameter(PartialShape([-1] * len(sides)), Type.f32, name="x")
    model: Any = Model([ops.result(ops.relu(x))], [x], "one")
    values = np.random.default_rng(0).uniform(0.1, 1, sides).astype(np.float32)
    pick = Pick(port_of(model.get_results()[0].input_value(0)), channels_last)
    flat = values.reshape(-1, sides[-1]) if channels_last else _flat(values)
    places = np.random.default_rng(1).permutation(len(flat))
    ((found,),) = picked(model, [pick], [values], [[places]], F32)
    assert np.array_equal(found, flat[places])


def _flat(values: np.ndarray) -> np.ndarray:
    return np.moveaxis(values, 1, -1).reshape(-1, values.shape[1])
