"""What a network shows when it is tried: channels, ending, and the sizes that it takes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from brain_edge.errors import BrainEdgeError, WeightsError
from brain_edge.spec import Activation
from brain_edge_conversion.sources import BareNetwork
from brain_edge_conversion.starter.look import NetworkFacts, look_at


class Halving(nn.Module):
    """Two halvings and back: sides must be multiples of 4."""

    def __init__(self, space: int = 3) -> None:
        super().__init__()
        convolution, pool = (nn.Conv3d, nn.MaxPool3d) if space == 3 else (nn.Conv2d, nn.MaxPool2d)
        self.first, self.pool, self.last = convolution(2, 3, 1), pool(4), convolution(3, 3, 1)
        self.up = nn.Upsample(scale_factor=4)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        found = self.first(image)
        return self.last(found + self.up(self.pool(found)))


class OneSize(nn.Module):
    """A network that takes 96^3 alone."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.place = nn.Conv3d(1, 1, 1), nn.Parameter(torch.zeros(96, 96, 96))

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        return [torch.sigmoid(self.first(image) + self.place)]


class Ending(nn.Module):
    def __init__(self, ending: nn.Module) -> None:
        super().__init__()
        self.first, self.ending = nn.Conv3d(1, 2, 3, padding=1), ending

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.ending(self.first(image))


def look(module: nn.Module, shape: tuple[int, ...] = ()) -> NetworkFacts:
    torch.manual_seed(0)
    return look_at(BareNetwork(module.eval(), shape))


@pytest.mark.parametrize("space", [2, 3])
def test_the_multiple_of_the_sides_is_found(space: int):
    facts = look(Halving(space))
    assert facts == NetworkFacts(2, 3, Activation.NONE, (64,) * space, 4)
    assert facts.takes_slices is (space == 2)
    assert facts.in_words[0] == "2 input and 3 output channels"
    assert facts.in_words[1].endswith(": sides that are multiples of 4")


@pytest.mark.parametrize(
    ("ending", "found"),
    [
        (nn.Identity(), Activation.NONE),
        (nn.Softmax(dim=1), Activation.SOFTMAX),
        (nn.Sigmoid(), Activation.SIGMOID),
    ],
)
def test_the_last_activation_shows_in_the_output(ending: nn.Module, found: Activation):
    facts = look(Ending(ending))
    assert (facts.ends_in, facts.multiple) == (found, 1)


def test_a_network_of_one_size_and_one_output_in_a_list_is_found():
    facts = look(OneSize())
    assert facts == NetworkFacts(1, 1, Activation.SIGMOID, (96, 96, 96), None)
    assert facts.in_words[1] == "volumes: 96 x 96 x 96"


def test_a_stated_shape_is_tried_first():
    assert look(Ending(nn.Identity()), (-1, 1, 40, 48, -1)).sides == (40, 48, 64)


def test_a_network_that_takes_nothing_is_refused():
    with pytest.raises(WeightsError, match=r"one of 11 inputs that were tried, such as 1 x 1 x 64 x 64 x 64, got err"):
        look(nn.Sequential(nn.Unflatten(1, (7, 7)), nn.Conv3d(1, 1, 1)))


def test_a_network_that_changes_the_size_is_refused():
    with pytest.raises(WeightsError, match=r"got 1 x 1 x 32 x 32 x 32 for 1 x 1 x 64 x 64 x 64; wrap the network"):
        look(nn.Sequential(nn.Conv3d(1, 1, 1), nn.AvgPool3d(2)))


def test_several_outputs_are_named():
    class Two(Ending):
        def forward(self, image: torch.Tensor) -> Any:
            return {"mask": self.first(image), "edge": self.first(image)}

    with pytest.raises(BrainEdgeError, match=r"'mask' \(1 x 2 x 64 x 64 x 64\), 'edge'"):
        look(Two(nn.Identity()))
