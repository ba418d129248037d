"""Two classes need one channel: the rewrite is exact, and is left alone where it would not be."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from brain_edge.errors import BrainEdgeError
from brain_edge.image.geometry import Geometry
from brain_edge.image.resample import Interpolation
from brain_edge.spec import Activation, Label, ModelSpec, Network, Sequence, Stage, Task
from brain_edge.spec.steps import Argmax, CropToStage, FillHoles, Frame, LargestComponent, Restore, Threshold
from brain_edge_conversion.convert.rewrites.binary_head import (
    can_merge,
    merge_binary_head,
    mergeable_graphs,
    with_binary_heads,
)
from brain_edge_conversion.networks.hd_bet_v1 import HdBetV1
from brain_edge_conversion.networks.linknet3d import LinkNet3d
from brain_edge_conversion.recipe import BinaryHead, GraphSource, ModelSource
from brain_edge_conversion.recipes import deepbet, hd_bet_v1

EXACT = 1e-5
HEAD = BinaryHead(linear="head", softmax="softmax")
RESTORE = Restore(interpolation=Interpolation.NEAREST)


class TwoClasses(nn.Module):
    """A head of two classes and its softmax."""

    def __init__(self, head: nn.Module, softmax: nn.Module | None = None) -> None:
        super().__init__()
        self.head = head
        self.softmax = softmax or nn.Softmax(dim=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        probabilities: torch.Tensor = self.softmax(self.head(x))
        return probabilities


@torch.no_grad()
def run(module: nn.Module, image: torch.Tensor) -> torch.Tensor:
    output: torch.Tensor = module(image)
    return output


# --- the network


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from([nn.Conv3d, nn.ConvTranspose3d]),
    channels=st.integers(1, 9),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 2),
    bias=st.booleans(),
    scale=st.floats(0.1, 20.0),
    seed=st.integers(0, 2**31),
)
def test_sigmoid_of_the_merged_logit_is_the_softmax_of_the_foreground(
    kind, channels, kernel, stride, bias, scale, seed
):
    generator = torch.Generator().manual_seed(seed)
    module = TwoClasses(kind(channels, 2, kernel, stride=stride, bias=bias))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator) / channels)
    image = torch.randn(1, channels, 4, 5, 6, generator=generator)
    expected = run(module, image)[:, 1:]
    merge_binary_head(module, HEAD)
    assert module.head.out_channels == 1
    torch.testing.assert_close(torch.sigmoid(run(module, image)), expected, rtol=0, atol=EXACT)


@pytest.mark.parametrize(
    ("network", "head"),
    [
        pytest.param(lambda: HdBetV1(width=2), hd_bet_v1.model(hd_bet_v1.Variant()).graphs[0].binary_head, id="hd-bet"),
        pytest.param(lambda: LinkNet3d(width=4), deepbet.model(deepbet.Variant()).graphs[0].binary_head, id="linknet"),
    ],
)
def test_the_recipes_name_the_head_of_their_network(network, head):
    torch.manual_seed(4)
    module, image = network(), torch.randn(1, 1, 64, 64, 64)
    expected = run(module, image)[:, 1:]
    merge_binary_head(module, head)
    torch.testing.assert_close(torch.sigmoid(run(module, image)), expected, rtol=0, atol=EXACT)


@pytest.mark.parametrize(
    ("module", "head", "words"),
    [
        (TwoClasses(nn.Conv3d(1, 2, 1)), BinaryHead("haed", "softmax"), r"TwoClasses has no layer 'haed'"),
        (TwoClasses(nn.Conv3d(1, 2, 1)), BinaryHead("head", "softmx"), r"TwoClasses has no layer 'softmx'"),
        (
            TwoClasses(nn.Conv3d(1, 2, 1)),
            BinaryHead("softmax", "head"),
            r"a convolution and a softmax at softmax and head, got Softmax and Conv3d",
        ),
        (TwoClasses(nn.Conv2d(1, 2, 1)), HEAD, r"got Conv2d and Softmax"),
        (TwoClasses(nn.Conv3d(1, 2, 1), nn.LogSoftmax(dim=1)), HEAD, r"got Conv3d and LogSoftmax"),
        (TwoClasses(nn.Conv3d(1, 3, 1)), HEAD, r"head: expected 2 output channels in one group, got 3 in 1"),
        (TwoClasses(nn.Conv3d(2, 2, 1, groups=2)), HEAD, r"head: expected 2 output channels in one group, got 2 in 2"),
        (TwoClasses(nn.Conv3d(1, 2, 1), nn.Softmax(dim=2)), HEAD, r"a softmax over the channels, got one over axis 2"),
    ],
)
def test_a_head_that_is_not_what_the_recipe_says_is_refused_before_anything_is_changed(module, head, words):
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with pytest.raises(BrainEdgeError, match=words):
        merge_binary_head(module, head)
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


# --- the specification


def stage(*after: Any, graphs: tuple[str, ...] = ("one",), name: str = "brain", **network: Any) -> Stage:
    fields: dict[str, Any] = {"graphs": graphs, "channels_in": 1, "channels_out": 2}
    return Stage(name=name, before=(), network=Network(**(fields | network)), after=after)


def spec(*stages: Stage) -> ModelSpec:
    return ModelSpec(
        name="binary",
        task=Task.SKULL_STRIPPING,
        inputs=(Sequence(name="T1"),),
        stages=stages,
        labels=(Label(value=1, name="brain"),),
    )


def labels(stage: Stage, probabilities: np.ndarray) -> np.ndarray:
    """The labels that a stage makes of probabilities (C, I, J, K)."""
    frame = Frame(probabilities, Geometry(probabilities.shape[1:], np.eye(4)))
    for step in stage.after:
        frame = step.apply(frame)
    return np.asarray(frame.voxels)


DECISIONS = st.one_of(
    st.just(Argmax()),
    st.just(Argmax(values=(0, 1))),
    st.builds(Threshold, channel=st.just(1), above=st.floats(0.05, 0.95)),
)
CLEANING = st.lists(st.sampled_from([LargestComponent(), FillHoles()]), max_size=2)


@settings(deadline=None)
@given(decision=DECISIONS, cleaning=CLEANING, seed=st.integers(0, 2**32 - 1))
def test_the_rewritten_specification_decides_as_the_published_one(decision, cleaning, seed):
    published = stage(decision, RESTORE, *cleaning)
    assert can_merge(published)
    (rewritten,) = with_binary_heads(spec(published), {"one"}).stages
    assert (rewritten.network.channels_out, rewritten.network.activation) == (1, Activation.SIGMOID)
    foreground = np.random.default_rng(seed).uniform(0, 1, (1, 5, 6, 7)).astype(np.float32)
    above = decision.above if isinstance(decision, Threshold) else 0.5
    foreground[np.abs(foreground - above) < 1e-6] = 0.99  # a tie may fall to either side
    both = np.concatenate([1 - foreground, foreground])
    np.testing.assert_array_equal(labels(rewritten, foreground), labels(published, both))


@pytest.mark.parametrize(
    "published",
    [
        pytest.param(stage(Argmax(values=(1, 0)), RESTORE), id="the classes are swapped"),
        pytest.param(stage(Argmax(values=(0, 2)), RESTORE), id="the label is not 1"),
        pytest.param(stage(Threshold(channel=0, above=0.5), RESTORE), id="the background is what is thresholded"),
        pytest.param(stage(Argmax(), RESTORE, channels_out=3), id="there are three classes"),
        pytest.param(stage(Argmax(), RESTORE, activation=Activation.SOFTMAX), id="the graph has no softmax"),
        pytest.param(stage(Argmax(), RESTORE, activation=Activation.SIGMOID), id="two regions, not two classes"),
    ],
)
def test_a_stage_is_left_alone_where(published: Stage):
    assert not can_merge(published)


# --- both together, as `convert` decides


def source(model: ModelSpec, *with_head: str) -> ModelSource:
    """A model of which only some graphs have a head that can be merged."""
    published = deepbet.model(deepbet.Variant())
    graphs = tuple(
        GraphSource(
            graph, lambda _weights: nn.Identity(), None, (8, 8, 8), binary_head=HEAD if graph in with_head else None
        )
        for graph in model.graphs
    )
    return ModelSource(model, graphs, published.card, published.licence)


def test_an_ensemble_is_merged_when_all_its_members_can_be_and_left_alone_otherwise():
    """One channel of a member and two of another have no mean."""
    ensemble = spec(stage(Argmax(), RESTORE, graphs=("one", "two")))
    assert mergeable_graphs(source(ensemble, "one", "two")) == {"one", "two"}
    assert mergeable_graphs(source(ensemble, "one")) == set()


def test_stages_are_merged_one_by_one():
    box = stage(Argmax(), LargestComponent(), graphs=("first",), name="box")
    brain = stage(Threshold(channel=0, above=0.5), RESTORE, graphs=("second",))
    brain = msgspec.structs.replace(brain, before=(CropToStage(stage="box"),))
    cascade = spec(box, brain)
    assert mergeable_graphs(source(cascade, "first", "second")) == {"first"}
    rewritten = with_binary_heads(cascade, {"first"})
    assert rewritten.stages[0].network.channels_out == 1
    assert rewritten.stages[1] == brain
