"""Of the weights in a checkpoint those that fit are taken, of two different ones neither; PyTorch judges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from brain_edge.errors import WeightsError
from brain_edge_conversion.weights.checkpoint import fit_state_dict, load_content
from brain_edge_conversion.weights.choice import chosen_set

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

VOLUME = torch.randn(1, 1, 6, 6, 6, generator=torch.Generator().manual_seed(1))


def network(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv3d(1, 2, 3, padding=1), nn.BatchNorm3d(2), nn.Conv3d(2, 1, 1)).eval()


def prefixed(prefix: str, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def adam_of(module: nn.Module) -> dict[str, Any]:
    """The state of an optimiser after one step."""
    optimiser = torch.optim.Adam(module.parameters())
    module(VOLUME).sum().backward()
    optimiser.step()
    return optimiser.state_dict()


TRAINED = network(7)
OPTIMISER = adam_of(TRAINED)
STATE = {name: tensor.clone() for name, tensor in TRAINED.state_dict().items()}
AVERAGED = AveragedModel(TRAINED)
LATER = {name: tensor + 1 for name, tensor in STATE.items()}

CHECKPOINTS: dict[str, tuple[Any, str, str]] = {
    "a loop of one's own": ({"model": STATE, "optimizer": OPTIMISER, "epoch": 3}, "model", "optimizer"),
    "Lightning with a weighted loss": (
        {"state_dict": prefixed("net.", STATE) | {"loss.weight": torch.ones(2)}, "epoch": 3},
        "state_dict.net",
        "loss.weight",
    ),
    "Lightning with a metric": (
        {"state_dict": prefixed("model.", STATE) | {"dice.confmat": torch.ones(2, 2)}},
        "state_dict.model",
        "dice.confmat",
    ),
    "AveragedModel": (AVERAGED.state_dict(), "module", "n_averaged"),
    "text of numpy": ({"state_dict": STATE, "classes": np.array(["oedema", "core"])}, "state_dict", ""),
    "weights and their alias": ({"state_dict": STATE, "copy": dict(STATE)}, "state_dict", "copy"),
    "the tensors alone": (STATE, "", ""),
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_checkpoints_of_training_programs_give_the_network_that_was_trained(name: str, tmp_path: Path):
    content, key, left_out = CHECKPOINTS[name]
    torch.save(content, tmp_path / "w.pt")
    module = network()
    found = chosen_set(module, load_content(tmp_path / "w.pt"), "w.pt")
    fit_state_dict(module, found.tensors, "w.pt")
    assert found.key == key
    assert left_out in found.in_words
    assert torch.equal(module(VOLUME), TRAINED(VOLUME))


@pytest.mark.parametrize(
    ("content", "keys"),
    [
        ({"state_dict": STATE, "state_dict_ema": LATER}, ("state_dict", "state_dict_ema")),
        (
            {"state_dict": prefixed("net.", STATE) | prefixed("ema_net.", LATER)},
            ("state_dict.net", "state_dict.ema_net"),
        ),
        (STATE | prefixed("ema.", LATER), (".", "ema")),
    ],
)
def test_two_sets_that_fit_are_named_and_one_can_be_chosen(content: Any, keys: tuple[str, str]):
    with pytest.raises(
        WeightsError, match=r"got 2 different ones \(.*\); choose one with --weights FILE#KEY"
    ) as refused:
        chosen_set(network(), content, "w.pt")
    assert f"({keys[0]}, {keys[1]})" in str(refused.value)
    for key, state in zip(keys, (STATE, LATER), strict=True):
        module = network()
        fit_state_dict(module, chosen_set(module, content, "w.pt", key).tensors, "w.pt")
        assert all(torch.equal(module.state_dict()[name], tensor) for name, tensor in state.items())


def test_one_network_under_two_names_is_taken_and_can_be_chosen_by_either():
    content = {"state_dict": STATE, "state_dict_ema": {name: tensor.clone() for name, tensor in STATE.items()}}
    assert chosen_set(network(), content, "net.pt").key == "state_dict"
    assert [chosen_set(network(), content, "net.pt", key).key for key in content] == list(content)


def test_a_key_without_weights_that_fit_is_refused_with_those_that_do():
    with pytest.raises(WeightsError, match=r"found none there; those that fit: model$"):
        chosen_set(network(), {"model": STATE, "optimizer": OPTIMISER}, "w.pt", "optimizer")


def test_weights_of_another_network_are_refused_as_before():
    module = network()
    state = {name: tensor for name, tensor in STATE.items() if name != "0.bias"}
    found = chosen_set(module, {"state_dict": state}, "w.pt")
    with pytest.raises(WeightsError, match=r"1 missing \(0\.bias\)"):
        fit_state_dict(module, found.tensors, "w.pt")
    found = chosen_set(module, STATE | {"more.weight": torch.ones(1)}, "w.pt")
    with pytest.raises(WeightsError, match=r"1 unexpected \(more\.weight\)"):
        fit_state_dict(module, found.tensors, "w.pt")
    with pytest.raises(WeightsError, match="no dict of tensors"):
        chosen_set(module, {"encoder": state}, "w.pt")


@pytest.mark.parametrize("prefix", ["", "module."])
def test_blocks_that_torch_compile_has_wrapped_are_found_by_their_own_names(prefix: str):
    """A compiled block has `_orig_mod.` within its names (torch 2.13), not before them; DataParallel adds a prefix."""
    judge, module = network(7), network(1)
    state = {name.replace(".", "._orig_mod.", 1): tensor for name, tensor in judge.state_dict().items()}
    fit_state_dict(module, chosen_set(module, prefixed(prefix, state), "x").tensors, "x")
    torch.testing.assert_close(module(VOLUME), judge(VOLUME), rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")
@pytest.mark.parametrize("prefix", ["", "net."])
def test_weight_norm_of_pytorch_before_2_1_is_loaded_as_pytorch_loads_it(prefix: str):
    def normed(norm: Any, seed: int) -> nn.Module:
        module: Any = network(seed)
        module[2] = norm(module[2])
        return module

    old = normed(nn.utils.weight_norm, 7)
    assert "2.weight_g" in old.state_dict()
    judge, module = (normed(nn.utils.parametrizations.weight_norm, seed) for seed in (1, 2))
    judge.load_state_dict(old.state_dict())
    fit_state_dict(module, chosen_set(module, prefixed(prefix, old.state_dict()), "x").tensors, "x")
    torch.testing.assert_close(module(VOLUME), judge(VOLUME), rtol=0, atol=0)
