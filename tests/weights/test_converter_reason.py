"""The sentence about a failed conversion names the operation and the cause, as OpenVINO itself found them."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from brain_edge.runtime.library import import_openvino
from brain_edge_conversion.weights.converter_reason import advice_for, converter_reason

if TYPE_CHECKING:
    from collections.abc import Callable

EXAMPLE = torch.randn(1, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0))


class Eigenvalues(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.eigvals(x).real


class Warped(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        grid = functional.affine_grid(torch.eye(3, 4)[None], [1, 1, 8, 8, 8], align_corners=False)
        return functional.grid_sample(x, grid, align_corners=False)


class Sampled(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.grid_sample(x, x.expand(3, 1, 8, 8, 8).permute(1, 2, 3, 4, 0), align_corners=False)


class Autocast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv3d(1, 2, 1), nn.InstanceNorm3d(2, affine=True))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.layers(x)


class Reentrant(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv3d(1, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return checkpoint(self.layer, x, use_reentrant=True)


class NoTensor(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, None]:
        return x, None


def scripted(network: nn.Module) -> nn.Module:
    return torch.jit.script(network)


class Reversed(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = [x, x + 1]
        parts.reverse()
        return parts[0] if x.shape[2] > 4 else parts[1]


class Nearest(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.interpolate(x, scale_factor=2.0, mode="nearest-exact")


CAUSES: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "no rule": (Eigenvalues, "OpenVINO has no rule for aten::linalg_eigvals"),
    "no rule before a failure": (
        Warped,
        "OpenVINO has no rule for aten::affine_grid_generator; aten::grid_sampler: The s",
    ),
    "a limit of an operation": (
        Sampled,
        "aten::grid_sampler: The supported shape of the input data tensor is 4D. (node",
    ),
    "precision": (Autocast, "aten::instance_norm: Arguments do not have the same element type"),
    "checkpointing": (Reentrant, "unordered_map::at; call torch.utils.checkpoint with use_reentrant=False"),
    "output": (NoTensor, "Only tensors, lists, tuples of tensors, or dictionary of tensors can be output"),
    "script": (lambda: scripted(Reversed()), "OpenVINO has no rule for aten::reverse"),
    "nearest-exact in a trace": (
        lambda: torch.jit.trace(Nearest(), EXAMPLE),
        "OpenVINO has no rule for aten::_upsample_nearest_exact3d; give the PyTorch module",
    ),
}


def failure(convert: Callable[[], object]) -> Exception:
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            convert()
    except Exception as error:  # noqa: BLE001 - whatever OpenVINO and PyTorch raise
        return error
    pytest.fail("the network was converted")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("build", "words"), CAUSES.values(), ids=CAUSES)
def test_a_module_that_cannot_be_converted_says_why(build, words):
    error = failure(lambda: import_openvino().convert_model(build().eval(), example_input=EXAMPLE))
    said = converter_reason(error) + advice_for(error)
    assert said.startswith(words)
    assert "\n" not in said


def test_a_program_of_torch_export_that_cannot_be_converted_says_why():
    program = torch.export.export(Warped(), (EXAMPLE,))
    said = converter_reason(failure(lambda: import_openvino().convert_model(program)))
    assert said == "OpenVINO has no rule for aten.grid_sampler_3d.default"


def test_an_error_of_no_known_form_is_its_last_line():
    assert converter_reason(RuntimeError("first\nException from src/x.cpp:1:\nlast")) == "last"
    assert converter_reason(RuntimeError("")) == "RuntimeError"
