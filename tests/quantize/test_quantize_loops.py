"""A recurrent graph in INT8: what is around its loops is quantised, the loops stay as they are, and that is counted."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from brain_edge.runtime.library import forbid_telemetry
from brain_edge.spec import Network, WholeStack
from brain_edge_conversion.budget.coverage import int8_share, layer_costs
from brain_edge_conversion.convert.trace import trace_network
from brain_edge_conversion.networks.tcup_gan import TCuPGANGenerator
from brain_edge_conversion.quantize.ladder import Ranges, Setting
from brain_edge_conversion.quantize.loops import loops_of, quantise_around_loops
from brain_edge_conversion.quantize.networks import quantise

IN_F32 = {"INFERENCE_PRECISION_HINT": "f32"}
SHAPE = (4, 4, 64, 64)
BATCH = np.random.default_rng(0).random(SHAPE, dtype=np.float32)


@pytest.fixture(scope="module")
def model():
    forbid_telemetry()
    torch.manual_seed(0)
    network = Network(graphs=("g",), channels_in=4, channels_out=3, execution=WholeStack(axis=0))
    return trace_network(TCuPGANGenerator(widths=(4, 8), plane=(16, 16)).eval(), network, (3, 16, 16))


def run(model) -> np.ndarray:
    import openvino as ov

    return ov.Core().compile_model(model, "CPU", IN_F32)(BATCH)[0]


def test_cut_at_its_loops_and_joined_again_a_graph_is_the_same(model):
    same = quantise_around_loops(model, [BATCH], lambda graph, _values: graph.clone())
    np.testing.assert_array_equal(run(same), run(model))
    assert len(loops_of(same)) == len(loops_of(model)) == 4


def test_the_cut_graph_is_given_what_the_loops_give(model):
    """Run by itself on the values for calibration, it ends in the output of the whole graph."""
    import openvino as ov

    seen: list[np.ndarray] = []

    def watch(graph, values):
        compiled = ov.Core().compile_model(graph.clone(), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        seen.extend(compiled(each)[0] for each in values)
        return graph.clone()

    quantise_around_loops(model, [BATCH], watch)
    np.testing.assert_allclose(seen[0], run(model), atol=1e-6)


def test_the_layers_around_the_loops_become_integer_and_those_inside_do_not(model, tmp_path):
    np.save(tmp_path / "input.npy", BATCH)
    quantised = quantise(model, [tmp_path / "input.npy"], Setting())
    costs = layer_costs(quantised, SHAPE)
    inside = [cost for cost in costs if "Loop" in cost.name]
    around = [cost for cost in costs if "Loop" not in cost.name]
    assert len(inside) == 4
    assert not any(cost.quantised for cost in inside)
    assert sum(cost.quantised for cost in around) > len(around) / 2
    assert 0 < int8_share(costs) < 0.9
    assert np.corrcoef(run(quantised).ravel(), run(model).ravel())[0, 1] > 0.9


def test_a_layer_in_a_loop_counts_once_for_each_slice(model):
    """The first loop: 4 x 4 gates of 3 x 3 over 4 hidden channels, 64 x 64 places, once a slice; inputs before it."""
    (cost, *_) = [cost for cost in layer_costs(model, SHAPE) if "Loop" in cost.name]
    assert cost.multiply_adds == SHAPE[0] * 64 * 64 * (4 * 4) * 4 * 9


# --- branches, and loops that take the input itself


class Counted(torch.nn.Module):
    """A loop whose count comes from the shape of the input, which it therefore takes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again = torch.nn.Conv3d(1, 8, 3, padding=1), torch.nn.Conv3d(8, 8, 3, padding=1)
        self.last = torch.nn.Conv3d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, rounds = torch.relu(self.first(x)), 0
        while rounds < int(x.shape[2]) // 8:
            y, rounds = torch.relu(self.again(y) + y), rounds + 1
        return self.last(y)


class Branching(torch.nn.Module):
    """A branch between two convolutions, whose result the network gives as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.even = torch.nn.Conv3d(1, 8, 3, padding=1), torch.nn.Conv3d(8, 2, 3, padding=1)
        self.odd = torch.nn.Conv3d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.first(x))
        if x.shape[2] % 2 == 0:
            return self.even(y)
        else:  # noqa: RET505  # what TorchScript makes a branch of
            return self.odd(y)


@pytest.mark.parametrize(
    ("network", "ranges"),
    [  # one of each in CI: a quantisation takes seconds
        (Counted, Ranges.QUANTILES),
        (Branching, Ranges.EXTREMES),
        pytest.param(Counted, Ranges.EXTREMES, marks=pytest.mark.full),
        pytest.param(Branching, Ranges.QUANTILES, marks=pytest.mark.full),
    ],
)
def test_what_is_around_loops_and_branches_is_quantised_and_they_are_not(network, ranges, tmp_path):
    from brain_edge.runtime.library import import_openvino

    ov = import_openvino()
    torch.manual_seed(0)
    batch = np.random.default_rng(0).random((1, 1, 16, 16, 16), dtype=np.float32)
    graph = ov.convert_model(torch.jit.script(network().eval()), example_input=torch.zeros(batch.shape))
    graph.reshape(list(batch.shape))
    np.save(tmp_path / "input.npy", batch)
    quantised = quantise(graph, [tmp_path / "input.npy"], Setting(ranges=ranges))
    costs = layer_costs(quantised, batch.shape)
    inside = [cost for cost in costs if cost.name.startswith("prim::")]
    assert inside
    assert not any(cost.quantised for cost in inside)
    assert 0 < int8_share(costs) < 1
    given = [ov.Core().compile_model(each, "CPU", IN_F32)(batch)[0].ravel() for each in (graph, quantised)]
    assert np.corrcoef(*given)[0, 1] > 0.9
