"""NNCF takes the same statistics in another order, in which no activation waits for the end of the network."""

from __future__ import annotations

import logging

import numpy as np
import openvino as ov
import pytest
from openvino import opset13

from brain_edge.runtime.graph_memory import intermediate_bytes
from brain_edge.runtime.library import forbid_telemetry
from brain_edge_conversion.quantize.statistics_order import in_order_of_computation, statistics_while_computing

forbid_telemetry()
import nncf  # noqa: E402  # only once it cannot send anything
from nncf.openvino import engine  # noqa: E402

SIDES = (1, 8, 24, 24, 24)
LAYERS = 6


def network() -> ov.Model:
    """Convolutions one after the other: two of their results are enough at any time."""
    random = np.random.default_rng(0)
    parameter = data = opset13.parameter(SIDES, np.float32, name="image")
    for number in range(LAYERS):
        weights = random.standard_normal((8, 8, 3, 3, 3)).astype(np.float32) / 15
        data = opset13.relu(opset13.convolution(data, weights, [1] * 3, [1] * 3, [1] * 3, [1] * 3))
        data.set_friendly_name(f"layer{number}")
    return ov.Model([opset13.result(data)], [parameter], "network")


def with_statistics(model: ov.Model) -> ov.Model:
    """As NNCF does it: for each layer an output more, behind the network's own."""
    layers = [node for node in model.get_ordered_ops() if node.get_friendly_name().startswith("layer")]
    model.add_results([opset13.result(opset13.reduce_max(layer, [0, 1, 2, 3, 4])) for layer in layers])
    return model


def order_of(model: ov.Model) -> dict[str, int]:
    return {node.get_friendly_name(): place for place, node in enumerate(model.get_ordered_ops())}


def peak_bytes(model: ov.Model) -> int:
    return intermediate_bytes(
        ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}).get_runtime_model()
    )


def test_outputs_stand_as_the_network_reaches_them_and_its_own_is_last():
    plain = network()
    order = order_of(plain)
    ordered = in_order_of_computation(with_statistics(plain.clone()), order)
    sources = [result.input_value(0).get_node() for result in ordered.get_results()]
    assert [source.get_type_name() for source in sources] == ["ReduceMax"] * LAYERS + ["Relu"]
    of = [source.input_value(0).get_node().get_friendly_name() for source in sources[:-1]]
    assert of == [f"layer{number}" for number in range(LAYERS)]


def test_no_activation_waits_for_the_end():
    plain = network()
    stated = with_statistics(plain.clone())
    activation = 4 * int(np.prod(SIDES))
    assert peak_bytes(stated) >= LAYERS * activation, "OpenVINO keeps them all: if not, this is not needed any more"
    assert peak_bytes(in_order_of_computation(with_statistics(plain.clone()), order_of(plain))) <= 4 * activation


def quantised(*, in_order: bool) -> dict[str, np.ndarray]:
    """Values of all constants of the INT8 network, by place."""
    nncf.set_log_level(logging.ERROR)
    batches = [np.random.default_rng(1).standard_normal(SIDES).astype(np.float32)]
    model = network()
    if in_order:
        with statistics_while_computing(engine, model):
            made = nncf.quantize(model, nncf.Dataset(batches))
    else:
        made = nncf.quantize(model, nncf.Dataset(batches))
    constants = [node for node in made.get_ordered_ops() if node.get_type_name() == "Constant"]
    return {f"{place}": node.get_data() for place, node in enumerate(constants)}


def test_the_quantised_network_is_the_same():
    plain, ordered = quantised(in_order=False), quantised(in_order=True)
    assert plain.keys() == ordered.keys()
    for name, values in plain.items():
        np.testing.assert_allclose(ordered[name], values, rtol=1e-6, err_msg=name)


def test_nncf_is_left_as_it_was_even_after_an_error():
    before = engine.OVNativeEngine
    with pytest.raises(ZeroDivisionError), statistics_while_computing(engine, network()):
        _ = 1 // (engine.OVNativeEngine is before)
    assert engine.OVNativeEngine is before
