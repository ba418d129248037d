"""Which output, which activation, which dropout: what is for training is left out, and nothing is guessed."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import openvino as ov
import pytest
import torch
from scipy.special import expit, softmax
from torch import nn

from brain_edge.errors import BrainEdgeError, WeightsError
from brain_edge.image.resample import Interpolation
from brain_edge.spec import Activation, Network, SlidingWindow, Stage
from brain_edge.spec.steps import Argmax, Restore, Threshold
from brain_edge_conversion.convert.rewrites.dropout import idle_dropouts
from brain_edge_conversion.convert.rewrites.final_activation import drop_final_activation, final_activation, with_logits
from brain_edge_conversion.convert.rewrites.outputs import OneOutput, describe_outputs, only_output, with_one_output

RESTORE = Restore(interpolation=Interpolation.NEAREST)
IMAGE = torch.randn(1, 2, 4, 5, 6, generator=torch.Generator().manual_seed(0))


def stage(*after: Any, **network: Any) -> Stage:
    fields: dict[str, Any] = {"graphs": ("one",), "channels_in": 2, "channels_out": 3}
    return Stage(name="only", before=(), network=Network(**(fields | network)), after=after)


def graph(last: nn.Module) -> Any:
    torch.manual_seed(1)
    return ov.convert_model(nn.Sequential(nn.Conv3d(2, 3, 1), last).eval(), example_input=IMAGE)


def answer(model: Any) -> np.ndarray:
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.asarray(compiled(IMAGE.numpy())[0])


# --- the last activation


@pytest.mark.parametrize(
    ("last", "activation", "of_logits"),
    [
        (nn.Softmax(dim=1), Activation.SOFTMAX, lambda logits: softmax(logits, axis=1)),
        (nn.Softmax(dim=-4), Activation.SOFTMAX, lambda logits: softmax(logits, axis=1)),
        (nn.Sigmoid(), Activation.SIGMOID, expit),
    ],
)
def test_the_runtime_can_make_the_probabilities_of_the_logits_that_are_left(last, activation, of_logits):
    model = graph(last)
    probabilities = answer(model)
    assert final_activation(model) is activation
    drop_final_activation(model)
    assert final_activation(model) is Activation.NONE
    np.testing.assert_allclose(of_logits(answer(model)), probabilities, atol=1e-6)


@pytest.mark.parametrize("last", [nn.Softmax(dim=2), nn.ReLU(), nn.Identity(), nn.Tanh()])
def test_anything_else_is_no_activation_that_the_runtime_knows(last: nn.Module):
    assert final_activation(graph(last)) is Activation.NONE


@pytest.mark.parametrize(
    ("decision", "activation"),
    [
        (Argmax(), Activation.SOFTMAX),
        (Argmax(), Activation.SIGMOID),
        (Threshold(channel=1, above=0.3), Activation.SIGMOID),
    ],
)
def test_it_is_left_to_the_runtime_where_a_decision_follows_at_once(decision, activation):
    published = stage(decision, RESTORE)
    assert with_logits(published, activation) == msgspec.structs.replace(
        published, network=msgspec.structs.replace(published.network, activation=activation)
    )


@pytest.mark.parametrize(
    ("published", "activation"),
    [
        pytest.param(stage(Threshold(channel=1, above=0.3), RESTORE), Activation.SOFTMAX, id="a softmax is compared"),
        pytest.param(stage(Argmax(), RESTORE), Activation.NONE, id="there is none"),
        pytest.param(stage(Argmax(), RESTORE, flips=((), (0,))), Activation.SOFTMAX, id="mirrorings are averaged"),
        pytest.param(stage(Argmax(), RESTORE, graphs=("a", "b")), Activation.SOFTMAX, id="members are averaged"),
        pytest.param(
            stage(Argmax(), RESTORE, execution=SlidingWindow(shape=(4, 4, 4))),
            Activation.SOFTMAX,
            id="windows are averaged",
        ),
        pytest.param(
            stage(Restore(interpolation=Interpolation.CUBIC), Argmax()),
            Activation.SOFTMAX,
            id="probabilities are interpolated",
        ),
        pytest.param(
            stage(Argmax(), RESTORE, activation=Activation.SOFTMAX),
            Activation.SIGMOID,
            id="the runtime applies another one on top",
        ),
    ],
)
def test_it_stays_in_the_graph_where(published: Stage, activation: Activation):
    assert with_logits(published, activation) is published


# --- several outputs


class Several(nn.Module):
    """A network with auxiliary outputs, in one of the forms that PyTorch programs use."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.main, self.auxiliary = nn.Conv3d(2, 3, 1), nn.Conv3d(2, 3, 1, stride=2)
        self.form = form

    def forward(self, x: torch.Tensor) -> Any:
        main, auxiliary = self.main(x), self.auxiliary(x)
        forms = {"tuple": (main, auxiliary), "list": [auxiliary, main], "dict": {"aux": auxiliary, "out": main}}
        return {**forms, "nested": (main, [auxiliary])}[self.form]


@pytest.mark.parametrize(("form", "key"), [("tuple", 0), ("list", 1), ("list", -1), ("dict", "out")])
def test_the_output_that_is_named_is_converted_and_nothing_that_leads_to_the_others(form: str, key: int | str):
    network = Several(form).eval()
    model = ov.convert_model(with_one_output(network, key), example_input=IMAGE)
    assert len(model.outputs) == 1
    assert [node.get_type_name() for node in model.get_ops()].count("Convolution") == 1
    with torch.no_grad():
        np.testing.assert_allclose(answer(model), network.main(IMAGE).numpy(), atol=1e-6)


def test_a_network_of_one_output_is_not_wrapped():
    network = nn.Identity()
    assert with_one_output(network, None) is network


@pytest.mark.parametrize(
    ("network", "key", "words"),
    [
        (Several("tuple"), 2, r"the output 2 of Several, which returns 0 \(1 x 3 x 4 x 5 x 6\), 1 \(1 x 3 x 2 x 3 x 3"),
        (Several("dict"), "main", r"the output 'main' of Several, which returns 'aux' \(.*\), 'out' \(.*\); correct"),
        (Several("nested"), 1, r"which returns 0 \(1 x 3 x 4 x 5 x 6\), 1 \(list\)"),
        (nn.Identity(), 0, r"the output 0 of Identity, which returns one tensor \(1 x 2 x 4 x 5 x 6\)"),
    ],
)
def test_an_output_that_is_not_there_is_refused_with_those_that_are(network, key, words):
    with pytest.raises(BrainEdgeError, match=words):
        OneOutput(network, key)(IMAGE)


@pytest.mark.parametrize(
    ("returned", "key"),
    [(IMAGE, None), ([IMAGE], 0), ((None, IMAGE), 1), ({"out": IMAGE, "aux": None}, "out")],
)
def test_one_tensor_is_found_whatever_it_comes_in(returned: object, key: int | str | None):
    assert only_output(nn.Identity(), returned) == key


@pytest.mark.parametrize("returned", [[IMAGE, IMAGE], ([IMAGE],), {}, None, {"a": IMAGE, "b": IMAGE}])
def test_what_is_not_one_tensor_is_refused(returned: object):
    with pytest.raises(BrainEdgeError, match=r"expected a network with one output, Identity returns "):
        only_output(nn.Identity(), returned)


def test_what_is_no_output_at_all_is_named_by_its_type():
    assert describe_outputs(None) == "a NoneType"


# --- dropout


def test_idle_dropout_is_named_and_leaves_no_trace():
    network = nn.Sequential(nn.Conv3d(2, 3, 1), nn.Dropout3d(0.2), nn.Dropout(0.0)).eval()
    assert idle_dropouts(network) == ["1"]
    operations = {node.get_type_name() for node in ov.convert_model(network, example_input=IMAGE).get_ops()}
    assert operations <= {"Parameter", "Constant", "Convolution", "Add", "Result"}


def test_a_network_that_drops_at_random_is_refused():
    network = nn.Sequential(nn.Conv3d(2, 3, 1), nn.Dropout3d(0.2)).eval()
    network[1].train()
    with pytest.raises(WeightsError, match=r"got 1 dropout layer\(s\) in training mode \(first: 1\); build"):
        idle_dropouts(network)
