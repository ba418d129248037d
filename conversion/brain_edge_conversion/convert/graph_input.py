"""Check that a graph read from a file and its specification agree on the graph's input and output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brain_edge.errors import WeightsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brain_edge.spec import Network


def fit_input(model: Any, network: Network, known: tuple[int, ...] | None) -> None:
    """Give the graph its input shape, in place: sides that the file leaves open stay open, fixed sides stay fixed.

    Args:
        model: OpenVINO model.
        network: specification of the network.
        known: input shape that the steps give; None if it depends on the image.

    Raises:
        WeightsError: the graph has several inputs or outputs, a type other than float32, a dynamic rank, other channel
            counts than the specification, or fixed sides that the steps do not give.
    """
    _require_one(model.inputs, "input", "give a network that takes all sequences as channels of one tensor")
    _require_one(model.outputs, "output", "export the network with the wanted output alone")
    port = model.input(0)
    if port.element_type.get_type_name() != "f32":
        raise WeightsError(f"expected a graph with a float32 input, got {port.element_type.get_type_name()}")
    wanted = network.execution.open_shape(network.channels_in)
    given = _sides(port.partial_shape, "input", len(wanted))
    shape = tuple(theirs if mine == -1 else mine for mine, theirs in zip(given, wanted, strict=True))
    if any(mine not in (-1, theirs) for mine, theirs in zip(given, wanted, strict=True) if theirs != -1):
        raise WeightsError(
            f"expected a graph input of {described(wanted)} by the specification ({network.channels_in} channels), got "
            f"{described(given)}; correct channels_in, or export the network with this batch and these channels"
        )
    if any(side != -1 for side, open_side in zip(given, wanted, strict=True) if open_side == -1):
        _require_known(given, known)
    model.reshape(list(shape))
    channels = _sides(model.output(0).partial_shape, "output", None)[1:2]
    if channels not in ((-1,), (network.channels_out,)):
        raise WeightsError(
            f"expected {network.channels_out} output channels by the specification, the graph returns "
            f"{channels[0] if channels else 'none'}; correct channels_out"
        )


def _require_one(ports: Sequence[Any], what: str, remedy: str) -> None:
    if len(ports) != 1:
        names = ", ".join(port.any_name if port.names else "unnamed" for port in ports)
        raise WeightsError(f"expected a graph with one {what}, got {len(ports)} ({names}); {remedy}")


def _sides(shape: Any, what: str, rank: int | None) -> tuple[int, ...]:
    """Return the sides of a partial shape, -1 for an open side."""
    if shape.rank.is_dynamic:
        raise WeightsError(
            f"the rank of the {what} is left open (dynamic rank), but only single sides may be open. Fix the rank: "
            "export the network with an example input of (1, C, I, J, K)"
        )
    sides = tuple(-1 if side.is_dynamic else int(side.get_length()) for side in shape)
    if rank is not None and len(sides) != rank:
        raise WeightsError(f"expected an {what} of {rank} dimensions, the graph takes {described(sides)}")
    return sides


def _require_known(given: tuple[int, ...], known: tuple[int, ...] | None) -> None:
    if known is None or any(side not in (-1, other) for side, other in zip(given, known, strict=True)):
        comes = "a shape that depends on the image" if known is None else described(known)
        raise WeightsError(
            f"the graph takes an input of {described(given)} only, but the steps of the specification give {comes}. "
            "Export the graph with open spatial sides, or set windows or a fixed shape of this size in the steps"
        )


def described(shape: Sequence[int]) -> str:
    """Return a shape in words, with ? for open sides."""
    return " x ".join("?" if side == -1 else str(side) for side in shape)
