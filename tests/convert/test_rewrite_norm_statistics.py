"""The norm trap: the rewrite is exact, and without it PyTorch's evaluation mode and OpenVINO go wrong."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from brain_edge.errors import WeightsError
from brain_edge_conversion.convert.rewrites.norm_statistics import (
    norms_with_running_statistics,
    trapped_norms,
    use_instance_statistics,
)
from brain_edge_conversion.networks.brainmage import BrainMaGe
from brain_edge_conversion.networks.hd_bet_v1 import HdBetV1
from brain_edge_conversion.networks.linknet3d import LinkNet3d

NORMS_OF_HD_BET = 27

frozen_branches = pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
"""PyTorch's own instance norm checks its input by Python branches, which tracing freezes and says so."""


def randomised(module: nn.Module) -> nn.Module:
    """Running statistics and affine parameters as unlike their initial values as training makes them."""
    generator = torch.Generator().manual_seed(2)
    for name, tensor in module.state_dict().items():
        if tensor.ndim == 1 and tensor.is_floating_point():
            offset = 0.5 if name.endswith(("running_var", "weight")) else -0.5
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + offset)
    return module


def published_state(module: nn.Module) -> nn.Module:
    """As HD-BET's `SetNetworkToVal` leaves it: evaluation mode, but for the norms."""
    module.eval()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm3d | nn.InstanceNorm3d):
            layer.train()
    return module


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return published_state(randomised(HdBetV1(width=2)))


@pytest.fixture
def image() -> torch.Tensor:
    return torch.randn(1, 1, 32, 48, 32, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def run(module: nn.Module, image: torch.Tensor) -> torch.Tensor:
    output: torch.Tensor = module(image)
    return output


def test_rewritten_hd_bet_equals_the_published_behaviour_in_either_mode(network: nn.Module, image: torch.Tensor):
    expected = run(network, image)
    changed = use_instance_statistics(network)
    assert len(changed) == NORMS_OF_HD_BET
    torch.testing.assert_close(run(network.eval(), image), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(run(network.train(), image), expected, rtol=0, atol=1e-6)


def test_evaluation_mode_without_the_rewrite_is_another_function(network: nn.Module, image: torch.Tensor):
    expected = run(network, image)
    assert (run(network.eval(), image) - expected).abs().max() > 0.1


@frozen_branches
def test_openvino_falls_into_the_trap_and_the_rewrite_keeps_it_out(network: nn.Module, image: torch.Tensor):
    """Fact 4 of the design: the converter takes the running statistics, silently."""
    expected = run(network, image).numpy()
    assert np.abs(_run_openvino(copy.deepcopy(network), image) - expected).max() > 0.1
    use_instance_statistics(network)
    assert np.abs(_run_openvino(network, image) - expected).max() < 1e-4


def test_the_rewrite_takes_the_running_statistics_out_of_the_state_dict_and_nothing_else(network: nn.Module):
    before = set(network.state_dict())
    use_instance_statistics(network)
    gone = before - set(network.state_dict())
    assert {name.rpartition(".")[2] for name in gone} == {"running_mean", "running_var", "num_batches_tracked"}
    assert len(gone) == 3 * NORMS_OF_HD_BET


def test_a_rewritten_network_carries_no_running_statistics_and_is_not_changed_again(network: nn.Module):
    use_instance_statistics(network)
    assert norms_with_running_statistics(network) == trapped_norms(network) == use_instance_statistics(network) == []


def test_rewriting_a_batch_norm_is_exact_for_one_image(image: torch.Tensor):
    module = published_state(randomised(nn.Sequential(nn.Conv3d(1, 3, 3), nn.BatchNorm3d(3))))
    expected = run(module, image)
    assert use_instance_statistics(module.train()) == ["1"]
    convolution, norm = module.children()
    assert [norm.training, convolution.training] == [False, True], "the norm alone is changed"
    torch.testing.assert_close(run(module.eval(), image), expected)


def test_only_norms_that_ignore_their_running_statistics_are_trapped(network: nn.Module):
    """BrainMaGe means its running statistics; LinkNet has none."""
    assert len(trapped_norms(network)) == NORMS_OF_HD_BET
    brainmage = BrainMaGe(width=2).eval()
    assert "ins.in_0" in norms_with_running_statistics(brainmage)
    assert trapped_norms(brainmage) == []
    assert norms_with_running_statistics(LinkNet3d(width=4)) == []


def test_only_the_named_layers_are_changed():
    """A network in which one norm means its running statistics and another does not."""
    module = nn.Sequential(nn.BatchNorm3d(1), nn.BatchNorm3d(1)).eval()
    module[1].train()
    assert use_instance_statistics(module, trapped_norms(module)) == ["1"]
    assert norms_with_running_statistics(module) == ["0"]


@frozen_branches
@pytest.mark.parametrize(("trapped", "named"), [(True, ["0"]), (False, [])])
def test_a_traced_norm_is_judged_by_its_graph_whatever_its_mode(trapped: bool, named: list[str]):
    """Tracing froze the behaviour: `eval()` afterwards changes a flag, not the function."""
    module = nn.Sequential(nn.InstanceNorm3d(1, track_running_stats=True)).eval()
    module[0].train(trapped)
    traced = torch.jit.trace(module, torch.randn(1, 1, 4, 4, 4), check_trace=False).eval()
    assert norms_with_running_statistics(traced) == ["0"]
    assert trapped_norms(traced) == named


def test_a_scripted_norm_is_judged_by_its_mode():
    scripted = torch.jit.script(nn.Sequential(nn.InstanceNorm3d(1, track_running_stats=True)))
    assert trapped_norms(scripted.train()) == ["0"]
    assert trapped_norms(scripted.eval()) == []


def test_torchscript_norms_are_reported_as_unchangeable_before_anything_is_changed():
    frozen = torch.jit.script(nn.InstanceNorm3d(1, track_running_stats=True))
    module = nn.Sequential(nn.BatchNorm3d(1), frozen)
    with pytest.raises(WeightsError, match=r"^1: expected a PyTorch layer .* frozen in TorchScript\. Give the"):
        use_instance_statistics(module)
    assert norms_with_running_statistics(module) == ["0", "1"]


def test_a_norm_of_unknown_type_is_seen_and_refused():
    class OwnNorm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("running_mean", torch.zeros(1))

    module = nn.Sequential(OwnNorm())
    assert trapped_norms(module) == ["0"]
    with pytest.raises(WeightsError, match=r"^0: expected a batch or instance norm .* got OwnNorm"):
        use_instance_statistics(module)


def _run_openvino(module: nn.Module, image: torch.Tensor) -> np.ndarray:
    import openvino as ov

    with torch.no_grad():
        model = ov.convert_model(module, example_input=image)
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.asarray(compiled(image.numpy())[0])
