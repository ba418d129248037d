"""The lines at which tracing freezes a decision are found; what PyTorch itself decides is left out."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from brain_edge_conversion.convert.decisions import frozen_decisions, in_words

SHAPE = (1, 1, 8, 8, 8)


class Decides(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm3d(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.std() > 0:
            x = x / x.std()
        return self.norm(x)


def test_a_decision_by_a_tensor_is_named_by_file_and_line():
    (place,) = frozen_decisions(Decides().eval(), SHAPE)
    name, line = place.split(":")
    assert name == "test_decisions.py"
    assert Path(__file__).read_text("utf-8").splitlines()[int(line) - 1].strip() == "if x.std() > 0:"


def test_a_network_that_decides_nothing_has_none():
    assert frozen_decisions(nn.Sequential(nn.Conv3d(1, 2, 3), nn.InstanceNorm3d(2)).eval(), SHAPE) == ()
    assert frozen_decisions(torch.jit.script(nn.Conv3d(1, 2, 3)), SHAPE) == ()


def test_a_network_that_cannot_be_traced_has_none():
    assert frozen_decisions(nn.Conv3d(2, 2, 3), SHAPE) == ()


def test_the_first_places_end_a_refusal():
    assert in_words(()) == ""
    assert in_words(("a.py:1", "a.py:2", "a.py:3", "a.py:4")) == (
        "; tracing froze a decision by a tensor at a.py:1, a.py:2, a.py:3, ...: compute it with torch.where"
    )
