"""Choice of the one set of weights in a checkpoint that fits a network.

Training programs store more than the weights: averaged weights (EMA, SWA), optimisers, weighted losses, metrics. A set
is a mapping of the file, at any level, and a prefix of its keys. The set that holds every tensor of the network is
taken. Of two different sets neither is guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch

from brain_edge.errors import WeightsError
from brain_edge_conversion.weights.checkpoint import is_state_dict, listing, unwrapped

if TYPE_CHECKING:
    from collections.abc import Iterator

_COMPILED: Final = "_orig_mod."
"""Part of the names of a block that torch.compile has wrapped; a network that is compiled whole has it as prefix."""

_NORMED: Final = {
    ".weight_g": ".parametrizations.weight.original0",
    ".weight_v": ".parametrizations.weight.original1",
}
"""End of a name under the weight norm of PyTorch before 2.1, which PyTorch still loads, and its present end."""
_DEEPEST: Final = 4
_MOST_MAPPINGS: Final = 10_000
_MOST_NAMES: Final = 200_000


@dataclass(frozen=True)
class WeightsSet:
    """Tensors of a checkpoint.

    Attributes:
        key: name in the checkpoint, such as `state_dict.net`; empty for the whole file.
        tensors: tensors by their names in the network.
        left_out: names beside the set, of the same mapping and of the file.
    """

    key: str
    tensors: Mapping[str, torch.Tensor]
    left_out: tuple[str, ...]

    @property
    def in_words(self) -> str:
        """Sentence that says what was taken and left out; empty if nothing was left out."""
        if not self.left_out:
            return ""
        return (
            f"weights: took {self.key or 'the tensors of the file itself'}, left out {listing('names', self.left_out)}"
        )


def chosen_set(module: torch.nn.Module, content: Mapping[str, Any], source: str, key: str = "") -> WeightsSet:
    """Return the only set of weights that fits a network; if none fits, the usual one, which `fit_state_dict` refuses.

    Args:
        module: network; its tensors may be shapes alone (`torch.device("meta")`).
        content: everything in the checkpoint, by name.
        source: name of the weights in messages.
        key: name of the set that the user chose, "." for the tensors of the file itself; empty to find it.

    Raises:
        WeightsError: several different sets fit, the chosen one is not among those that fit, or there are no weights.
    """
    wanted = {name: tensor.shape for name, tensor in module.state_dict().items()}
    held_by = [(place, _renamed(held, wanted)) for place, held in _mappings(content)]
    named = [each for place, held in held_by for each in _sets(place, held, wanted)]
    if key:
        return _only(_named(named, key, source), wanted)
    fitting = _distinct(named)
    if len(fitting) > 1:
        raise WeightsError(
            f"{source}: expected one set of weights that fits {type(module).__name__}, got {len(fitting)} different "
            f"ones ({_keys(fitting)}); choose one with --weights FILE#KEY"
        )
    if not fitting:
        return WeightsSet("", unwrapped(source, content), ())
    (found,) = fitting
    if is_state_dict(content):
        return found
    outside = (
        str(name)
        for name, each in content.items()
        if isinstance(each, Mapping | torch.Tensor) and not f"{found.key}.".startswith(f"{name}.")
    )
    return WeightsSet(found.key, found.tensors, (*outside, *found.left_out))


def _only(found: WeightsSet, wanted: Mapping[str, torch.Size]) -> WeightsSet:
    """Return a set that the user chose without what else has its prefix."""
    beside = tuple(name for name in found.tensors if name not in wanted)
    tensors = {name: tensor for name, tensor in found.tensors.items() if name in wanted}
    return WeightsSet(found.key, tensors, (*beside, *found.left_out))


def _named(fitting: list[WeightsSet], key: str, source: str) -> WeightsSet:
    found = next((each for each in fitting if (each.key or ".") == key), None)
    if found is None:
        raise WeightsError(
            f"{source}: expected weights that fit the network under {key}, found none there; those that fit: "
            f"{_keys(fitting) or 'none'}"
        )
    return found


def _keys(sets: list[WeightsSet]) -> str:
    return ", ".join(each.key or "." for each in sets)


def _mappings(
    content: Mapping[str, Any], place: str = "", depth: int = 0, left: list[int] | None = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each mapping in a checkpoint that holds tensors, with its place, such as `state_dict`.

    One mapping under many names can stand for any number of them, so that at most `_MOST_NAMES` names are looked at.
    """
    left = [_MOST_NAMES] if left is None else left
    left[0] -= len(content) + 1
    tensors = {name: each for name, each in content.items() if isinstance(name, str) and isinstance(each, torch.Tensor)}
    if tensors:
        yield place, tensors
    if depth == _DEEPEST or len(content) > _MOST_MAPPINGS:
        return
    for name, each in content.items():
        if isinstance(each, Mapping) and left[0] > 0:
            yield from _mappings(each, f"{place}.{name}" if place else str(name), depth + 1, left)


def _renamed(held: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Size]) -> dict[str, torch.Tensor]:
    """Return tensors by the names that they have without torch.compile and in the network's version of weight norm."""
    is_compiled = any(_COMPILED in name for name in wanted)
    plain = {
        _normed(name if is_compiled else name.replace(_COMPILED, ""), wanted): tensor for name, tensor in held.items()
    }
    return plain if len(plain) == len(held) else dict(held)


def _normed(name: str, wanted: Mapping[str, torch.Size]) -> str:
    for old, new in _NORMED.items():
        present = name.removesuffix(old) + new
        if name.endswith(old) and any(f".{present}".endswith(f".{each}") for each in wanted):
            return present
    return name


def _sets(place: str, held: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Size]) -> Iterator[WeightsSet]:
    """Yield each set of one mapping that holds every wanted tensor in its shape, with what else has its prefix."""
    needed = [name for name in wanted if not name.endswith("num_batches_tracked")]
    if not needed:
        return
    ends = [name.removesuffix(needed[0]) for name in held if name.endswith(needed[0])]
    for prefix in (end for end in ends if not end or end.endswith(".")):
        if all(f"{prefix}{name}" in held and held[f"{prefix}{name}"].shape == wanted[name] for name in needed):
            own = {name.removeprefix(prefix): tensor for name, tensor in held.items() if name.startswith(prefix)}
            beside = tuple(name for name in held if not name.startswith(prefix))
            key = ".".join(filter(None, (place, prefix.removesuffix("."))))
            yield WeightsSet(key, own, beside)


def _distinct(sets: list[WeightsSet]) -> list[WeightsSet]:
    """Return the sets without those whose tensors equal those of an earlier one: one network under two names."""
    found: list[WeightsSet] = []
    for each in sets:
        if not any(_same(each.tensors, other.tensors) for other in found):
            found.append(each)
    return found


def _same(first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor]) -> bool:
    return all(name in second and torch.equal(tensor, second[name]) for name, tensor in first.items())
