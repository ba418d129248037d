"""A failing network is told with its own reason, and with the advice that belongs to the cause."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from brain_edge_conversion.convert.failures import GENERAL, reason_in, remedy_for

if TYPE_CHECKING:
    from collections.abc import Callable

VOLUME = torch.zeros(1, 1, 6, 6, 6)


class Gpu(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.zeros(1, device=torch.device("cuda:0"))


class Pair(nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x + y


class Skip(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, x[:, :, 1:]], 1)


class Odd(nn.Module):
    def forward(self, _x: torch.Tensor) -> torch.Tensor:
        raise ValueError("something else\nand more")


FAILURES: dict[str, tuple[Callable[[], nn.Module], str, str]] = {
    "GPU": (Gpu, "CUDA|NVIDIA", "The network asks for a GPU"),
    "GPU of TorchScript": (lambda: torch.jit.script(Gpu()), "CUDA|NVIDIA", "The network asks for a GPU"),
    "half precision": (lambda: nn.Conv3d(1, 1, 1).half(), r"should be the same|Half", "another precision"),
    "second input": (Pair, r"TypeError: .*missing 1 required positional argument: 'y'", "takes several inputs"),
    "second input of TorchScript": (lambda: torch.jit.script(Pair()), "missing value for argument", "several inputs"),
    "channels": (lambda: nn.Conv3d(2, 1, 1), r"to have 2 channels, but got 1", "Correct channels_in, or give the"),
    "slices": (lambda: nn.Conv2d(1, 1, 1), r"input to conv2d", "The network takes slices"),
    "sizes": (Skip, r"Sizes of tensors must match .* Expected size 6 but got size 5", "add pad_to_multiple"),
    "too small": (lambda: nn.Conv3d(1, 1, 7), "Kernel size can't be greater", "add pad_to_multiple"),
    "anything": (Odd, "^ValueError: something else$", GENERAL),
}


def failure(network: nn.Module) -> Exception:
    try:
        network(VOLUME)
    except Exception as error:  # noqa: BLE001 - whatever PyTorch raises
        return error
    pytest.fail("the network ran")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("build", "reason", "remedy"), FAILURES.values(), ids=FAILURES)
def test_reason_and_remedy_belong_to_the_failure(build, reason, remedy):
    error = failure(build())
    said = reason_in(error)
    assert re.search(reason, said), said
    assert "\n" not in said
    assert remedy in remedy_for(error)
